"""What may come next, and where rows end: each option against its definition, written out."""

import pytest
import torch

import jorip
from jorip.core.errors import ConfigError
from jorip.core.layout import Packed
from jorip.inference.generate import decode, generate, stream
from jorip.inference.options import Options
from jorip.inference.restrict import Restriction
from tests.inference.tiny_models import LAW, VOCAB, build, padded

PROMPTS = [torch.tensor(p) for p in ([5, 3, 5, 3], [7], [4, 4, 4])]
PROMPT = torch.tensor([[5, 3, 7], [4, 4, 4]])


def restriction(**options) -> Restriction:
    prompts = Packed.cat(PROMPTS)
    return Restriction(Options(**options), prompts, torch.tensor([9, 9, 2]))


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_no_ngram_comes_twice(n):
    g = torch.Generator().manual_seed(n)
    rule, rows = restriction(no_repeat_ngram=n), [p.tolist() for p in PROMPTS]
    for _ in range(12):
        banned = [
            {row[i + n - 1] for i in range(len(row) - n + 1) if row[i : i + n - 1] == row[len(row) - n + 1 :]}
            for row in rows
        ]
        scores = rule(torch.randn(3, VOCAB, generator=g))
        assert [set(s.isinf().nonzero()[:, 0].tolist()) for s in scores] == banned
        ids = torch.randint(3, 6, (3,), generator=g)
        rule.add(ids)
        rows = [[*row, i] for row, i in zip(rows, ids.tolist())]
        order = torch.randperm(3, generator=g)
        rule.select(order)
        rows = [rows[i] for i in order.tolist()]


@pytest.mark.parametrize("way", [{}, {"temperature": 1.0, "seed": 0}, {"beams": 2}, {"beams": 9}])
def test_when_no_token_may_come_any_more(way):
    """Of four ids two are in the prompt: the third new token cannot be. Ends that were reached before count."""
    model = build(jorip.Decoder(vocab_size=4, d_model=8, n_layers=1, n_heads=2, init=LAW), 0).eval()
    prompt = torch.tensor([[3, 0]])
    with pytest.raises(ConfigError, match="no_repeat_ngram=1 leaves no token that may come next in some row: raise it"):
        decode(model, prompt, no_repeat_ngram=1, max_new_tokens=6, **way)
    assert sorted(generate(model, prompt, no_repeat_ngram=1, max_new_tokens=2, **way)[0].tolist()) == [1, 2]
    if "beams" in way:
        out = decode(model, prompt, no_repeat_ngram=1, max_new_tokens=6, eos=2, **way)
        assert out.ended == ["eos"] and torch.isfinite(out.scores).all()


def test_repeated_tokens_are_lowered_on_both_sides_of_zero():
    scores = torch.linspace(-3, 3, VOCAB).expand(3, VOCAB).clone()
    out = restriction(repetition_penalty=1.5)(scores)
    for row, prompt in zip(out, PROMPTS):
        for i in range(VOCAB):
            s = scores[0, i]
            assert row[i] == ((s * 1.5 if s < 0 else s / 1.5) if i in prompt else s)


def test_forced_tokens_cost_nothing():
    rule = restriction(forced_first=3, forced_last=6)
    assert rule(torch.randn(3, VOCAB))[:, 3].tolist() == [0.0, 0.0, 0.0]
    rule.add(torch.tensor([3, 3, 3]))
    second = rule(torch.randn(3, VOCAB))  # the third row's last
    assert torch.isfinite(second).sum(1).tolist() == [VOCAB, VOCAB, 1] and second[2, 6] == 0


WAYS = {"greedy": {}, "beams": {"beams": 3}, "sampled": {"temperature": 1.5, "seed": 1}}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_first_and_last_as_asked(decoder, pair, way):
    for model in (decoder, pair):
        out = decode(model, PROMPT, max_new_tokens=5, forced_first=9, forced_last=2, forbid=(2,), **way)
        assert (out.tokens[:, 0] == 9).all() and (out.tokens[:, 4] == 2).all()
    long = torch.full((1, 37), 4)
    assert decode(decoder, long, max_new_tokens=50, forced_last=2, **way).tokens[0, 2] == 2  # where max_len cuts


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_any_of_several_ids_ends_a_row_and_pad_follows(pair, ragged, way):
    tokens, mask = padded(ragged, "left")
    ends, pad = tuple(range(0, VOCAB, 2)), 11
    common = {"max_new_tokens": 10, "min_new_tokens": 2, "no_repeat_ngram": 1} | way  # or it says one thing for ever
    out = decode(pair, tokens, mask, eos=ends, pad=pad, **common)
    assert out.ended == ["eos"] * 4
    for row, n in zip(out.tokens.tolist(), out.lengths.tolist()):
        assert n >= 2 and row[n - 1] in ends and not set(row[: n - 1]) & set(ends) and set(row[n:]) <= {pad}
    first = decode(pair, tokens, mask, eos=[12, *ends], **common)
    assert torch.equal(
        first.tokens, torch.where(torch.arange(out.tokens.shape[1]) < out.lengths[:, None], out.tokens, 12)
    )


def test_stream_stops_at_any_of_them(decoder):
    free = generate(decoder, PROMPT[:1], max_new_tokens=6)[0]
    columns = list(stream(decoder, PROMPT[:1], max_new_tokens=6, eos=[int(free[2]), int(free[4])]))
    assert len(columns) == min(free.tolist().index(i) for i in free[[2, 4]].tolist()) + 1


def test_probabilities_may_stay_the_models_own(decoder):
    """Forbidding half of the tokens makes the rest twice as likely, unless they stay as they are."""
    common = {"beams": 3, "max_new_tokens": 4, "forbid": (0, 2, 4, 6, 8), "length_penalty": 0.0}
    out = decode(decoder, PROMPT, renormalise=False, **common)
    whole = torch.cat([PROMPT, out.tokens], 1)
    logp = decoder.eval()(whole[:, :-1]).logits.log_softmax(-1)[:, 2:]
    assert torch.allclose(out.scores, logp.gather(2, out.tokens[..., None]).sum((1, 2)))
    assert (decode(decoder, PROMPT, **common).scores > out.scores).all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"length_norm": "lenght"}, "there is no length_norm 'lenght'; did you mean 'length'"),
        ({"early_stopping": "sometimes"}, "early_stopping must be True, False or 'never', found 'sometimes'"),
        ({"repetition_penalty": 0.0}, r"repetition_penalty must be above 0 \(1 changes nothing\), found 0.0"),
        ({"no_repeat_ngram": -1}, "no_repeat_ngram must be a whole number of at least 0, found -1"),
        ({"forced_first": VOCAB}, f"forced_first must be an id of the vocabulary, 0 to {VOCAB - 1}, found {VOCAB}"),
        ({"eos": [2, "</s>"]}, "eos must be an id of the vocabulary, 0 to 12, found '</s>'"),
        ({"pad": -1}, "pad must be an id"),
        ({"max_tokens": 5}, "there is no option 'max_tokens'; did you mean 'max_new_tokens'"),
    ],
)
def test_options_that_mean_nothing_are_refused(decoder, options, says):
    with pytest.raises(ConfigError, match=says):
        generate(decoder, PROMPT, **options)
