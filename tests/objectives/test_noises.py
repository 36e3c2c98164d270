"""BART's five noises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jorip.objectives import (
    Denoising,
    DocumentRotation,
    SentencePermutation,
    TextInfilling,
    TokenDeletion,
    TokenMasking,
    Vocabulary,
)
from jorip.objectives.noises import infill
from tests.objectives.words import Words

TEXT = "A B C . D E ."
W = Words(TEXT)
VOCABULARY = Vocabulary(size=100, mask=0, stops=frozenset({1, 2}))
TEXTS = st.lists(st.integers(1, 99), max_size=60)
KEYS, RATES = st.integers(0, 10**9), st.floats(0, 1)


def made(noise) -> set[str]:
    """All that 500 keys make of the paper's text."""
    return {W.text(noise(W.ids(TEXT), key, W.vocabulary)) for key in range(500)}


def test_the_papers_figure():
    """BART, figure 2: what each noise may make of A B C . D E ."""
    assert "A _ C . _ E ." in made(TokenMasking(rate=2 / 7))
    assert "A . C . E ." not in made(TokenDeletion(rate=2 / 7)) and "A C . E ." in made(TokenDeletion(rate=2 / 7))
    assert "A _ . D _ E ." in made(TextInfilling(rate=2 / 7, mean_span=1))
    assert made(SentencePermutation()) == {TEXT, "D E . A B C ."}
    assert "C . D E . A B" in made(DocumentRotation()) and len(made(DocumentRotation())) == 7


def test_infilling_of_given_spans():
    """Figure 2 again: B C is one mask, and a span of length 0 puts one between D and E."""
    noisy = infill(np.array(W.ids(TEXT)), np.array([1, 5]), np.array([2, 0]), 0)
    assert W.text(noisy) == "A _ . D _ E ."
    assert infill(np.array([1, 2]), np.array([0, 0, 2, 2]), np.array([0, 2, 0, 0]), 9).tolist() == [9, 9, 9, 9]


@given(ids=TEXTS, rate=RATES, key=KEYS)
def test_masking_and_deletion_are_exact(ids, rate, key):
    n = (min(len(ids), max(1, round(len(ids) * rate)))) if rate and ids else 0
    masked = TokenMasking(rate=rate)(ids, key, VOCABULARY)
    assert len(masked) == len(ids) and (masked == 0).sum() == n
    assert all(a in (0, b) for a, b in zip(masked, ids))
    left = TokenDeletion(rate=rate)(ids, key, VOCABULARY).tolist()
    assert len(left) == len(ids) - n and is_subsequence(left, ids)


def is_subsequence(part, whole) -> bool:
    rest = iter(whole)
    return all(token in rest for token in part)


@given(ids=TEXTS, rate=RATES, mean=st.floats(0.1, 9), key=KEYS)
def test_infilling_is_exact(ids, rate, mean, key):
    noise = TextInfilling(rate=rate, mean_span=mean)
    n = (min(len(ids), max(1, round(len(ids) * rate)))) if rate and ids else 0
    noisy = noise(ids, key, VOCABULARY).tolist()
    kept = [t for t in noisy if t]
    assert len(kept) == len(ids) - n and is_subsequence(kept, ids)
    assert len(noisy) <= len(ids)  # or a model of that many positions could not read it
    lengths = noise.spans(n, np.random.default_rng(key))
    assert lengths.sum() == n and (lengths >= 0).all() and (not n or lengths[-1] > 0)


def test_span_lengths_are_poissons():
    """Mean 3, and e^-3 = 5.0 % of length 0, which only put a mask in."""
    lengths = np.concatenate([TextInfilling().spans(300, np.random.default_rng(k))[:-1] for k in range(200)])
    assert lengths.mean() == pytest.approx(3, abs=0.08)
    assert (lengths == 0).mean() == pytest.approx(np.exp(-3), abs=0.008)


def test_spans_lie_anywhere():
    """One token hidden of 3: each place equally often, and added masks at each of the gaps."""
    counts = np.zeros(3)
    for key in range(3000):
        kept = [t for t in TextInfilling(rate=0.1)([1, 2, 3], key, VOCABULARY) if t]
        counts[6 - sum(kept) - 1] += 1
    assert counts == pytest.approx([1000] * 3, abs=120)


@given(ids=TEXTS, key=KEYS)
def test_permutation_and_rotation_lose_nothing(ids, key):
    for noise in (SentencePermutation(), DocumentRotation()):
        assert sorted(noise(ids, key, VOCABULARY).tolist()) == sorted(ids)
    turned = DocumentRotation()(ids, key, VOCABULARY).tolist()
    assert not ids or turned in [ids[i:] + ids[:i] for i in range(len(ids))]


@given(ids=TEXTS, key=KEYS)
def test_sentences_stay_whole(ids, key):
    sentences, run = [], []
    for token in ids:
        run.append(token)
        if token in VOCABULARY.stops:
            sentences, run = [*sentences, run], []
    sentences += [run] if run else []
    rest = SentencePermutation()(ids, key, VOCABULARY).tolist()
    while sentences:
        fits = [s for s in sentences if rest[: len(s)] == s]
        assert fits
        longest = max(fits, key=len)
        sentences.remove(longest)
        rest = rest[len(longest) :]
    assert rest == []


def test_noises_compose():
    """Each draws for itself: two of a kind are not one."""
    ids = np.arange(1, 41)
    twice = Denoising(noises=(TokenMasking(rate=0.5), TokenMasking(rate=0.5)))
    counts = {int((twice(ids, k, VOCABULARY).source == 0).sum()) for k in range(20)}
    assert min(counts) > 20 and len(counts) > 1
    both = Denoising(noises=(SentencePermutation(), TextInfilling(rate=0.3)))(ids, 0, VOCABULARY)
    assert (both.source != 0).sum() == 28 and (both.target == ids).all()
    assert (Denoising(noises=())(ids, 0, VOCABULARY).source == ids).all()
