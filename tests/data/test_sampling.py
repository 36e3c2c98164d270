"""Subword sampling: other cuts, the same text, a pure function of the seed."""

import pytest

from jorip.core.errors import ConfigError
from jorip.data.sampling import SubwordSampler, surround
from jorip.data.store import RaggedStore
from jorip.data.tokenizers import TokenizerSpec, train_tokenizer

TEXTS = ["이 영화 정말 재밌어요", "the actors were better than the film", "", "the film"] * 5


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TokenizerSpec(kind="bpe", vocab_size=330), TEXTS)


def test_cuts_differ_by_seed_and_always_spell_the_text(tokenizer):
    sampler = SubwordSampler(tokenizer, TEXTS, dropout=0.3)
    stores = [sampler.store(seed, [1], [2]) for seed in (0, 1)]
    for store in stores:
        assert [tokenizer.decode(store[i].tolist()) for i in range(len(store))] == TEXTS
        assert all(store[i][0] == 1 and store[i][-1] == 2 for i in range(len(store)))
    assert stores[0].fingerprint() != stores[1].fingerprint()
    again = SubwordSampler(tokenizer, TEXTS, dropout=0.3).store(0, [1], [2])
    assert again.fingerprint() == stores[0].fingerprint()
    assert int(stores[0].sizes.sum()) > sum(len(i) + 2 for i in tokenizer.encode_batch(TEXTS))


def test_without_dropout_it_is_the_tokenizer(tokenizer):
    store = SubwordSampler(tokenizer, TEXTS, dropout=0.0).store(3)
    assert [store[i].tolist() for i in range(len(store))] == tokenizer.encode_batch(TEXTS)


def test_refusals(tokenizer):
    words = train_tokenizer(TokenizerSpec(kind="words", min_frequency=1), TEXTS)
    with pytest.raises(ConfigError, match="needs a bpe tokenizer; found words"):
        SubwordSampler(words, TEXTS)
    with pytest.raises(ConfigError, match=r"dropout must be in \[0, 1\); found 1.5"):
        SubwordSampler(tokenizer, TEXTS, dropout=1.5)


def test_surround():
    store = surround(RaggedStore.of([[7], [], [8, 9]]), [1], [3, 2])
    assert [store[i].tolist() for i in range(3)] == [[1, 7, 3, 2], [1, 3, 2], [1, 8, 9, 3, 2]]
    plain = RaggedStore.of([[1]])
    assert surround(plain) is plain
