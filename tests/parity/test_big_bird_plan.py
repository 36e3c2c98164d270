"""The random blocks that transformers draws in training, block by block."""

import numpy as np
import pytest
import transformers as hf
from transformers.models.big_bird.modeling_big_bird import BigBirdBlockSparseAttention

from jorip.parts.attention.sparse.hugging_face_plan import drawn, shortest


def theirs(n: int, heads: int, block: int, random: int, seed: int, max_len: int) -> np.ndarray:
    """(heads, n - 2, random)."""
    sizes = {"hidden_size": 4 * heads, "num_attention_heads": heads, "max_position_embeddings": max_len}
    config = hf.BigBirdConfig(**sizes, block_size=block, num_random_blocks=random)
    module = BigBirdBlockSparseAttention(config, seed=seed).train()
    before = np.random.get_state()
    np.random.seed(seed)
    length = n * block
    if length in (1024, 3072, 4096):
        found = [
            module._bigbird_block_rand_mask(max_len, max_len, block, block, random, last_idx=1024)[: n - 2]
            for _ in range(heads)
        ]
    else:
        plan = module._get_rand_attn_plan(length, block, random)
        found = module._bigbird_block_rand_mask_with_head(length, length, block, block, heads, *plan)
    np.random.set_state(before)
    return np.stack(found)


@pytest.mark.parametrize("random", [1, 2, 3])
@pytest.mark.parametrize("seed, heads", [(0, 1), (1, 3), (11, 2)])
def test_ordinary_lengths(random, seed, heads):
    for n in range(shortest(random) + 1, shortest(random) + 9):
        for block in (1, 3, 5):
            want = theirs(n, heads, block, random, seed, 300)
            assert np.array_equal(drawn(n, heads, block, random, seed, 300), want), (n, block)


@pytest.mark.parametrize("length, max_len", [(1024, 1024), (1024, 1500), (1024, 4096), (3072, 4096), (4096, 4096)])
@pytest.mark.parametrize("block", [32, 64, 128])
def test_the_lengths_of_the_paper(length, max_len, block):
    random = 2 if block < 128 or length > 1024 else 1
    found = drawn(length // block, 2, block, random, 3, max_len)
    assert np.array_equal(found, theirs(length // block, 2, block, random, 3, max_len))


def test_their_edge_where_one_block_is_left():
    """Blocks of 192 in 3072: only one is left to draw from for the second row, and counts twice."""
    found = drawn(16, 1, 192, 2, 0, 3072)
    assert np.array_equal(found, theirs(16, 1, 192, 2, 0, 3072))
    assert (found[0, 1, 0] == found[0, 1, 1]).all()


def test_numpys_own_generator_is_left_alone():
    np.random.seed(5)
    want = np.random.get_state()[1].copy()
    drawn(12, 2, 4, 3, 7, 64)
    assert np.array_equal(np.random.get_state()[1], want)
