"""`compare.check` for encoder-decoders: pairs of ragged sources and ragged targets.

`check_pairs(model, folder, vocab)` compares encoder and decoder rows (logits, or hidden rows of models without a head),
gradients through both embeddings, training mode, float64 and untouched float32, greedy and beam generation, and the
folder that we write.
"""

from __future__ import annotations

from pathlib import Path

import torch

import jorip
from tests.parity.compare import back, batch, exact, out, result, same, save, shake

SOURCES, TARGETS = (7, 1, 5), (4, 6, 1)
PLAIN = {
    "do_sample": False, "pad_token_id": 0, "eos_token_id": None, "forced_eos_token_id": None,
    "forced_bos_token_id": None, "min_length": 0, "no_repeat_ngram_size": 0, "early_stopping": False,
}  # fmt: skip


def check_pairs(
    theirs,
    tmp_path: Path,
    vocab: int,
    sides=("right",),
    tolerance: float = 1e-10,
    generates: bool = True,
) -> jorip.architectures.base.Model:
    """sides: where sources and targets are padded; models with absolute positions and no `position_ids` know the right
    only. Returns our model."""
    theirs = shake_buffers(shake(theirs)).double().eval()
    folder = save(theirs, tmp_path / "theirs")
    ours = jorip.load(folder)
    for side in sides:
        pairs, inputs, masks = pair(vocab, side)
        with exact():
            want, memory = result(theirs(**inputs)), theirs.get_encoder()(inputs["input_ids"], inputs["attention_mask"])
        got = ours(*pairs, **masks)
        same(out(got), want, masks["target_mask"], tolerance)
        assert not out(got)[~masks["target_mask"]].any()
        encoded = ours.encode(pairs[0], masks["source_mask"])
        torch.testing.assert_close(
            encoded.x, memory.last_hidden_state[masks["source_mask"]], rtol=tolerance, atol=tolerance
        )
        pair_grads(theirs, ours, pairs, inputs, masks, tolerance)
    pair_single(theirs, folder, tmp_path, vocab)
    if generates:
        pair_generation(theirs, ours, vocab, sides)
    back(theirs, ours, tmp_path)
    return ours


def shake_buffers(model: torch.nn.Module) -> torch.nn.Module:
    """Random values in the buffers that are saved, such as BART's bias of the logits."""
    g = torch.Generator().manual_seed(7)
    saved = model.state_dict()
    with torch.no_grad():
        for name, b in model.named_buffers():
            if name in saved and b.is_floating_point():
                b.copy_(torch.randn(b.shape, generator=g, dtype=torch.float64))
    return model


def pair(vocab: int, side: str):
    """(source, target), their keywords and ours."""
    source, source_mask = batch(vocab, side, 1, SOURCES)
    target, target_mask = batch(vocab, side, 2, TARGETS)
    inputs = {
        "input_ids": source,
        "attention_mask": source_mask.long(),
        "decoder_input_ids": target,
        "decoder_attention_mask": target_mask.long(),
    }
    return (source, target), inputs, {"source_mask": source_mask, "target_mask": target_mask}


def pair_grads(theirs, ours, pairs, inputs, masks, tolerance: float) -> None:
    """Of a random projection of the outputs, in training mode with every dropout at 0, through both embeddings."""
    theirs.train().zero_grad()
    ours.train().zero_grad()
    mask = masks["target_mask"]
    with exact():
        want = result(theirs(**inputs))
    w = torch.randn(want.shape[1:], generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    ((want * w)[mask]).sum().backward()
    ((out(ours(*pairs, **masks)) * w)[mask]).sum().backward()
    close = max(tolerance * 100, 1e-9)
    for side, a in (("encoder", theirs.get_encoder()), ("decoder", theirs.get_decoder())):
        b = getattr(ours, side).embedding.tokens.weight.grad
        torch.testing.assert_close(b, a.embed_tokens.weight.grad, rtol=close, atol=close)
    theirs.eval()
    ours.eval()


@torch.no_grad()
def pair_single(theirs, folder: Path, tmp_path: Path, vocab: int) -> None:
    """float32, transformers untouched."""
    plain = type(theirs).from_pretrained(folder, dtype=torch.float32).eval()
    plain.save_pretrained(tmp_path / "single")
    ours = jorip.load(tmp_path / "single")
    assert ours.dtype == torch.float32
    pairs, inputs, masks = pair(vocab, "right")
    want, mask = result(plain(**inputs)), masks["target_mask"]
    scale = float(want[mask].abs().max())
    same(out(ours(*pairs, **masks)) / scale, want / scale, mask, 1e-5)


def pair_generation(theirs, ours, vocab: int, sides) -> None:
    """Greedy and beam search from ragged sources: the same ids, freely and with the checkpoint's own settings."""
    start = theirs.generation_config.decoder_start_token_id
    for side in sides:
        source, mask = batch(vocab, side, 1, SOURCES)
        for beams in (1, 3):
            with exact(), torch.no_grad():
                want = theirs.generate(
                    input_ids=source, attention_mask=mask.long(), num_beams=beams, length_penalty=0.0,
                    decoder_start_token_id=start, max_new_tokens=6, **PLAIN,
                )  # fmt: skip
            options = {"bos": start, "eos": None, "max_new_tokens": 6, "beams": beams, "length_penalty": 0.0}
            got = ours.generate(source, mask=mask, forced_first=None, forced_last=None, **options)
            assert got.tolist() == want[:, 1:].tolist()
            with exact(), torch.no_grad():
                want = theirs.generate(
                    input_ids=source, attention_mask=mask.long(), num_beams=beams, do_sample=False, max_new_tokens=6
                )
            got = ours.generate(source, mask=mask, beams=beams, max_new_tokens=6)
            assert got.tolist() == want[:, 1:].tolist()
