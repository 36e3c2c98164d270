"""T5's span corruption."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jorip.core.errors import DataError
from jorip.objectives import SpanCorruption, Vocabulary, blank, restore
from jorip.objectives.span_corruption import segments
from tests.objectives.words import Words

VOCABULARY = Vocabulary(size=1000)
TEXTS = st.lists(st.integers(0, 799), max_size=200)


def test_the_papers_figure():
    """T5, figure 2."""
    text = "Thank you for inviting me to your party last week ."
    w = Words(text, "<X>", "<Y>", "<Z>")
    hidden = np.isin(text.split(), ["for", "inviting", "last"])
    source, target = blank(w.ids(text), hidden, w.vocabulary.sentinels)
    assert w.text(source) == "Thank you <X> me to your party <Y> week ."
    assert w.text(target) == "<X> for inviting <Y> last <Z>"
    assert w.text(restore(source, target, w.vocabulary.sentinels)) == text


def test_sentinels_descend_from_the_end_unless_they_are_given():
    noise = SpanCorruption(rate=0.6, mean_span=1)
    source, target = noise([1, 2, 3, 4, 5], 0, VOCABULARY)  # three of five: only one way to lay them
    assert source.tolist() == [999, 2, 998, 4, 997] and target.tolist() == [999, 1, 998, 3, 997, 5, 996]
    given_ = Vocabulary(size=1000, sentinels=(7, 9, 8, 6))
    assert noise([1, 2, 3, 4, 5], 0, given_).source.tolist() == [7, 2, 9, 4, 8]


@given(ids=TEXTS, rate=st.floats(0, 0.99), mean=st.floats(1, 10), key=st.integers(0, 10**9))
def test_counts_are_exact_and_nothing_is_lost(ids, rate, mean, key):
    noise = SpanCorruption(rate=rate, mean_span=mean, sentinels=200)
    marks = noise.ids(VOCABULARY)
    source, target = noise(ids, key, VOCABULARY)
    n = len(ids)
    hidden = min(max(round(n * rate), 1), n - 1) if n > 1 and rate else 0
    spans = min(max(round(hidden / mean), 1), n - hidden + 1) if hidden else 0
    assert noise.counts(n) == (hidden, spans)
    assert (np.isin(source, marks).sum(), np.isin(target, marks).sum()) == (spans, spans + 1)
    assert len(source) == n - hidden + spans and len(target) == hidden + spans + 1
    assert noise.size(n) == len(source) + len(target)
    assert [s for s in source if s in marks] == list(marks[:spans]) and target[-1] == marks[spans]
    assert restore(source, target, marks).tolist() == ids


def test_fifteen_percent_in_spans_of_three():
    """Section 3.1.4 and 3.3.4: of 512 tokens 77 are hidden, in 26 spans."""
    assert SpanCorruption().counts(512) == (77, 26)
    assert [SpanCorruption().counts(n) for n in (0, 1, 2, 7, 20)] == [(0, 0), (0, 0), (1, 1), (1, 1), (3, 1)]


def test_every_way_to_cut_is_equally_likely():
    rng = np.random.default_rng(0)
    seen = Counter(tuple(segments(5, 3, rng).tolist()) for _ in range(6000))
    assert set(seen) == {(a, b, 5 - a - b) for a in (1, 2, 3) for b in (1, 2, 3) if a + b < 5}
    assert min(seen.values()) > 850 and max(seen.values()) < 1150


def test_a_short_texts_span_lies_anywhere():
    places = Counter(tuple(np.flatnonzero(SpanCorruption().hidden(10, np.random.default_rng(k)))) for k in range(3600))
    assert set(places) == {(i, i + 1) for i in range(9)}
    assert min(places.values()) > 320 and max(places.values()) < 480


def test_too_few_sentinels():
    with pytest.raises(DataError, match="a text of 50 tokens with 15 blanks needs 16 sentinels, found 4: take more"):
        SpanCorruption(rate=0.3, mean_span=1, sentinels=4)(range(50), 0, VOCABULARY)


def test_what_a_model_leaves_out_stays_empty():
    marks = (99, 98, 97)
    assert restore([1, 99, 2, 98, 3], [98, 7, 97], marks).tolist() == [1, 2, 7, 3]
    assert restore([1, 99, 2], [5, 99, 6, 99, 7, 98], marks).tolist() == [1, 6, 2]
