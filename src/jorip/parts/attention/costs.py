"""What softmax attention costs in the two forms that many mechanisms share: all pairs, and tiles (`ops/tiles`).

Memory is what the CPU's operations hold in float32, counted operation by operation (tests/contracts/test_cost_memory).
"""

from __future__ import annotations

from jorip.core.cost import Cost, Shape
from jorip.core.site import Site
from jorip.ops.attention import SHORT

_STEP = 2**19  # scores that tiles compute in one step


def all_pairs(site: Site, shape: Shape, dropout: float = 0.0, mask: int = 0) -> Cost:
    """Of attention that computes every pair, in one of the four ways of `ops/attention`: the definition (with dropout),
    plain products (short), torch's fused kernel, and its unfused one (learned bias). mask: elements of a dense mask
    where one is needed, sequences x heads x queries x keys, heads only where it differs by head."""
    keys = shape.memory if site.cross else shape.length
    outs, read = shape.rows * site.n_heads * site.head_dim, shape.batch * keys * site.n_heads * site.head_dim
    rows, table = shape.rows * site.n_heads, site.n_heads * shape.length * keys
    pairs, bias = shape.batch * table, shape.bias
    short = 1 < shape.length <= SHORT and 1 < keys <= SHORT
    spread, batched = 2 * read if site.n_heads > site.n_kv_heads else 0, shape.batch > 1
    own = bool(dropout) or short or bias == "learned"  # has copies of the streams, where a batch cannot be a view
    if dropout:
        kept, back = 3 * pairs + (mask or pairs // site.n_heads) // 4 + 3 * rows, 3 * pairs + outs + read
    elif short:
        kept, back = pairs, 2 * pairs + outs + read
    elif bias == "learned":
        kept, back = pairs, 2 * pairs + outs + 2 * read
    elif bias == "fixed":
        kept, back = rows + outs + pairs, 3 * outs + 2 * read
    else:
        kept, back = rows + mask, 2 * outs + 2 * read
    if short:
        work = (2 if bias == "none" else 3) * pairs + (2 if batched else 1) * outs + spread
    else:
        work = outs + rows + (mask if bias == "none" else pairs + 2 * outs)
    return Cost(
        mixing=2 * pairs * site.head_dim,  # scores and values
        activations=kept + outs + (spread if own and not batched else 0),
        path=1,
        sequential=1,
        work=work,
        back=back + (2 * table if bias == "learned" else 0),
        copies=outs + 2 * read if own and batched else 0,
    )


def tiled(site: Site, shape: Shape, pairs: int) -> Cost:
    """Of attention in tiles of which `pairs` scores are computed for each head and sequence: the backward has only the
    log-sum-exp, and a few tiles at a time are alive, with the keys and values that they gather."""
    outs, rows = shape.rows * site.n_heads * site.head_dim, shape.rows * site.n_heads
    scores = shape.batch * site.n_heads * pairs
    step, more = min(scores, _STEP), scores > _STEP  # the last step's scores live until the next one's are there
    gathered = step * site.head_dim // 64  # keys are shared by tiles of 64 rows
    return Cost(
        mixing=2 * scores * site.head_dim,
        activations=2 * outs + rows,
        sequential=1,
        path=1,
        work=4 * outs + (2 + more) * step + gathered,
        back=(2 if shape.batch > 1 else 5) * outs + (2 + 2 * more) * step + 2 * gathered,
    )
