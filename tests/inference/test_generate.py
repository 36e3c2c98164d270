import pytest
import torch

import jorip
from jorip.core.errors import ConfigError, DataError, NonFiniteError
from jorip.core.layout import Packed
from jorip.inference.generate import decode, generate, stream
from tests.inference.tiny_models import SIZES, VOCAB, build, causal_mixers, encoder_decoder, padded

WAYS = {
    "greedy": {},
    "sampled": {"temperature": 1.3, "seed": 5},
    "nucleus": {"top_k": 6, "top_p": 0.8, "seed": 5},
    "beams": {"beams": 3, "length_penalty": 0.6},
}


def by_full_passes(model, prompt, n, eos=None, source=None):
    """Greedy from the definition: the whole sequence again for every token."""
    tokens = prompt.tolist()
    for _ in range(n):
        inputs = torch.tensor([tokens])
        logits = model(inputs).logits if source is None else model(source[None], inputs).logits
        tokens.append(int(logits[0, -1].argmax()))
        if tokens[-1] == eos:
            break
    return tokens[len(prompt) :]


@pytest.mark.parametrize("spec", causal_mixers())
def test_greedy_is_the_argmax_of_full_passes(spec, ragged):
    model = build(spec).eval()
    for prompt in ragged:
        assert generate(model, prompt[None], max_new_tokens=9)[0].tolist() == by_full_passes(model, prompt, 9)


def test_greedy_is_the_argmax_of_full_passes_beside_an_encoder(pair, ragged):
    pair.eval()
    for source in ragged:
        out = generate(pair, source[None], max_new_tokens=9, bos=1, eos=2)[0].tolist()
        expected = by_full_passes(pair, torch.tensor([1]), 9, 2, source)
        assert out[: len(expected)] == expected


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("spec", [*causal_mixers(), pytest.param(encoder_decoder(), id="encoder_decoder")])
def test_a_batch_of_mixed_lengths_equals_one_by_one(spec, way, ragged):
    model = build(spec)
    options = way | {"max_new_tokens": 12, "eos": 2, "min_new_tokens": 2}
    alone = [decode(model, s[None], **options) for s in ragged]
    together = {side: decode(model, *padded(ragged, side), **options) for side in ("left", "right")}
    together["packed"] = decode(model, Packed.cat(ragged), **options)
    for out in together.values():
        for i, one in enumerate(alone):
            n = int(one.lengths)
            assert out.tokens[i, :n].tolist() == one.tokens[0].tolist()
            assert out.tokens[i, n:].eq(2).all()
            assert out.lengths[i] == n and out.ended[i] == one.ended[0]
            assert out.scores[i].item() == pytest.approx(one.scores.item(), rel=1e-9)


@pytest.mark.parametrize("way", [w for n, w in WAYS.items() if n != "beams"], ids=[n for n in WAYS if n != "beams"])
def test_stream_yields_the_columns_of_generate(decoder, pair, ragged, way):
    for model in (decoder, pair):
        tokens, mask = padded(ragged, "left")
        options = way | {"max_new_tokens": 10, "eos": 2}
        columns = list(stream(model, tokens, mask, **options))
        assert torch.equal(torch.stack(columns, 1), generate(model, tokens, mask, **options))


def test_eos_ends_a_row_and_fills_it(pair, ragged):
    tokens, mask = padded(ragged, "right")
    free = generate(pair, tokens, mask, max_new_tokens=10)
    eos = int(free[0, 3])
    out = decode(pair, tokens, mask, max_new_tokens=10, eos=eos)
    for i in range(len(ragged)):
        row = free[i].tolist()
        n = row.index(eos) + 1 if eos in row else 10
        assert out.tokens[i].tolist() == (row[:n] + [eos] * 10)[: out.tokens.shape[1]]
        assert out.lengths[i] == n and out.ended[i] == ("eos" if eos in row else "max_new_tokens")


def test_min_new_tokens_and_forbid(decoder, ragged):
    tokens, mask = padded(ragged, "right")
    for way in WAYS.values():
        out = decode(decoder, tokens, mask, max_new_tokens=8, min_new_tokens=5, eos=2, forbid=(0, 3), **way)
        assert (out.lengths >= 5).all()
        assert not torch.isin(out.tokens, torch.tensor([0, 3])).any()


def test_max_len_stops_each_row_where_it_is_full(decoder, ragged):
    long = [torch.full((38,), 4), ragged[0], torch.full((40,), 4)]
    for way in WAYS.values():
        out = decode(decoder, Packed.cat(long), max_new_tokens=50, **way)
        assert out.lengths.tolist() == [2, 35, 0]
        assert out.ended == ["max_len"] * 3
        assert out.tokens[0, 2:].eq(-1).all() and out.tokens[2].eq(-1).all()
    assert generate(decoder, torch.full((1, 40), 4)).shape == (1, 0)


def test_an_encoder_decoder_may_fill_its_whole_target(pair, ragged):
    assert decode(pair, Packed.cat(ragged), max_new_tokens=99).lengths.tolist() == [40] * 4


def test_prompts_longer_than_max_len_are_refused(decoder):
    with pytest.raises(DataError, match="41 tokens is longer than max_len=40"):
        generate(decoder, torch.full((1, 41), 4))


def test_empty_prompts_need_bos(decoder):
    mask = torch.tensor([[True, True], [False, False]])
    with pytest.raises(DataError, match="prompt 1 is empty: give it a token, or give bos"):
        generate(decoder, torch.full((2, 2), 4), mask)
    out = generate(decoder, torch.full((2, 2), 4), mask, bos=1, max_new_tokens=5)
    assert torch.equal(out[1:], generate(decoder, torch.tensor([[1]]), max_new_tokens=5))
    assert torch.equal(out[:1], generate(decoder, torch.tensor([[1, 4, 4]]), bos=1, max_new_tokens=5))


def test_an_empty_batch_gives_an_empty_batch(decoder):
    none = torch.zeros(0, 3, dtype=torch.int64)
    assert generate(decoder, none).shape == (0, 0)
    assert list(stream(decoder, none)) == []


@pytest.mark.parametrize("spec", [*causal_mixers(), pytest.param(encoder_decoder(), id="encoder_decoder")])
def test_modes_are_restored_and_training_goes_on(spec, ragged):
    model = build(spec).train()
    model.layers[0].eval() if hasattr(model, "layers") else model.encoder.eval()
    before = [m.training for m in model.modules()]
    out = generate(model, ragged[0][None], max_new_tokens=4, beams=2)
    for _ in stream(model, ragged[0][None], max_new_tokens=3):
        assert [m.training for m in model.modules()] == before
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    assert [m.training for m in model.modules()] == before
    if not hasattr(model, "encode"):  # what generation returned can be trained on
        total, _ = model(out, targets=out).loss
        total.backward()


def test_model_generate_is_the_same(decoder, ragged):
    tokens, mask = padded(ragged, "left")
    assert torch.equal(decoder.generate(tokens, mask=mask, beams=2), generate(decoder, tokens, mask, beams=2))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"beams": 0}, "beams must be a whole number of at least 1, found 0"),
        ({"max_new_tokens": -1}, "max_new_tokens must be a whole number of at least 0"),
        ({"top_k": 0}, "top_k must be a whole number of at least 1"),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1, found 0.0"),
        ({"temperature": -1.0}, r"temperature must be 0 \(greedy\) or more, found -1.0"),
        ({"beams": 2, "top_k": 3}, "give one or the other"),
        ({"min_new_tokens": 5, "max_new_tokens": 4}, "min_new_tokens=5 is more than max_new_tokens=4"),
        ({"eos": VOCAB}, f"eos must be an id of the vocabulary, 0 to {VOCAB - 1}, found {VOCAB}"),
        ({"forbid": (1, 99)}, "forbid must be an id"),
        ({"forbid": 5}, "forbid must be ids, in a list or a tuple, found 5"),
        ({"eos": 1.5}, "eos must be ids, in a list or a tuple, found 1.5"),
        ({"eos": True}, "eos must be ids, in a list or a tuple, found True"),
        ({"eos": [True]}, "eos must be an id of the vocabulary, .*, found True"),
        ({"beams": None}, "beams must be a whole number of at least 1, found None"),
        ({"max_new_tokens": None}, "max_new_tokens must be a whole number of at least 0, found None"),
        ({"length_penalty": None, "beams": 2}, "length_penalty must be a number, found None"),
        ({"repetition_penalty": None}, "repetition_penalty must be a number, found None"),
        ({"temperature": 1.0, "seed": 1.5}, "seed must be a whole number or None, found 1.5"),
        ({"forbid": tuple(range(VOCAB))}, "forbid leaves none"),
        ({"forbid": tuple(range(1, VOCAB)), "eos": 0, "min_new_tokens": 1}, "forbid leaves none"),
    ],
)
def test_options_that_mean_nothing_are_refused(decoder, options, says):
    with pytest.raises(ConfigError, match=says):
        generate(decoder, torch.full((1, 2), 4), **options)


def test_stream_refuses_beams_before_it_starts(decoder):
    with pytest.raises(ConfigError, match="beam search knows its tokens only at the end"):
        stream(decoder, torch.full((1, 2), 4), beams=2)


def test_models_that_cannot_generate_say_why():
    tokens = torch.full((1, 2), 4)
    with pytest.raises(ConfigError, match="no readout cannot generate: it needs a language_model readout"):
        generate(jorip.Encoder(**SIZES).build(seed=0), tokens)
    with pytest.raises(ConfigError, match="Classifier"):
        generate(jorip.Encoder(**SIZES, readout=jorip.Classifier(n_classes=3)).build(seed=0), tokens)
    masked = jorip.Encoder(**SIZES, readout=jorip.LanguageModel()).build(seed=0)
    with pytest.raises(ConfigError, match="this encoder is not causal"):
        generate(masked, tokens)


def test_a_mixer_without_a_state_is_named(decoder, monkeypatch):
    monkeypatch.setattr(decoder.layers[1].mixer, "new_state", lambda *_: None)
    with pytest.raises(ConfigError, match=r"layers.1.mixer \(MultiHeadMixer\) keeps no decoding state"):
        generate(decoder, torch.full((1, 2), 4))


def test_ids_and_weights_that_are_no_good_say_so(decoder, pair):
    with pytest.raises(DataError, match="token ids must be 0 to 12, found 4 to 77"):
        generate(decoder, torch.tensor([[4, 77]]))
    with pytest.raises(DataError, match="tokens must be integer ids"):
        generate(decoder, torch.zeros(1, 2))
    with pytest.raises(DataError, match=r"tokens are a tensor \(batch, length\) of ids, or Packed, found list"):
        generate(decoder, [[4, 5]])
    with pytest.raises(ConfigError, match="give bos"):
        generate(build(encoder_decoder(vocab_size=1)), torch.tensor([[0]]))
    with torch.no_grad():
        decoder.norm.weight[0] = float("nan")
    with pytest.raises(NonFiniteError, match="scores for new token 1 are not finite"):
        generate(decoder, torch.tensor([[4]]))
