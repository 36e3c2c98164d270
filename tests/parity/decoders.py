"""The heads of decoders, whatever the family, that `compare.check` does not see: they have not one row per token."""

from __future__ import annotations

import torch
from safetensors.torch import load_file, save_file

import jorip
from tests.parity.compare import back, batch, exact, save, shake

FEW = {"classifier_dropout": 0.0, "num_labels": 3, "pad_token_id": 0}  # a padding id, which none of the texts have


def check_whole(theirs, tmp_path, tolerance: float) -> None:
    """A decision for each sequence, from its last token; its gradient; saved back."""
    compare(theirs, tmp_path, lambda o: o.logits, lambda o, mask: o.logits, tolerance)


def check_spans(theirs, tmp_path, tolerance: float) -> None:
    """Two scores for each token."""
    compare(
        theirs, tmp_path, lambda o: torch.stack([o.start_logits, o.end_logits], -1), lambda o, m: o.logits, tolerance
    )


def compare(theirs, tmp_path, wanted, found, tolerance: float) -> None:
    theirs = shake(theirs).double()
    folder = save(theirs, tmp_path / "theirs")
    ours = jorip.load(folder)
    assert ours.origin.head == type(theirs).__name__
    for side in ("right", "left"):
        tokens, mask = batch(53, side)
        inputs = {"input_ids": tokens, "attention_mask": mask.long()}
        if side == "left":
            inputs["position_ids"] = (mask.long().cumsum(-1) - 1).clamp(min=0)
        for training in (False, True):
            theirs.train(training).zero_grad()
            ours.train(training).zero_grad()
            with exact():
                want = wanted(theirs(**inputs))
            got = found(ours(tokens, mask=mask), mask)
            want, got = (want[mask], got[mask]) if want.shape[1] == mask.shape[1] else (want, got)
            torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)
            w = torch.randn(want.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
            ((want * w).sum()).backward()
            ((got * w).sum()).backward()
        a, b = theirs.get_input_embeddings().weight.grad, ours.embedding.tokens.weight.grad
        torch.testing.assert_close(b, a, rtol=max(tolerance, 1e-9) * 100, atol=max(tolerance, 1e-9) * 100)
    back(theirs.eval(), ours.eval(), tmp_path)


def check_old_keys(theirs, tmp_path, prefix: str, buffers: dict[str, torch.Tensor]) -> None:
    """A checkpoint as old versions wrote it: no prefix, and constants among the weights."""
    folder = save(shake(theirs), tmp_path)
    want = jorip.load(folder).state_dict()
    old = {k.removeprefix(prefix): t for k, t in load_file(folder / "model.safetensors").items()}
    save_file(old | buffers, folder / "model.safetensors")
    got = jorip.load(folder)
    assert all(torch.equal(t, want[n]) for n, t in got.state_dict().items())
    assert "stored by old versions" in got.origin.report
