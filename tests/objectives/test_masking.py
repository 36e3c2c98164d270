"""BERT's masked language model."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jorip.core.errors import DataError
from jorip.objectives import IGNORE, Masking, Vocabulary
from tests.objectives.words import Words

VOCABULARY = Vocabulary(size=100, mask=5, special=frozenset(range(6)))
TEXTS = st.lists(st.integers(0, 99), max_size=60)


@given(ids=TEXTS, rate=st.floats(0, 1), key=st.integers(0, 10**9))
def test_counts_are_exact_and_nothing_is_lost(ids, rate, key):
    made = Masking(rate=rate)(ids, key, VOCABULARY)
    ids = np.asarray(ids, np.int64)
    ordinary = int((ids > 5).sum())
    chosen = made.targets != IGNORE
    assert chosen.sum() == (min(ordinary, max(1, round(ordinary * rate))) if rate else 0)
    assert (made.original == ids).all()
    assert (ids[chosen] > 5).all() and (made.inputs[~chosen] == ids[~chosen]).all()
    assert ((made.inputs[chosen] == 5) | (made.inputs[chosen] > 5)).all()


def test_fifteen_percent_of_which_80_10_10():
    """BERT, section 3.1: 15 % chosen; 80 % the mask, 10 % a random token, 10 % unchanged."""
    ids = np.random.default_rng(1).integers(6, 100, 400)
    fates = np.zeros(3)
    for example in range(200):
        made = Masking()(ids, (0, example), VOCABULARY)
        chosen = made.targets != IGNORE
        assert chosen.sum() == 60
        masked, same = made.inputs[chosen] == 5, made.inputs[chosen] == ids[chosen]
        fates += [masked.sum(), (~masked & ~same).sum(), same.sum()]
    shares = fates / fates.sum()
    # 12,000 tokens: four standard deviations are 0.015; a random token is the original one in 94
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.015)


def test_every_place_is_chosen_alike():
    ids = np.arange(6, 26)
    chosen = sum((Masking(rate=0.2)(ids, k, VOCABULARY).targets != IGNORE).astype(int) for k in range(4000))
    assert chosen.sum() == 16000 and chosen == pytest.approx(np.full(20, 800), abs=100)


def test_the_papers_example():
    """BERT, appendix A.1: my dog is hairy -> my dog is [MASK], apple or hairy, hairy being the target."""
    w = Words("my dog is hairy apple")
    ids = w.ids("my dog is hairy")
    seen = {}
    for key in range(400):
        made = Masking(rate=0.25)(ids, key, w.vocabulary)
        if made.targets[3] != IGNORE:
            assert w.text(made.targets[3:]) == "hairy" and (made.targets[:3] == IGNORE).all()
            seen.setdefault(w.text(made.inputs), 0)
    assert {"my dog is _", "my dog is apple", "my dog is hairy"} <= set(seen)


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=20), rate=st.floats(0.05, 0.9), key=st.integers(0, 10**6))
def test_whole_words(sizes, rate, key):
    words = np.repeat(np.arange(len(sizes)), sizes)
    ids = 6 + np.arange(len(words)) % 90
    made = Masking(rate=rate, whole_words=True)(ids, key, VOCABULARY, words)
    chosen = made.targets != IGNORE
    whole = [chosen[words == w] for w in range(len(sizes))]
    assert all(c.all() or not c.any() for c in whole)
    taken, n = [w for w, c in enumerate(whole) if c.any()], max(1, round(len(words) * rate))
    assert taken and (made.original == ids).all()
    if chosen.sum() > n:  # only when no word fits at all
        assert len(taken) == 1
    else:  # what was left out did not fit any more
        room = n - chosen.sum()
        assert not room or all(sizes[w] > room for w in range(len(sizes)) if w not in taken)


def test_whole_words_leave_special_tokens():
    made = Masking(rate=0.5, whole_words=True)([3, 10, 11, 12, 4], 0, VOCABULARY, [-1, 0, 0, 1, -1])
    assert made.targets[0] == made.targets[4] == IGNORE


def test_whole_words_need_words():
    with pytest.raises(DataError, match=r"whole words need the word of every token \(words\), found none"):
        Masking(whole_words=True)([6, 7], 0, VOCABULARY)
    with pytest.raises(DataError, match="found 1 for 2 tokens"):
        Masking(whole_words=True)([6, 7], 0, VOCABULARY, words=[0])
