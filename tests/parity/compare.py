"""One check for every recipe: a tiny random transformers model, saved, loaded by us, compared and saved back.

`check(model, folder)` compares every position, ragged lengths padded on both sides, gradients, float64 with
transformers' hard-coded float32 casts lifted, float32 with transformers untouched, generation, training mode, and the
folder that we write.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import jorip
from jorip.core.errors import JoripError

torch.set_num_threads(1)
LENGTHS = (7, 1, 5)


@contextmanager
def exact():
    """transformers casts to float32 in the middle of float64 models (softmax, norms); here it does not."""
    plain, cast, softmax = torch.Tensor.to, torch.Tensor.float, torch.nn.functional.softmax

    def to(self, *args, **kwargs):
        wanted = kwargs.get("dtype", args[0] if args and isinstance(args[0], torch.dtype) else None)
        if self.dtype == torch.float64 and wanted == torch.float32:
            return self
        return plain(self, *args, **kwargs)

    def soft(x, dim=None, _stacklevel=3, dtype=None):
        return softmax(x, dim=dim, dtype=None if x.dtype == torch.float64 else dtype)

    torch.Tensor.to, torch.Tensor.float = to, lambda self: self if self.dtype == torch.float64 else cast(self)
    torch.nn.functional.softmax = soft
    try:
        yield
    finally:
        torch.Tensor.to, torch.Tensor.float, torch.nn.functional.softmax = plain, cast, softmax


def shake(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Random values everywhere, also where a fresh model has zeros and ones, so that no swap goes unseen."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64) * (0.3 if p.dim() > 1 else 0.2))
            if p.dim() == 1:
                p.add_(0.5)
    return model


def batch(vocab: int, side: str, seed: int = 1, lengths=LENGTHS) -> tuple[torch.Tensor, torch.Tensor]:
    """tokens and mask, ragged, padded on one side."""
    g = torch.Generator().manual_seed(seed)
    width = max(lengths)
    tokens, mask = torch.randint(4, vocab, (len(lengths), width), generator=g), torch.zeros(len(lengths), width).bool()
    for row, n in zip(mask, lengths):
        row[slice(0, n) if side == "right" else slice(width - n, width)] = True
    return torch.where(mask, tokens, 0), mask


def save(theirs, folder: Path) -> Path:
    """As transformers writes it, in float64."""
    theirs.double().save_pretrained(folder)
    return folder


def same(ours: torch.Tensor, theirs: torch.Tensor, mask: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(ours[mask], theirs[mask].to(ours.dtype), rtol=tolerance, atol=tolerance)


def check(
    theirs, tmp_path: Path, vocab: int, sides=("right", "left"), tolerance: float = 1e-10, generates: bool = True
) -> jorip.architectures.base.Model:
    """A model with (batch, length) inputs and one output per position: base models, LM and token heads."""
    theirs = shake(theirs).double().eval()
    folder = save(theirs, tmp_path / "theirs")
    ours = jorip.load(folder)
    for side in sides:
        tokens, mask = batch(vocab, side)
        inputs = {"input_ids": tokens, "attention_mask": mask.long()}
        if side == "left":
            inputs["position_ids"] = (mask.long().cumsum(-1) - 1).clamp(min=0)
        with exact():
            want = result(theirs(**inputs))
        got = out(ours(tokens, mask=mask))
        same(got, want, mask, tolerance)
        assert not got[~mask].any()
        grads(theirs, ours, inputs, tokens, mask, tolerance)
    single(theirs, folder, tmp_path, vocab)
    if generates:
        generation(theirs, ours, vocab)
    back(theirs, ours, tmp_path)
    return ours


def out(o) -> torch.Tensor:
    return o.hidden if o.logits is None else o.logits


def result(o) -> torch.Tensor:
    return o.logits if "logits" in o else o.last_hidden_state


def grads(theirs, ours, inputs, tokens, mask, tolerance) -> None:
    """The gradient of a random projection of the outputs, in training mode with every dropout at 0, through the
    embeddings: it has passed every layer."""
    theirs.train().zero_grad()
    ours.train().zero_grad()
    with exact():
        want = result(theirs(**inputs))
    w = torch.randn(want.shape[1:], generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    ((want * w)[mask]).sum().backward()
    ((out(ours(tokens, mask=mask)) * w)[mask]).sum().backward()
    a, b = theirs.get_input_embeddings().weight.grad, embedding(ours).grad
    torch.testing.assert_close(b, a, rtol=max(tolerance * 100, 1e-9), atol=max(tolerance * 100, 1e-9))
    theirs.eval()
    ours.eval()


def embedding(model) -> torch.Tensor:
    return (model.encoder if hasattr(model, "encoder") else model).embedding.tokens.weight


@torch.no_grad()
def single(theirs, folder: Path, tmp_path: Path, vocab: int) -> None:
    """float32, transformers untouched."""
    plain = type(theirs).from_pretrained(folder, dtype=torch.float32).eval()
    plain.save_pretrained(tmp_path / "single")
    ours = jorip.load(tmp_path / "single")
    assert ours.dtype == torch.float32
    tokens, mask = batch(vocab, "right")
    want = result(plain(input_ids=tokens, attention_mask=mask.long()))
    scale = float(want[mask].abs().max())
    same(out(ours(tokens, mask=mask)) / scale, want / scale, mask, 1e-5)


def generation(theirs, ours, vocab: int) -> None:
    """Greedy and beam search from ragged prompts padded left, as transformers wants them: the same ids."""
    tokens, mask = batch(vocab, "left")
    common = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None, "bos_token_id": None}
    for beams in (1, 3):
        with exact(), torch.no_grad():
            want = theirs.generate(
                input_ids=tokens, attention_mask=mask.long(), num_beams=beams, length_penalty=0.0, **common
            )
        plain = {"eos": None, "forced_last": None, "repetition_penalty": 1.0}  # not what the folder says
        got = ours.generate(tokens, mask=mask, max_new_tokens=6, beams=beams, length_penalty=0.0, **plain)
        assert got.tolist() == want[:, tokens.shape[1] :].tolist()


def back(theirs, ours, tmp_path: Path) -> None:
    """What we write opens in transformers with no missing and no unexpected key, bit-equal; and reloads in ours."""
    folder = jorip.save(ours, tmp_path / "back", format="hf")
    again, info = type(theirs).from_pretrained(folder, output_loading_info=True, dtype=torch.float64)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], info
    want = theirs.state_dict()
    assert set(again.state_dict()) == set(want)
    for name, t in again.state_dict().items():
        assert torch.equal(t, want[name]), name
    reloaded = jorip.load(folder)
    assert reloaded.spec == ours.spec
    for (name, a), b in zip(ours.state_dict().items(), reloaded.state_dict().values()):
        assert torch.equal(a, b), name


def refuses(folder: Path, *words: str) -> None:
    with pytest.raises(JoripError) as e:
        jorip.load(folder)
    for word in words:
        assert word in str(e.value), str(e.value)
