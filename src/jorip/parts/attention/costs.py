"""What softmax attention costs in the two forms that many mechanisms share: all pairs, and tiles (`ops/tiles`).

Memory is what the CPU's operations hold in float32, counted operation by operation (tests/contracts/test_cost_memory).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jorip.core.cost import Cost, Shape
from jorip.core.site import Site
from jorip.ops.attention import SHORT
from jorip.ops.band import ROWS, TOGETHER
from jorip.ops.scattered import GATHERED
from jorip.ops.tiles import CACHED


def all_pairs(site: Site, shape: Shape, dropout: float = 0.0, mask: int = 0, added: int = 0) -> Cost:
    """Of attention that computes every pair, in one of the four ways of `ops/attention`: the definition (with dropout),
    plain products (short), torch's fused kernel, and its unfused one (learned bias). mask: elements of a dense mask
    where one is needed, sequences x heads x queries x keys, heads only where it differs by head; added: those of one
    that is kept as numbers from call to call, the same for all sequences."""
    keys = shape.memory if site.cross else shape.length
    outs, read = shape.rows * site.n_heads * site.head_dim, shape.batch * keys * site.n_heads * site.head_dim
    rows, square = shape.rows * site.n_heads, shape.length * keys
    table = site.n_heads * square
    pairs, bias = shape.batch * table, shape.bias
    short = 1 < shape.length <= SHORT and 1 < keys <= SHORT
    spread, batched = 2 * read if site.n_heads > site.n_kv_heads else 0, shape.batch > 1
    hides = site.causal or max(mask, added) > 0  # what is hidden goes into a copy of a bias, blind rows out of answers
    own = bool(dropout) or short or bias == "learned"  # has copies of the streams, where a batch cannot be a view
    left = own and (batched or (spread > 0 and shape.rotated))  # all streams are others than what was projected
    flags = (mask or shape.batch * (added or square)) // 4 if hides else 0  # bools, also of a causal mask
    if dropout:
        kept, back = 3 * pairs + (mask or pairs // site.n_heads) // 4 + 3 * rows, 3 * pairs + outs + read
    elif short:
        kept, back = pairs, 2 * pairs + outs + read
    elif bias == "learned":  # keeps scaled copies of queries and keys
        kept = pairs + flags + (0 if left else outs + (0 if spread else read))
        back = 2 * pairs + outs + 2 * read + table * hides  # in the forward the bias, its copy, scores and weights
    elif bias == "fixed" and hides:
        kept, back = rows + outs + pairs, 3 * outs + 2 * read
    else:
        kept, back = rows + mask, 2 * outs + 2 * read
    if short:
        tables = 2 if bias == "none" and not (batched and max(mask // shape.batch, added) > square) else 3
        work = tables * pairs + (2 if batched else 1) * outs + spread + (0 if added else mask // 4)
    else:
        making = square * {"none": 0, "fixed": 1, "learned": 2}[bias]  # offsets, before there are answers
        work = max(outs + rows + (mask if bias == "none" else (pairs + 2 * outs + flags) * hides), making)
    return Cost(
        mixing=2 * pairs * site.head_dim,  # scores and values
        activations=kept + outs + (spread if own and not left else 0),
        path=1,
        sequential=1,
        work=work,
        back=back,
        held=0 if hides or own or bias == "none" else table,
        borrowed=0 if own or bias != "none" else added,
        copies=outs + 2 * read if left else 0,
    )


@dataclass(frozen=True)
class Tiled:
    """One set of tiles: pairs of each head and sequence; slots of queries, filled up; hubs: further rows of keys;
    single: every pair's key is gathered for itself (`ops/scattered`); rows: of a tile, which share the keys gathered;
    moved: whether rows are laid out in another order; views: nothing is gathered or copied (`ops/band`)."""

    pairs: int
    slots: int
    hubs: int = 0
    moved: bool = False
    single: bool = False
    rows: int = 64
    views: bool = False

    def step(self, sequences: int) -> int:
        """Pairs of one step of `ops/tiles`: tiles of one sequence, or of whole ones."""
        own, tiles = max(self.pairs * self.rows // max(self.slots, 1), 1), max(self.slots // self.rows, 1)
        each = max(1, min(CACHED // own, sequences * tiles))
        return own * (each if each < tiles else each - each % tiles)


def tiled(
    site: Site, shape: Shape, parts: Sequence[Tiled], whole: int = 0, share: int = 1, copied: bool = False
) -> Cost:
    """Of attention in tiles: the backward has only the log-sum-exps, and a few tiles at a time are alive, with the keys
    and values that they gather. Several sets are joined by their log-sum-exps; whole: rows that read everything
    besides, copied: from the copies that tiles read; share: groups of heads that have such parts each, this being one
    of them."""
    heads, dim = site.n_heads // share, site.head_dim
    sequences = shape.batch * heads
    outs, rows = shape.rows * heads * dim, shape.rows * heads
    several, repeated = len(parts) > 1, site.n_heads > site.n_kv_heads
    anew = repeated and shape.rotated  # queries, keys and values have all left what they were projected to
    kept, copies, read, work, back, before = outs, 0, whole > 0 and not (anew or copied), 0, 0, 0
    keys_of = 0  # each query: which ones, int64
    for p in parts:
        if p.views:
            copies, read = copies + (outs if anew else 0) + (2 * outs if repeated else 0), not anew
            kept += rows
            few = min(TOGETHER * ROWS, p.slots)  # queries of one backward call
            work, back = 2 * outs, 4 * outs + heads * dim * (few + 2 * few * p.pairs // (ROWS * p.slots))
            continue
        y, keys = sequences * p.slots * dim, sequences * (p.slots + p.hubs) * dim
        step = p.step(sequences)
        gathered, indices = step * dim // p.rows, 0
        if p.single:
            gathered = min(sequences * p.pairs * dim, GATHERED)
            step = gathered // dim
            indices = 4 * step
        laid = p.moved or p.slots != shape.length
        if anew or laid or shape.batch > 1:
            copies += y + 2 * keys
        else:
            copies, read = copies + (2 * keys if p.hubs or repeated else 0), True
        keys_of += 2 * heads * p.pairs * p.single
        kept += y + y // dim + ((outs + rows) if p.moved and several else 0)
        spread = 2 * outs if repeated and laid else 0  # keys for every head, before they are laid out
        answers = 0 if p.single else step * p.slots * dim // max(p.pairs, 1)
        work = max(work, before + spread + 2 * y + 2 * keys + step + answers + (2 - p.single) * gathered + indices)
        # gradients of the copies, and of what they were made from
        other = 3 * (not several and laid)
        back = max(
            back,
            ((2 if shape.batch > 1 or laid else 5) + other) * outs
            + 2 * step
            + (1 if p.single else 4) * gathered
            + indices,
        )
        before += outs + rows
    if several:
        kept += len(parts) * rows
        work = max(work, before + 4 * outs)
    if whole:
        some = sequences * whole * dim
        kept += 2 * some + (
            outs if any(p.views for p in parts) else 0
        )  # their answers are put into a copy of the others
        work = max(work, before + outs + 2 * some)
    pairs = sum(p.pairs for p in parts) + whole * (parts[0].slots if copied else shape.length)
    return Cost(
        mixing=2 * sequences * pairs * dim,
        activations=kept + (copies if read else 0),
        sequential=1,
        path=1,
        work=work,
        back=back,
        copies=0 if read else copies,
        lasting=keys_of,
        borrowed=keys_of,
    )
