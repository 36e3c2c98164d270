import pytest
import torch

from jorip.core.layout import Packed
from jorip.inference.generate import generate
from jorip.inference.options import Options
from jorip.inference.sample import Sample, draw, names, uniform


def chi_square(counts, p):
    expected = p * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


def test_frequencies_match_the_softmax(decoder):
    n, prompt = 6000, torch.tensor([[5, 3]])
    p = decoder(prompt).logits[0, -1].div(1.5).softmax(0).detach()
    ids = generate(decoder, prompt.expand(n, 2), max_new_tokens=1, temperature=1.5, seed=3)[:, 0]
    assert chi_square(ids.bincount(minlength=len(p)), p) < 37.7  # 12 degrees of freedom: exceeded once in 6000


def test_frequencies_match_at_later_steps_too(decoder):
    out = generate(decoder, torch.tensor([[5]]).expand(8000, 1), max_new_tokens=2, temperature=1.0, seed=4)
    first = int(out[:, 0].mode().values)
    second = out[out[:, 0] == first, 1]
    p = decoder(torch.tensor([[5, first]])).logits[0, -1].softmax(0).detach()
    assert chi_square(second.bincount(minlength=len(p)), p) < 37.7


def test_top_k_and_top_p_draw_only_from_what_they_keep(decoder):
    prompt = torch.tensor([[5, 3]])
    p = decoder(prompt).logits[0, -1].softmax(0).detach()
    order = p.argsort(descending=True)
    many = prompt.expand(3000, 2)
    top = generate(decoder, many, max_new_tokens=1, top_k=3, seed=0)[:, 0]
    assert set(top.tolist()) == set(order[:3].tolist())
    assert chi_square(top.bincount(minlength=13)[order[:3]], p[order[:3]] / p[order[:3]].sum()) < 18.4
    kept = int((p[order].cumsum(0) < 0.6).sum()) + 1  # the smallest set that has 0.6
    nucleus = generate(decoder, many, max_new_tokens=1, top_p=0.6, seed=0)[:, 0]
    assert set(nucleus.tolist()) == set(order[:kept].tolist())
    both = generate(decoder, many, max_new_tokens=1, top_k=3, top_p=1e-9, seed=0)[:, 0]
    assert set(both.tolist()) == {int(order[0])}


@pytest.mark.parametrize("way", [{"temperature": 0}, {"temperature": 1e-300}, {"top_k": 1}, {"top_p": 1e-12}])
def test_limits_are_greedy(decoder, way):
    prompt = torch.tensor([[5, 3, 7]])
    assert torch.equal(generate(decoder, prompt, seed=1, **way), generate(decoder, prompt))


def test_seeds_reproduce_and_differ(decoder):
    prompt = torch.tensor([[5, 3, 7]])
    a, b, c = (generate(decoder, prompt, temperature=2.0, seed=s) for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)
    torch.manual_seed(7)
    a = generate(decoder, prompt, temperature=2.0)
    b = generate(decoder, prompt, temperature=2.0)
    torch.manual_seed(7)
    assert torch.equal(a, generate(decoder, prompt, temperature=2.0)) and not torch.equal(a, b)


def test_copies_of_a_prompt_give_different_samples(decoder):
    out = generate(decoder, torch.tensor([[5, 3]] * 20), temperature=2.0, seed=1)
    assert len({tuple(r) for r in out.tolist()}) > 15


def test_equal_scores_are_cut_at_the_lowest_ids():
    sample = Sample(Options(top_k=2, seed=0), Packed.cat([torch.tensor([i]) for i in range(500)]))
    ids = sample(torch.zeros(500, 9), torch.arange(500), 0)
    assert set(ids.tolist()) == {0, 1}


def test_the_uniform_numbers_are_uniform():
    uid = names(Packed.cat([torch.tensor([1, 2])] * 4000))
    u = torch.cat([uniform(uid, step, 11) for step in range(5)])
    assert u.min() >= 0 and u.max() < 1
    assert chi_square((u * 64).long().bincount(minlength=64), torch.full((64,), 1 / 64)) < 113
    pairs = (u.reshape(5, -1)[:-1] * 8).long() * 8 + (u.reshape(5, -1)[1:] * 8).long()  # consecutive steps
    assert chi_square(pairs.flatten().bincount(minlength=64), torch.full((64,), 1 / 64)) < 113
    low = (u * 2**40 % 1 * 64).long()  # bits that come from the second word
    assert chi_square(low.bincount(minlength=64), torch.full((64,), 1 / 64)) < 113


def test_draw_never_takes_what_is_impossible():
    p = torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0]], dtype=torch.float64)
    edges = torch.tensor([0.0, 0.5 - 2**-54, 0.5, 1 - 2**-53], dtype=torch.float64)
    assert draw(p.expand(4, 5), edges).tolist() == [1, 1, 3, 3]
