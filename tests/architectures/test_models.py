"""Encoder, decoder, encoder-decoder: their shared path, sharing of weights, states, captures, and what they refuse."""

import pytest
import torch

import jorip
from jorip.core.errors import ConfigError, DataError
from jorip.core.layout import Packed
from jorip.core.random import Key
from tests.contracts.zoo import close, mixers, padded, tokens

V, D = 13, 8
SIZES = {"vocab_size": V, "d_model": D, "n_layers": 2, "n_heads": 2, "max_len": 16}
SOURCES, TARGETS = tokens((5, 1, 7, 3)), tokens((2, 6, 4, 1), seed=1)


def pair(mixer=None, dtype=torch.float64, encoder=None, **changes):
    layer = jorip.PreNorm(mixer=mixer or jorip.MultiHead())
    spec = jorip.EncoderDecoder(
        encoder=jorip.Encoder(**SIZES | (encoder or {})), decoder=jorip.Decoder(**SIZES, layer=layer), **changes
    )
    return spec.build(seed=0, dtype=dtype).eval()


@pytest.mark.parametrize("where", ["left", "right", "inside"])
def test_padding_of_both_sides(where):
    m = pair()
    source, source_mask = padded(SOURCES, where)
    target, target_mask = padded(TARGETS, where)
    out = m(source, target, source_mask=source_mask, target_mask=target_mask)
    assert (out.logits[~target_mask] == 0).all() and (out.hidden[~target_mask] == 0).all()
    for logits, seen, s, t in zip(out.logits, target_mask, SOURCES, TARGETS):
        close(logits[seen], m(s[None], t[None]).logits[0])
    close(m(Packed.cat(SOURCES), Packed.cat(TARGETS)).logits, out.logits[target_mask])
    close(m(None, target, target_mask=target_mask, memory=out.memory).logits, out.logits)


@pytest.mark.parametrize("mixer", mixers(True))
def test_step_by_step_with_a_memory(mixer):
    """Whatever mixes the target, the source is read by attention; beams share a source, and sources may be dropped."""
    m = pair(mixer)
    with torch.no_grad():
        memory, state = m.encode(Packed.cat(SOURCES)), m.new_state(4, capacity=2)
        prefixes, origins = [t[:1] for t in TARGETS], [0, 1, 2, 3]
        step = list(prefixes)
        for rows in ([0, 0, 2, 3], [1, 3, 2], [2, 2, 1, 1, 0], None):
            got = m(None, torch.stack(step), memory=memory, state=state).logits[:, -1]
            for logits, origin, prefix in zip(got, origins, prefixes):
                close(logits, m(SOURCES[origin][None], prefix[None]).logits[0, -1])
            if rows is None:
                break
            state.select(torch.tensor(rows))
            origins, step = [origins[r] for r in rows], tokens((1,) * len(rows), seed=len(rows))
            prefixes = [torch.cat([prefixes[r], new]) for r, new in zip(rows, step)]
        saved = state.snapshot()
        one = m(None, torch.stack(step), memory=memory, state=state).logits
        state.restore(saved)
        assert torch.equal(m(None, torch.stack(step), memory=memory, state=state).logits, one)


def test_a_memory_of_another_width():
    m = pair(encoder={"d_model": 12, "n_heads": 3})
    assert m.decoder.layers[0].cross.k.in_features == 12
    assert m(SOURCES[0][None], TARGETS[0][None]).logits.shape == (1, 2, V)


def test_empty_sources_and_targets():
    m = pair()
    nothing = SOURCES[0][:0]
    together = m(Packed.cat([nothing, SOURCES[0], SOURCES[1]]), Packed.cat([TARGETS[0], nothing, TARGETS[1]])).logits
    close(together[2:], m(SOURCES[1][None], TARGETS[1][None]).logits[0])
    close(together[:2], m(Packed.cat([nothing]), Packed.cat([TARGETS[0]])).logits)
    together.sum().backward()
    assert all(p.grad.isfinite().all() for p in m.parameters() if p.grad is not None)


def test_three_way_sharing_survives_building_and_moving():
    m = pair(share="embeddings")
    assert m.decoder.readout.out.weight is m.decoder.embedding.tokens.weight is m.encoder.embedding.tokens.weight
    assert (
        len([n for n, _ in m.named_parameters() if n.endswith(("tokens.weight", "out.weight")) and "layers" not in n])
        == 1
    )
    apart = pair()
    assert apart.decoder.embedding.tokens.weight is not apart.encoder.embedding.tokens.weight
    assert apart.decoder.readout.out.weight is apart.decoder.embedding.tokens.weight
    free = jorip.Decoder(**SIZES, readout=jorip.LanguageModel(tied=False, bias=True)).build(seed=0)
    assert free.readout.out.weight is not free.embedding.tokens.weight and free.readout.out.bias is not None
    m.float()
    assert m.dtype == torch.float32 and m.decoder.readout.out.weight is m.encoder.embedding.tokens.weight


def test_loss_is_the_sum_over_wanted_rows():
    m = pair()
    targets = torch.cat(TARGETS).roll(-1)
    batch = Packed.cat(SOURCES), Packed.cat(TARGETS)
    out = m(*batch, targets=targets)
    total, count = out.loss
    want = torch.nn.functional.cross_entropy(m(*batch).logits, targets, reduction="sum")
    close(total, want)
    assert int(count) == len(targets) and out.logits is None and out.aux_losses == {}


def test_captures():
    m = pair()
    source, mask = padded(SOURCES, "left")
    paths = ("encoder.layers.0.mixer", "decoder.layers.1.cross", "decoder.layers.1.mixer")
    out = m(source, torch.stack([t.repeat(3)[:3] for t in TARGETS]), source_mask=mask, capture=paths)
    shapes = {p: tuple(w.shape) for p, w in out.captures.items()}
    assert shapes == dict(zip(paths, [(4, 2, 7, 7), (4, 2, 3, 7), (4, 2, 3, 3)]))
    cross = out.captures["decoder.layers.1.cross"]
    close(cross.sum(-1), torch.ones(4, 2, 3, dtype=cross.dtype))
    assert (cross[1, :, :, 1:] == 0).all(), "a source of one token: the grid is left-aligned"
    assert (out.captures["decoder.layers.1.mixer"].triu(1) == 0).all()
    message = r"there is no attention map at 'decoder.layers.1.cros'.*did you mean 'decoder.layers.1.cross'\?"
    with pytest.raises(ConfigError, match=message):
        m(source, source, source_mask=mask, capture=("decoder.layers.1.cros",))
    lm = jorip.Decoder(**SIZES, layer=jorip.PreNorm(mixer="lstm")).build(seed=0)
    with pytest.raises(ConfigError, match=r"no attention map at 'layers.0.mixer'"):
        lm(source, capture=("layers.0.mixer",))


def test_segments():
    spec = jorip.Encoder(**SIZES, embedding=jorip.Tokens(segments=2, norm="layer_norm", scale="sqrt"))
    m = spec.build(seed=0, dtype=torch.float64).eval()
    ids, mask = padded(SOURCES, "left")
    segments = (torch.arange(ids.shape[1]) > 5).long().expand(ids.shape)
    a, b = m(ids, mask=mask, segments=segments).hidden, m(ids, mask=mask).hidden
    assert not torch.allclose(a[mask], b[mask])
    close(m(Packed.cat(SOURCES), segments=Packed.cat([s[k] for s, k in zip(segments, mask)])).hidden, a[mask])
    close(m(ids, mask=mask, segments=segments * 0).hidden, b)
    plain = jorip.Encoder(**SIZES).build(seed=0)
    with pytest.raises(
        DataError, match=r"no segment embeddings: build it with embedding.segments=2, or give no segments"
    ):
        plain(ids, segments=segments)


def test_embedding_is_the_formula():
    spec = jorip.Encoder(**SIZES, embedding=jorip.Tokens(scale="sqrt"), position="none")
    m, ids = spec.build(seed=0), SOURCES[0][None]
    x = m.embedding(ids[0], None, m.position, jorip.core.context.Context())
    torch.testing.assert_close(x, m.embedding.tokens.weight[ids[0]] * D**0.5)


def test_no_layers_and_training_without_a_key():
    m = jorip.Decoder(**SIZES | {"n_layers": 0}).build(seed=0).train()
    assert m(SOURCES[0][None]).logits.shape == (1, 5, V)
    assert m(SOURCES[0][None], key=Key(0, 0)).logits.isfinite().all()
    assert m.new_state(2).parts == {}


MODELS = {
    "encoder": lambda: jorip.Encoder(**SIZES).build(seed=0),
    "decoder": lambda: jorip.Decoder(**SIZES).build(seed=0),
}


@pytest.mark.parametrize("name", MODELS)
def test_inputs_that_cannot_be(name):
    m, ids = MODELS[name](), torch.zeros(2, 5, dtype=torch.int64)
    for inputs, fields, message in (
        (ids + V, {}, "token ids must be 0 to 12, found 13 to 13: is this the model's own tokenizer?"),
        (ids - 1, {}, "token ids must be 0 to 12, found -1 to -1"),
        (ids[0], {}, "inputs must be (batch, length), found (5,): use inputs[None] for one sequence"),
        (
            ids,
            {"mask": torch.ones(2, 4, dtype=torch.bool)},
            "mask (2, 4) does not fit inputs (2, 5): both are (batch, length)",
        ),
        (
            ids,
            {"mask": torch.ones(2, 5)},
            "mask must be bool (batch, length), True = a real token; found torch.float32 (2, 5)",
        ),
        (torch.zeros(1, 17, dtype=torch.int64), {}, "a sequence of 17 tokens is longer than max_len=16: truncate it"),
    ):
        with pytest.raises(DataError) as e:
            m(inputs, **fields)
        assert message in str(e.value) and e.value.exit_code == 3


def test_longer_than_max_len_step_by_step():
    m = MODELS["decoder"]()
    state = m.new_state(1)
    m(torch.zeros(1, 16, dtype=torch.int64), state=state)
    with pytest.raises(DataError, match="a sequence of 17 tokens is longer than max_len=16"):
        m(torch.zeros(1, 1, dtype=torch.int64), state=state)


def test_sources_and_targets_are_pairs():
    m, ids = pair(), torch.zeros(3, 2, dtype=torch.int64)
    with pytest.raises(DataError, match="3 sources but 2 targets: they must be pairs"):
        m(ids, ids[:2])
    with pytest.raises(DataError, match=r"give the source, or the memory that encode\(source\) returned"):
        m(None, ids)


def test_an_encoder_has_no_decoding_state():
    with pytest.raises(
        ConfigError, match="this encoder is not causal: it sees whole sequences, so it has no decoding state"
    ):
        MODELS["encoder"]().new_state(1)


@pytest.mark.parametrize("positions", ["sinusoidal", "learned", "rotary"])
def test_given_positions_move_everything_alike(positions):
    """Relative schemes do not notice a shift; absolute ones do."""
    m = jorip.Decoder(**SIZES | {"max_len": 64}, position=positions).build(seed=0, dtype=torch.float64).eval()
    ids = SOURCES[2][None]
    here, there = m(ids).logits, m(ids, positions=torch.arange(7)[None] + 9).logits
    assert torch.allclose(here, there, atol=1e-9) == (positions == "rotary")
    moved = Packed.cat([SOURCES[2]])
    close(m(moved, positions=torch.arange(7) + 9).logits, there[0])
