"""Every mixer in a whole model, on the path that users take: padding, step by step, checkpointing, autocast, saving."""

import json
import pickle

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from jorip.architectures.base import from_dict
from jorip.core.context import Context
from jorip.core.cost import Shape
from jorip.core.layout import Layout, Rows
from jorip.core.random import Key
from tests.contracts.zoo import LENGTHS, SITES, close, mixers, model, packed, padded, rows, tokens

CAUSAL = mixers(True)
TEXTS = tokens()


def alone(m, texts=TEXTS) -> list[torch.Tensor]:
    return [m(t[None]).hidden[0] for t in texts]


@pytest.mark.parametrize("spec, causal", SITES)
def test_padding_on_any_side_equals_alone(spec, causal):
    m = model(spec, causal)
    expected = alone(m)
    for where in ("left", "right", "inside"):
        ids, mask = padded(TEXTS, where)
        hidden = m(ids, mask=mask).hidden
        assert hidden.shape == (*ids.shape, 8) and (hidden[~mask] == 0).all()
        for h, seen, one in zip(hidden, mask, expected):
            close(h[seen], one)
    close(m(packed(TEXTS)).hidden, torch.cat(expected))
    together = [TEXTS[2], TEXTS[2].flip(0)]  # equally long: no holes at all
    close(m(torch.stack(together)).hidden, torch.stack(alone(m, together)))


@pytest.mark.parametrize("spec, causal", SITES)
def test_gradients_do_not_see_padding(spec, causal):
    m = model(spec, causal)

    def gradients(inputs, mask=None):
        m.zero_grad()
        h = m(inputs, mask=mask).hidden
        h.reshape(-1, 8)[: None if mask is None else h[..., 0].numel()].pow(2).sum().backward()
        return [p.grad.clone() for p in m.parameters()]

    expected = gradients(packed(TEXTS))
    for where in ("left", "inside"):
        for got, want in zip(gradients(*padded(TEXTS, where)), expected):
            close(got, want)


def feed(m, state, texts):
    """One call with these new tokens (maybe none for some sequences), padded on the left; hidden rows of each."""
    ids, mask = padded(texts, "left", max(1, *map(len, texts)))
    return [h[seen] for h, seen in zip(m(ids, mask=mask, state=state).hidden, mask)]


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("spec", CAUSAL)
def test_step_by_step_equals_the_full_pass(spec, grad):
    """Ragged prompts, then pieces of unequal length, among them none at all; capacity 2 must grow."""
    m = model(spec, True)
    texts = tokens((9, 6, 11, 8), seed=3)
    with torch.set_grad_enabled(grad):
        state = m.new_state(len(texts), capacity=2)
        parts = [[] for _ in texts]
        done = [0] * len(texts)
        for sizes in ((3, 1, 4, 0), (1, 1, 1, 1), (1, 1, 1, 1), (0, 2, 3, 1), (4, 1, 2, 4), (0, 0, 0, 1)):
            for i, h in enumerate(feed(m, state, [t[d : d + n] for t, d, n in zip(texts, done, sizes)])):
                parts[i].append(h)
                done[i] += sizes[i]
            assert state.lengths.tolist() == done
        for got, t in zip(parts, texts):
            close(torch.cat(got), m(t[None]).hidden[0])


@pytest.mark.parametrize("spec", CAUSAL)
def test_state_select_snapshot_restore(spec):
    """Beams: rows are repeated, reordered and dropped; what a snapshot holds comes back however often."""
    m = model(spec, True)
    prompts, more = tokens((4, 1, 6)), tokens((2, 2, 2, 2), seed=5)
    with torch.no_grad():
        state = m.new_state(3, capacity=2)
        feed(m, state, prompts)
        rows = torch.tensor([2, 0, 2, 1])
        state.select(rows)
        beams = [prompts[i] for i in rows.tolist()]
        saved = state.snapshot()
        for _ in range(2):
            for got, a, b in zip(feed(m, state, more), beams, more):
                close(got, m(torch.cat([a, b])[None]).hidden[0, -2:])
            feed(m, state, tokens((3, 1, 2, 4), seed=6))  # lose the way
            state.restore(saved)
        state.select(torch.tensor([3, 1]))  # fewer than before, in place where that is possible
        for got, a, b in zip(feed(m, state, more[:2]), [beams[3], beams[1]], more[:2]):
            close(got, m(torch.cat([a, b])[None]).hidden[0, -2:])
        assert state.nbytes > 0


@pytest.mark.parametrize("spec", CAUSAL)
def test_gradients_flow_through_the_state(spec):
    m = model(spec, True)
    texts = tokens((5, 5))

    def total(pieces):
        m.zero_grad()
        state = m.new_state(2) if len(pieces) > 1 else None
        sum(m(p, state=state).hidden.pow(2).sum() for p in pieces).backward()
        return [p.grad.clone() for p in m.parameters()]

    both = torch.stack(texts)
    for got, want in zip(total([both[:, :2], both[:, 2:3], both[:, 3:]]), total([both])):
        close(got, want)


@pytest.mark.parametrize("spec, causal", SITES)
def test_activation_checkpointing_changes_nothing(spec, causal):
    m = model(spec, causal).train()
    block, x = m.layers[1], rows()

    def gradients(again: bool):
        m.zero_grad()
        v = x.x.clone().requires_grad_()
        ctx = Context(mask=m.mask_rule, key=Key(1, 2), position=m.position)
        run = lambda r: block(Rows(r, x.at), {}, ctx)[0].x  # noqa: E731
        y = checkpoint(run, v, use_reentrant=False) if again else run(v)
        y.pow(2).sum().backward()
        return [y.detach(), v.grad, *(p.grad.clone() for p in block.parameters())]

    for got, want in zip(gradients(True), gradients(False)):
        assert torch.equal(got, want)


@pytest.mark.parametrize("spec, causal", SITES)
def test_autocast(spec, causal):
    m = model(spec, causal, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = m(packed(TEXTS)).hidden.float()
    torch.testing.assert_close(rough, m(packed(TEXTS)).hidden, rtol=0.1, atol=0.1)
    if causal:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            state = m.new_state(4)
            feed(m, state, TEXTS)
            feed(m, state, tokens((1, 1, 1, 1)))


@pytest.mark.parametrize("spec, causal", SITES)
def test_spec_survives_saving(spec, causal):
    m = model(spec, causal)
    assert from_dict(json.loads(json.dumps(m.spec.to_dict()))) == m.spec
    assert pickle.loads(pickle.dumps(m.spec)) == m.spec and hash(m.spec) == hash(pickle.loads(pickle.dumps(m.spec)))
    again = pickle.loads(pickle.dumps(m))
    assert torch.equal(again(packed(TEXTS)).hidden, m(packed(TEXTS)).hidden)


@pytest.mark.parametrize("spec, causal", SITES)
def test_same_seed_same_model(spec, causal):
    m, same = model(spec, causal), model(spec, causal)
    assert all(torch.equal(a, b) for a, b in zip(m.state_dict().values(), same.state_dict().values()))
    meta = m.spec.build(device="meta", dtype=torch.float64)
    assert {n: p.shape for n, p in meta.named_parameters()} == {n: p.shape for n, p in m.named_parameters()}
    assert sum(m.spec.cost(Shape(1, 4)).parameters.values()) == sum(p.numel() for p in m.parameters())


@pytest.mark.parametrize("spec, causal", SITES)
def test_uninitialised_memory_is_never_read(spec, causal):
    """Under deterministic algorithms torch fills what it allocates with nan."""
    m = model(spec, causal)
    expected = m(packed(TEXTS)).hidden
    torch.use_deterministic_algorithms(True)
    try:
        with torch.no_grad():
            assert torch.equal(m(packed(TEXTS)).hidden, expected)
            if causal:
                state = m.new_state(4, capacity=8)
                feed(m, state, TEXTS)
                for choice in ([3, 1, 2], [0, 0, 1, 2, 2]):
                    state.select(torch.tensor(choice))
                    assert all(h.isfinite().all() for h in feed(m, state, tokens((2,) * len(choice))))
    finally:
        torch.use_deterministic_algorithms(False)


def test_layouts_of_equal_content_are_interchangeable():
    lengths = torch.tensor(LENGTHS)
    mask = torch.arange(7) < lengths[:, None]
    a, b = Layout.of(lengths), Layout.pack(mask)
    for name in ("lengths", "order", "positions", "sample", "uid", "slots"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
