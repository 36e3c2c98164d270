"""`compare.check` for BERT's relatives: every output and every gradient of every head, pairs of texts, losses.

`check_encoder(model, folder, vocab)` compares all that their head returns, padded on both sides, alone and in two
segments, the loss of theirs with labels, every parameter's gradient of it, training mode, untouched float32, and the
folder that we write.
"""

from __future__ import annotations

from pathlib import Path

import torch

import jorip
from jorip.exchange.families import family
from jorip.parts.readout.base import IGNORE
from tests.parity.compare import LENGTHS, back, batch, exact, same, save, shake

THEIRS = {  # their outputs -> where ours are
    "last_hidden_state": lambda o: o.hidden,
    "pooler_output": lambda o: o.pooled,
    "logits": lambda o: o.logits,
    "prediction_logits": lambda o: o.logits,
    "seq_relationship_logits": lambda o: o.readouts["next_sentence"],
    "start_logits": lambda o: o.logits[..., 0],
    "end_logits": lambda o: o.logits[..., 1],
}


def check_encoder(theirs, tmp_path: Path, vocab: int, segments: int = 0, pad: int = 0, positions: bool = True):
    """segments: how many the texts are in, 0 = they are given none; pad: id of padding; positions: they must be given
    positions where the padding is on the left, because they count it. Returns our model."""
    theirs = shake(theirs).double().eval()
    ours = jorip.load(save(theirs, tmp_path / "theirs"))
    for side in ("right", "left"):
        tokens, mask = batch(vocab, side)
        tokens = torch.where(mask, tokens, pad)
        inputs = {"input_ids": tokens, "attention_mask": mask.long()}
        mine = {"mask": mask}
        if segments:
            inputs["token_type_ids"] = mine["segments"] = tokens % segments
        if side == "left" and positions:
            inputs["position_ids"] = (mask.long().cumsum(-1) - 1).clamp(min=0)
        with exact():
            want = theirs(**inputs)
        pooled = [n for n in want if want[n].shape[:2] != mask.shape]
        if side == "left" and pooled:  # theirs pools the first column, padding or not: here it is moved to the right
            with exact():
                moved = theirs(**{n: moved_right(t, mask) for n, t in inputs.items()})
            want = dict(want) | {n: moved[n] for n in pooled}
        equal(ours(tokens, **mine), want, mask, 1e-10)
        if "last_hidden_state" not in want and (side == "right" or not pooled):
            losses(theirs, ours, inputs, tokens, mine, vocab)
    single(theirs, tmp_path, inputs | {"position_ids": None}, mine)
    back(theirs, ours, tmp_path)
    return ours


def moved_right(t: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The same texts with the padding on the right."""
    return t.gather(1, (~mask).long().argsort(dim=1, stable=True))


def equal(got, want, mask: torch.Tensor, tolerance: float, scale: float = 1.0) -> None:
    """Every output of theirs."""
    for name in want:
        a, b = THEIRS[name](got), want[name]
        assert a.shape == b.shape, name
        if a.shape[:2] == mask.shape:
            same(a / scale, b / scale, mask, tolerance)
            assert not a[~mask].any()
        else:
            torch.testing.assert_close(a / scale, b.to(a.dtype) / scale, rtol=tolerance, atol=tolerance)


def labels(theirs, tokens: torch.Tensor, mask: torch.Tensor, vocab: int):
    """Their labels by argument, and our targets; some are not asked."""
    name, n = type(theirs).__name__, len(LENGTHS)
    g = torch.Generator().manual_seed(5)
    rows = torch.randint(0, theirs.config.num_labels if "TokenClass" in name else vocab, tokens.shape, generator=g)
    rows = torch.where(mask & (torch.arange(tokens.shape[1]) % 3 != 1), rows, IGNORE)
    of_batch = torch.arange(n) % theirs.config.num_labels
    if "ForPreTraining" in name:
        pairs = torch.tensor([0, 1, 1])
        return {"labels": rows, "next_sentence_label": pairs}, {"tokens": rows, "next_sentence": pairs}
    if "NextSentence" in name:
        return {"labels": torch.tensor([0, 1, 1])}, torch.tensor([0, 1, 1])
    if "SequenceClass" in name:
        of_batch = of_batch + 0.5 if theirs.config.num_labels == 1 else of_batch
        return {"labels": of_batch}, of_batch
    if "QuestionAnswering" in name:
        places = torch.tensor([[1, 5], [0, 0], [2, 4]])
        columns = places + mask.long().argmax(1, keepdim=True)  # theirs counts the padding on the left
        return {"start_positions": columns[:, 0], "end_positions": columns[:, 1]}, places
    return {"labels": rows}, rows


def losses(theirs, ours, inputs, tokens, mine, vocab: int) -> None:
    """Their loss and the gradient of every parameter, in training mode with every dropout at 0."""
    asked, targets = labels(theirs, tokens, mine["mask"], vocab)
    theirs.train().zero_grad()
    ours.train().zero_grad()
    with exact():
        want = theirs(**inputs, **asked).loss
    out = ours(tokens, targets=targets, **mine)
    got = out.loss[0] / out.loss[1] + sum(out.aux_losses.values())
    if "start_positions" in asked:  # theirs lets padding take part in the softmax, by a score that is not -inf
        want = span_loss(theirs, inputs, asked, mine["mask"])
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    want.backward()
    got.backward()
    mine_grads = {n: p.grad if p.grad is not None else torch.zeros_like(p) for n, p in ours.named_parameters()}
    found = family(ours.origin.family).rules(ours.spec).save(mine_grads)
    params = {n: theirs.get_parameter(n) for n in found}
    for name, p in params.items():
        if p.grad is not None:
            torch.testing.assert_close(found[name], p.grad, rtol=1e-8, atol=1e-9, msg=name)
        elif not name.endswith(("predictions.bias", "lm_head.bias")):  # a copy of the bias that is used
            assert not found[name].any(), name
    ids = {id(p) for p in params.values()}
    assert all(id(p) in ids or p.grad is None for p in theirs.parameters())
    theirs.eval()
    ours.eval()


def span_loss(theirs, inputs, asked, mask: torch.Tensor) -> torch.Tensor:
    """Theirs, with the softmax over the text alone: transformers gives padding a share of it."""
    with exact():
        o = theirs(**inputs)
    terms = [
        torch.nn.functional.cross_entropy(logits.masked_fill(~mask, float("-inf")), asked[name])
        for logits, name in ((o.start_logits, "start_positions"), (o.end_logits, "end_positions"))
    ]
    return sum(terms) / 2


@torch.no_grad()
def single(theirs, tmp_path: Path, inputs, mine) -> None:
    """float32, transformers untouched, padded on the right."""
    plain = type(theirs).from_pretrained(tmp_path / "theirs", dtype=torch.float32).eval()
    plain.save_pretrained(tmp_path / "single")
    ours = jorip.load(tmp_path / "single")
    assert ours.dtype == torch.float32
    inputs = {n: t.flip(1) for n, t in inputs.items() if t is not None}
    mine = {n: t.flip(1) for n, t in mine.items()}
    want = plain(**inputs)
    scale = max(1.0, *(float(want[n].abs().max()) for n in want))
    equal(ours(inputs["input_ids"], **mine), want, mine["mask"], 1e-5, scale)
