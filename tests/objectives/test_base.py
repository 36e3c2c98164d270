"""Keys, vocabularies and what every objective promises: the same key gives the same noise, anywhere."""

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import torch

from jorip.core.errors import DataError, SpecError
from jorip.objectives import (
    Denoising,
    DocumentRotation,
    Masking,
    NextSentence,
    Objective,
    PrefixLanguageModel,
    ReplacedTokens,
    SentencePermutation,
    SpanCorruption,
    TextInfilling,
    TokenDeletion,
    TokenMasking,
    Vocabulary,
)
from jorip.objectives.base import generator, share_of

VOCABULARY = Vocabulary(size=300, mask=5, special=frozenset(range(6)), stops=frozenset({7, 8}))
IDS = np.random.default_rng(0).integers(6, 190, 60)
NOISES = [Masking(), ReplacedTokens(), SpanCorruption(), Denoising(), TokenMasking(), TokenDeletion(), TextInfilling()]
NOISES += [SentencePermutation(), DocumentRotation(), Denoising(noises=tuple(NOISES[4:]))]

GOLDEN = {
    "generator": [735, 795, 106, 590, 313],
    "masking": [3, 6, 7, 9, 14, 19, 25, 33, 44],
    "spans": [162, 123, 100, 55, 62, 13, 19, 9, 38, 155, 125, 173, 299, 140, 122, 106, 109, 178],
}


def flat(made) -> list[list[int]]:
    return [part.tolist() for part in made] if isinstance(made, tuple) else [made.tolist()]


def call(noise, ids, key):
    return flat(noise(ids, key, VOCABULARY))


@pytest.mark.parametrize("noise", NOISES, ids=lambda n: n.kind)
def test_a_pure_function_of_ids_and_key(noise):
    ids = IDS.copy()
    ids[::9] = 7  # some sentences
    before, torch_state = ids.copy(), torch.get_rng_state()
    made = call(noise, ids, (3, 1, 4))
    assert (ids == before).all()
    np.random.seed(1)
    assert call(noise, ids.tolist(), (3, 1, 4)) == made == call(noise, torch.from_numpy(ids), [3, 1, 4])
    assert call(pickle.loads(pickle.dumps(noise)), ids, (3, 1, 4)) == made
    assert type(noise).parse(noise.to_dict()) == noise
    assert any(call(noise, ids, key) != made for key in ((3, 1, 5), (3, 2, 4), (4, 1, 4)))
    assert torch.equal(torch.get_rng_state(), torch_state)


@pytest.mark.parametrize("noise", NOISES, ids=lambda n: n.kind)
def test_empty_and_single_texts(noise):
    for ids in ([], [9]):
        assert all(len(part) <= 3 for part in call(noise, ids, 0))
    with pytest.raises(DataError, match="token ids must be 0 to 299, found 9 to 300: is this vocabulary the tokenizer"):
        noise([9, 300], 0, VOCABULARY)
    with pytest.raises(DataError, match=r"token ids must be one sequence of integers, found float64 of shape \(1, 2\)"):
        noise([[0.5, 1.0]], 0, VOCABULARY)


def test_other_processes_make_the_same_noise():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for noise in (Masking(), Denoising(), SpanCorruption()):
            assert pool.submit(call, noise, IDS, (1, 2, 3)).result() == call(noise, IDS, (1, 2, 3))


def test_noise_stays_what_it_is():
    """A resumed run must meet the noise that it was begun with, so a change here is a break."""
    assert generator((1, 2, 3)).integers(0, 1000, 5).tolist() == GOLDEN["generator"]
    assert np.flatnonzero(Masking()(IDS, (1, 2, 3), VOCABULARY).targets >= 0).tolist() == GOLDEN["masking"]
    assert SpanCorruption()(IDS[:20], (1, 2, 3), VOCABULARY).source.tolist() == GOLDEN["spans"]


def test_keys_of_other_lengths_are_other_keys():
    draws = {tuple(generator(*k).integers(0, 10**9, 2)) for k in [(0,), ((0, 0),), ((0,), 1), (1,), ((1, 0),), ((), 0)]}
    assert len(draws) == 5  # 0, (0,) and () with 0 are one key


def test_variants_say_how_often_noise_repeats():
    keys = [[Masking(variants=v).key(7, epoch, 42) for epoch in range(6)] for v in (None, 1, 2)]
    assert keys[0] == [(7, e, 42) for e in range(6)]
    assert keys[1] == [(7, 0, 42)] * 6
    assert keys[2] == [(7, 0, 42), (7, 1, 42)] * 3


def test_counts():
    assert [share_of(n, 0.15) for n in (0, 1, 3, 10, 100)] == [0, 1, 1, 2, 15]
    assert share_of(5, 0.0) == 0 and share_of(5, 1.0) == 5


def test_all_are_found_by_name():
    names = {"masking", "next_sentence", "replaced_tokens", "causal_language_model", "prefix_language_model"}
    assert set(Objective.members()) == names | {"denoising", "span_corruption"}
    assert Objective.parse({"span_corruption": {"rate": 0.5}}) == SpanCorruption(rate=0.5)
    assert Objective.parse("prefix_language_model") == PrefixLanguageModel()
    assert Denoising(noises=["token_masking", {"text_infilling": {"rate": 0.2}}]) == Denoising(
        noises=(TokenMasking(), TextInfilling(rate=0.2))
    )


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        (Masking, {"rat": 1}, "masking has no field 'rat'; did you mean 'rate'"),
        (Masking, {"mask": 0.8, "random": 0.3}, r"mask and random are shares of one whole, found 0\.8 \+ 0\.3"),
        (Masking, {"rate": 1.5}, r"masking.rate: input should be less than or equal to 1, found 1\.5"),
        (Masking, {"variants": 0}, "masking.variants"),
        (SpanCorruption, {"mean_span": 0.5}, "span_corruption.mean_span"),
        (Denoising, {"noises": ["token_maskin"]}, "there is no noise called 'token_maskin'; did you mean"),
        (NextSentence, {"random": -1}, "next_sentence.random"),
    ],
)
def test_wrong_settings(kind, fields, said):
    with pytest.raises(SpecError, match=said):
        kind(**fields)
