import itertools

import pytest
import torch

import jorip
from jorip.inference.beam import Finished
from jorip.inference.generate import decode, generate
from jorip.inference.largest import largest
from tests.inference.tiny_models import LAW, build, encoder_decoder

SMALL = {"vocab_size": 4, "d_model": 8, "n_layers": 1, "n_heads": 2}


def every_output(vocab, length, eos):
    """All that generation may return: ended by eos, or `length` long."""
    for n in range(1, length + 1):
        for s in itertools.product(range(vocab), repeat=n):
            if eos not in s[:-1] and (s[-1] == eos or n == length):
                yield s


@torch.no_grad()
def best_of_all(model, prompt, length, eos, alpha, source=None):
    scores = {}
    for n, group in itertools.groupby(every_output(4, length, eos), len):
        ends = torch.tensor(list(group))
        tokens = torch.cat([torch.tensor([prompt]).expand(len(ends), -1), ends], 1)[:, :-1]
        logits = model(tokens).logits if source is None else model(source.expand(len(ends), -1), tokens).logits
        logp = logits[:, len(prompt) - 1 :].log_softmax(-1).gather(2, ends[..., None]).sum((1, 2))
        scores |= zip(map(tuple, ends.tolist()), (logp / ((5 + n) / 6) ** alpha).tolist())
    return max(scores.items(), key=lambda x: x[1])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("eos", [2, None])
def test_enough_beams_find_the_best_of_all(seed, alpha, eos):
    model = build(jorip.Decoder(**SMALL, init=LAW), seed).eval()
    expected, score = best_of_all(model, [3, 0], 4, eos, alpha)
    out = decode(model, torch.tensor([[3, 0]]), beams=4**4, max_new_tokens=4, eos=eos, length_penalty=alpha)
    assert tuple(out.tokens[0, : out.lengths[0]].tolist()) == expected
    assert out.scores.item() == pytest.approx(score, rel=1e-9)


def test_enough_beams_find_the_best_of_all_beside_an_encoder():
    model = build(encoder_decoder(**SMALL), 3).eval()
    sources = torch.tensor([[3, 0, 1], [1, 1, 1]])
    out = decode(model, sources, beams=4**3, max_new_tokens=3, eos=2, bos=1)
    for i, source in enumerate(sources):
        expected, score = best_of_all(model, [1], 3, 2, 1.0, source)
        assert tuple(out.tokens[i, : out.lengths[i]].tolist()) == expected
        assert out.scores[i].item() == pytest.approx(score, rel=1e-9)


def test_one_beam_is_greedy_and_more_are_never_worse_here(decoder, pair):
    prompt = torch.tensor([[5, 3, 7], [4, 4, 4]])
    for model in (decoder, pair):
        assert torch.equal(generate(model, prompt, beams=1), generate(model, prompt))
        greedy = decode(model, prompt, max_new_tokens=8)
        beams = decode(model, prompt, max_new_tokens=8, beams=8, length_penalty=0.0)
        assert (beams.scores >= greedy.scores - 1e-9).all()


def test_longer_is_preferred_with_a_larger_penalty():
    model = build(jorip.Decoder(**SMALL, init=LAW), 1)
    lengths = [
        int(decode(model, torch.tensor([[3, 0]]), beams=64, max_new_tokens=6, eos=2, length_penalty=a).lengths)
        for a in (-3.0, 0.0, 8.0)
    ]
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]


def test_a_model_without_preferences_gives_the_lowest_ids():
    model = build(jorip.Decoder(**SMALL, readout=jorip.LanguageModel(tied=False)))
    with torch.no_grad():
        model.readout.out.weight.zero_()
    out = generate(model, torch.tensor([[1], [3]]), beams=3, max_new_tokens=3)
    assert out.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_cross_attention_reads_each_source_once(pair):
    """The beams of a source are folded into its queries: nothing is copied, the numbers stay."""
    source, target = torch.tensor([[3, 4, 5], [6, 7, 0]]), torch.tensor([[1]] * 4)
    mask = torch.tensor([[True] * 3, [True, True, False]])
    memory = pair.eval().encode(source, mask)
    with torch.no_grad():
        state = pair.new_state(2)
        pair(None, target[:2], memory=memory, state=state)
        state.select(torch.tensor([0, 0, 1, 1]))
        folded = pair(None, torch.tensor([[5], [6], [7], [8]]), memory=memory, state=state)
        again = pair.new_state(2)
        pair(None, target[:2], memory=memory, state=again)
        again.select(torch.tensor([0, 1, 1, 0]))  # irregular: copied
        plain = pair(None, torch.tensor([[5], [7], [8], [6]]), memory=memory, state=again)
    assert torch.allclose(folded.logits[[0, 2, 3, 1]], plain.logits, rtol=0, atol=1e-12)
    cross = state.parts["decoder.layers.0.cross"]
    assert cross.per_source == 2 and len(cross.streams["k"]) == 2
    assert again.parts["decoder.layers.0.cross"].per_source is None
    state.select(torch.tensor([2, 3]))  # the first source is read no more, and let go
    assert len(cross.streams["k"]) == 1 and cross.source.tolist() == [0, 0] and cross.streams["k"].shape[2] == 2


def test_finished_hypotheses_keep_the_best_and_the_earlier_of_equals():
    done = Finished(2, 0.0)
    for total, name in ((-3.0, 1), (-1.0, 2), (-1.0, 3), (-9.0, 4), (float("-inf"), 5)):
        done.add(total, torch.tensor([name]), True)
    assert [int(t) for _, t, _ in done.best] == [2, 3]
    assert done.beats(-1.0, 1) and not done.beats(-0.5, 1)


def test_largest_breaks_ties_by_place():
    g = torch.Generator().manual_seed(0)
    for k in (1, 2, 5, 9, 20):
        scores = torch.randint(0, 4, (200, 9), generator=g).float()
        scores[:50, 3:] = float("-inf")
        value, index = largest(scores, k)
        exact = scores.sort(dim=1, descending=True, stable=True)
        assert torch.equal(value, exact.values[:, :k])
        real = value > float("-inf")
        assert torch.equal(index[real], exact.indices[:, :k][real])
        assert all(len(set(r)) == len(r) for r in index.tolist())


def test_when_a_sequence_is_done():
    for early, alpha, worth in ((False, 1.0, False), (True, 1.0, False), ("never", 1.0, True), ("never", 0.0, False)):
        done = Finished(2, alpha, "length", early)
        done.add(-2.0, torch.tensor([1, 2]), True)
        assert not done.beats(-9.0, 3, 40)  # one is still to be found
        done.add(-2.0, torch.tensor([1, 3]), True)
        assert done.beats(-9.0, 3, 40) == (not worth)
    assert Finished(2, 1.0, "length").best == [] and done.score(-6.0, 3) == -6.0
    assert Finished(2, 2.0, "length").score(-6.0, 3) == -6 / 9 and Finished(2, 1.0).score(-6.0, 1) == -6.0


@pytest.mark.parametrize("early", [True, False, "never"])
def test_stopping_earlier_never_finds_better(decoder, early):
    prompt = torch.tensor([[5, 3, 7], [4, 4, 4], [8, 9, 3]])
    options = {"beams": 3, "max_new_tokens": 10, "eos": 2, "length_norm": "length", "length_penalty": 1.0}
    found = decode(decoder, prompt, early_stopping=early, **options)
    assert (found.scores <= decode(decoder, prompt, early_stopping="never", **options).scores + 1e-12).all()
