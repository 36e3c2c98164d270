"""Causal and prefix language models, next sentences, replaced tokens."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import jorip
from jorip.core.errors import DataError
from jorip.core.mask import Prefix
from jorip.objectives import (
    IGNORE,
    CausalLanguageModel,
    NextSentence,
    PrefixLanguageModel,
    ReplacedTokens,
    Vocabulary,
)
from tests.objectives.words import Words

TEXTS = st.lists(st.integers(0, 99), max_size=40)


@given(ids=TEXTS)
def test_causal(ids):
    inputs, targets = CausalLanguageModel()(ids)
    assert inputs.tolist() == ids[:-1] and targets.tolist() == ids[1:]


@given(ids=TEXTS, key=st.integers(0, 10**6))
def test_prefix(ids, key):
    inputs, targets, prefix = PrefixLanguageModel()(ids, key)
    assert len(inputs) == len(targets) == max(len(ids) - 1, 0)
    if len(ids) > 1:
        assert 1 <= prefix < len(ids)
        assert (targets[: prefix - 1] == IGNORE).all()  # the last token of the prefix says the first one after it
        assert inputs[:prefix].tolist() + targets[prefix - 1 :].tolist() == ids


def test_a_decoder_reads_a_prefix_in_both_directions():
    """What is later in the prefix changes its rows; what is after it changes nothing before; and nothing leaks from the
    token that a row should say."""
    model = jorip.Decoder(vocab_size=20, d_model=8, n_layers=2, n_heads=2).build(seed=0, dtype=torch.float64).eval()
    texts = [torch.arange(1, 10), torch.arange(3, 9)]
    made = [PrefixLanguageModel()(t, k) for t, k in zip(texts, (0, 4))]
    prefix = torch.tensor([m.prefix for m in made])
    model.mask_rule = Prefix(prefix)

    def logits(change=None):
        inputs = [torch.from_numpy(m.inputs.copy()) for m in made]
        if change is not None:
            inputs[0][change] = 0
        return model(jorip.Packed.cat(inputs)).logits.detach()

    plain, p, n = logits(), int(prefix[0]), len(made[0].inputs)
    assert 1 < p < n
    for place in range(n):
        changed = (logits(place) != plain).any(1)
        seen_by = [q for q in range(n) if place <= q or place < p]
        assert changed[:n].nonzero()[:, 0].tolist() == seen_by and not changed[n:].any()


def test_prefixes_end_anywhere():
    ends = [PrefixLanguageModel()(range(5), k).prefix for k in range(2000)]
    assert np.bincount(ends, minlength=5)[1:] == pytest.approx([500] * 4, abs=90)


DOCUMENTS = [[[1, 2], [3], [4, 5]], [[6], [7, 8]], [], [[9]]]


def test_next_sentences():
    """BERT, task 2: half of the pairs follow each other, half are random."""
    made = [NextSentence()(DOCUMENTS, 0, 0, (0, k)) for k in range(2000)]
    assert all(p.first.tolist() == [1, 2] for p in made)
    assert all((p.second.tolist() == [3]) == (p.label == 0) for p in made)
    assert sum(p.label for p in made) == pytest.approx(1000, abs=90)
    assert {tuple(p.second) for p in made if p.label} == {(6,), (7, 8), (9,)}  # of any other document
    assert all(NextSentence(random=0.0)(DOCUMENTS, 0, 2, k).label == 1 for k in range(5))  # nothing follows the last


def test_pairs_are_packed_as_in_bert():
    tokens, segments = NextSentence(random=0.0)(DOCUMENTS, 0, 0, 1).packed(cls=90, sep=91)
    assert tokens.tolist() == [90, 1, 2, 91, 3, 91] and segments.tolist() == [0, 0, 0, 0, 1, 1]


def test_next_sentences_need_two_documents():
    with pytest.raises(DataError, match="next sentences need texts of at least two documents, found one"):
        NextSentence(random=1.0)([[[1], [2]], []], 0, 0, 0)


def test_replaced_tokens_of_the_papers_figure():
    """ELECTRA, figure 2: the chef cooked the meal -> _ chef _ the meal -> the chef ate the meal: ate is replaced."""
    w = Words("the chef cooked meal ate")
    ids = np.array(w.ids("the chef cooked the meal"))
    noise = ReplacedTokens(rate=0.4)
    masked = next(m for k in range(100) if w.text((m := noise(ids, k, w.vocabulary)).inputs) == "_ chef _ the meal")
    assert (masked.original == ids).all()
    logits = torch.full((2, w.vocabulary.size), -50.0)
    logits[0, w.names.index("the")] = logits[1, w.names.index("ate")] = 50.0
    made = noise.replace(masked, logits, seed=0)
    assert w.text(made.inputs) == "the chef ate the meal" and made.labels.tolist() == [0, 0, 1, 0, 0]


def test_draws_follow_the_generator_and_the_key():
    vocabulary = Vocabulary(size=6, mask=5)
    noise = ReplacedTokens(rate=0.5)
    masked = noise([0] * 4000, 0, vocabulary)
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.0, 0.0]).log().expand(2000, 6)
    made = noise.replace(masked, logits, seed=3, example=7)
    counts = np.bincount(made.inputs[masked.targets >= 0], minlength=6)
    assert counts == pytest.approx([200, 400, 600, 800, 0, 0], abs=80) and counts[4:].sum() == 0
    assert made.labels.sum() == 2000 - counts[0] and (made.inputs[masked.targets < 0] == 0).all()
    assert (noise.replace(masked, logits, seed=3, example=7).inputs == made.inputs).all()
    assert (noise.replace(masked, logits, seed=3, example=8).inputs != made.inputs).any()
    assert (noise.replace(masked, logits, seed=4, example=7).inputs != made.inputs).any()
