"""SentencePiece's `.model` files (Kudo and Richardson 2018, arXiv:1808.06226), read through the package
`sentencepiece`.

Only the vocabulary, the scores and the normalisation are taken; `tokenizers` does the work. A byte pair model lists no
merges: they follow from the vocabulary, because a piece's id says when it was made (the smaller, the earlier).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jorip.core.errors import CheckpointError, ConfigError
from jorip.data.tokenizers import LARGEST
from jorip.exchange.tokenizer_files import Pieces

_UNIGRAM, _BPE = 1, 2  # TrainerSpec.ModelType
_CONTROL, _USER_DEFINED = 3, 4  # SentencePiece.Type


def from_sentencepiece(path: Path) -> Pieces:
    """Raises ConfigError when the package is not installed, CheckpointError for a damaged file."""
    proto = _parse(path)
    pieces = [(p.piece, p.score) for p in proto.pieces]
    kind = proto.trainer_spec.model_type
    if not pieces or kind not in {_UNIGRAM, _BPE}:
        raise CheckpointError(f"{path}: {len(pieces)} pieces, model type {kind}: only unigram and BPE models are read")
    if len({p for p, _ in pieces}) < len(pieces):
        raise CheckpointError(f"{path}: damaged: pieces are there twice")
    added = [
        {"id": i, "content": p.piece, "normalized": False, "special": p.type == _CONTROL}
        for i, p in enumerate(proto.pieces)
        if p.type in {_CONTROL, _USER_DEFINED}
    ]
    charsmap = bytes(proto.normalizer_spec.precompiled_charsmap) or None
    if kind == _UNIGRAM:
        return Pieces("Unigram", pieces, path, [], added, charsmap)
    vocab = {piece: i for i, (piece, _) in enumerate(pieces)}
    return Pieces("BPE", vocab, path, merges(vocab), added, charsmap)


def merges(vocab: dict[str, int]) -> list[tuple[str, str]]:
    """Every way to put a piece together from two others, in the order of the pieces."""
    found = []
    for piece, rank in vocab.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in vocab and right in vocab:
                found.append(((rank, cut, len(right), vocab[left], vocab[right]), (left, right)))
    return [pair for _, pair in sorted(found)]


def _parse(path: Path) -> Any:
    try:
        from sentencepiece import sentencepiece_model_pb2 as protocol
    except ImportError as e:
        raise ConfigError(
            f"{path}: a SentencePiece model is read through the packages sentencepiece and protobuf ({e}): "
            "pip install 'jorip[sentencepiece]'"
        ) from None
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise CheckpointError(f"{path}: {size / 2**20:.0f} MiB is too large for a tokenizer ({LARGEST >> 20} MiB)")
        proto = protocol.ModelProto()  # type: ignore[attr-defined]  # its classes are made at run time
        proto.ParseFromString(path.read_bytes())
        _ = [p.piece for p in proto.pieces]
    except OSError as e:
        raise CheckpointError(f"{path}: the tokenizer cannot be read ({e})") from None
    except CheckpointError:
        raise
    except Exception as e:  # protobuf's own, which differ between its versions
        raise CheckpointError(f"{path}: is not a SentencePiece model ({type(e).__name__}: {str(e)[:200]})") from None
    return proto
