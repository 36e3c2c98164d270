"""Speed and memory of one attention layer, projections included, beside peers at their best, in the same minutes.

    python benchmarks/attention.py [--threads 2] [--length 16384] [--rounds 3]    the table against peers
    python benchmarks/attention.py --lengths 2048 4096 8192 16384 32768           growth of time and memory
    python benchmarks/attention.py --short                                        512 tokens, against full attention
    --kinds big_bird linear                                                       only these
    --keep-memory                                                                 the process keeps what is freed

Contestants take turns, there and back (A B C C B A), so that a busy minute hits all of them. A ratio is the peer's time
over ours; the lesser of the ratio of best times and the ratio of medians is held against its target. Memory is what was
allocated at once during a call, beyond parameters and input. Each mode writes its part of results/attention.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # read when torch is imported: the profiler is chatty

import attention_peers as peers
import torch
from common import RESULTS, keep, machine
from torch import Tensor, nn

from jorip.core.context import Context
from jorip.core.cost import Shape
from jorip.core.errors import ConfigError, Refused
from jorip.core.init import Xavier, initialise
from jorip.core.layout import Layout, Rows
from jorip.core.mask import Causal, Everything
from jorip.core.process_memory import keep_freed_memory
from jorip.core.site import Site
from jorip.parts.attention.base import Mechanism
from jorip.parts.mixer.multi_head import MultiHead

WIDTH, HEADS = 512, 8
SLOPES = {"forward": 1.15, "training": 1.20, "memory": 1.05}  # at most, of logarithms
LINEAR = 1.05  # of the exponent of counted FLOPs: a mechanism whose cost is linear
AT, LEAST = 16384, 3.0  # there a linear mechanism is so many times as fast as full attention
SHORT, MOST = 512, 1.15  # there a sparse one takes at most so many times as long


@dataclass(frozen=True)
class Line:
    """One of ours, and (peer, at least so many times as fast: forward, forward and backward); None = no target."""

    name: str
    mechanism: dict[str, dict[str, Any]]
    targets: dict[str, tuple[float | None, float | None]]
    causal: bool = False
    fits: dict[str, Callable[[int], nn.Module]] = field(default_factory=dict)


def sdpa(causal: bool) -> Callable[[int], nn.Module]:
    return lambda length: peers.Sdpa(WIDTH, HEADS, causal)


LINES = (
    Line(
        "BigBird",
        {"big_bird": {"block": 64, "random": 3, "global_blocks": 2, "window": 3}},
        {"transformers": (8.0, 4.0), "full SDPA": (8.0, 7.0)},
        fits={
            "transformers": lambda n: peers.HuggingFaceBigBird(WIDTH, HEADS, n, 64, 3),
            "full SDPA": sdpa(False),
        },
    ),
    Line(
        "Longformer",
        {"longformer": {"window": 256, "first": 64}},
        {"transformers": (4.0, 3.0), "full SDPA": (7.0, None)},
        fits={
            "transformers": lambda n: peers.HuggingFaceLongformer(WIDTH, HEADS, n, 256, 64),
            "full SDPA": sdpa(False),
        },
    ),
    Line(
        "Performer",
        {"performer": {"features": 256}},
        {"performer-pytorch": (3.0, 2.0)},
        fits={"performer-pytorch": lambda n: peers.performer_pytorch(WIDTH, HEADS, 256)},
    ),
    Line(
        "causal linear (elu + 1)",
        {"linear": {}},
        {"full causal SDPA": (6.0, 6.0)},
        causal=True,
        fits={"full causal SDPA": sdpa(True)},
    ),
)

SETTINGS: dict[str, dict[str, dict[str, Any]]] = {  # where a kind's defaults do not say enough
    "sparse, band": {"sparse": {"pattern": {"band": {"left": 128, "right": 128}}}},
    "sparse, blocks": {"sparse": {"pattern": {"blocks": {"size": 128}}}},
    "sparse, dilated": {"sparse": {"pattern": {"dilated": {"left": 64, "right": 64, "gap": 4}}}},
    "sparse, random": {"sparse": {"pattern": {"random": {"count": 8}}}},
    "sparse, band and hubs": {"sparse": {"pattern": {"union": {"of": [{"band": {}}, {"global": {"first": 2}}]}}}},
    "longformer": {"longformer": {"window": 256, "first": 64}},
    "performer": {"performer": {"features": 256}},
}


class Ours(nn.Module):
    """A multi-head layer of jorip around a mechanism, as a stack calls it; (1, length, width) -> the same."""

    def __init__(self, mechanism: Mechanism, length: int, causal: bool):
        super().__init__()
        self.site = site(causal)
        self.mixer = MultiHead(mechanism=mechanism).build(self.site)
        initialise(self.mixer, Xavier(), 1, seed=0)
        self.at, self.mask = Layout.of(torch.tensor([length])), Causal() if causal else Everything()

    def forward(self, x: Tensor) -> Tensor:
        return self.mixer(Rows(x[0], self.at), {}, Context(mask=self.mask))[0][None]


class FullAndMore(Ours):
    """Full attention, and the projections that another mechanism has beside q, k and v: what is not its sparsity."""

    def __init__(self, other: Ours, length: int, causal: bool):
        super().__init__(Mechanism.parse("full"), length, causal)
        extra = sum(s.heads * s.dim for n, s in other.mixer.streams.items() if n not in self.mixer.streams)
        self.extra = nn.Linear(WIDTH, extra) if extra else None

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y if self.extra is None else y + self.extra(x).sum(-1, keepdim=True)


def site(causal: bool) -> Site:
    return Site("mixer", WIDTH, HEADS, HEADS, WIDTH // HEADS, causal=causal)


def seconds(module: nn.Module, x: Tensor, training: bool) -> float:
    """One call, or one forward and backward pass, its gradients dropped again."""
    x = x.detach().requires_grad_(training)
    start = time.perf_counter()
    with torch.set_grad_enabled(training):
        y = module(x)
        if training:
            y.backward(x.detach())
    took = time.perf_counter() - start
    module.zero_grad()
    return took


def turns(
    modules: Mapping[str, nn.Module], inputs: dict[str, Tensor], rounds: int, training: bool
) -> dict[str, list[float]]:
    """name -> seconds of every call: each round goes through all of them and back, after one call that warms up."""
    times: dict[str, list[float]] = {n: [] for n in modules}
    for n, m in modules.items():
        seconds(m, inputs[n], training)
    for _ in range(rounds):
        for n in (*modules, *reversed(list(modules))):
            times[n].append(seconds(modules[n], inputs[n], training))
    return times


def summary(times: list[float]) -> dict[str, float]:
    return {"best": min(times), "median": statistics.median(times)}


def peak_bytes(module: nn.Module, x: Tensor, training: bool) -> int:
    """The most that was allocated at once during a call, beyond parameters and input."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as p:
        seconds(module, x, training)
    now = most = 0
    events: Any = p.profiler.kineto_results.events()
    for e in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        now += e.nbytes()
        most = max(most, now)
    return most


def slope(lengths: list[int], values: list[float]) -> float:
    """Of logarithms, by least squares: 1 is linear growth, 2 quadratic."""
    return statistics.linear_regression([math.log(n) for n in lengths], [math.log(v) for v in values]).slope


def parsed(mechanism: dict[str, dict[str, Any]]) -> Mechanism | None:
    """None, and a line that says so, where the kind is not registered."""
    (kind,) = mechanism
    if kind not in Mechanism.members():
        print(f"skipped: there is no mechanism called {kind!r}")
        return None
    return Mechanism.parse(mechanism)


def candidates(kinds: list[str]) -> Iterator[tuple[str, Mechanism, bool]]:
    """(name, mechanism, causal) of every kind wherever it can stand, by `SETTINGS` or its defaults."""
    named = {n: m for n, m in SETTINGS.items() if next(iter(m)) in Mechanism.members()}
    said = {next(iter(m)) for m in named.values()}
    named |= {n: {n: {}} for n in Mechanism.members() if n not in said}
    for name, fields in named.items():
        kind = next(iter(fields))
        if kind == "full" or (kinds and kind not in kinds):
            continue
        spec = Mechanism.parse(fields)
        for causal in (False, True):
            try:
                spec.check(site(causal))
            except Refused:
                continue
            yield name + (", causal" if causal else ""), spec, causal


def is_linear(spec: Mechanism, causal: bool) -> bool:
    flops = [float(spec.cost(site(causal), Shape(1, n)).flops) for n in (AT, 4 * AT)]
    return slope([AT, 4 * AT], flops) <= LINEAR


def ratios(ours: dict[str, float], theirs: dict[str, float]) -> dict[str, float]:
    return {name: theirs[name] / ours[name] for name in ("best", "median")}


def against_peers(length: int, rounds: int, kinds: list[str]) -> list[dict[str, Any]]:
    rows, x = [], torch.randn(1, length, WIDTH)
    for line in LINES:
        if kinds and next(iter(line.mechanism)) not in kinds:
            continue
        if (spec := parsed(line.mechanism)) is None:
            continue
        modules = {"jorip": Ours(spec, length, line.causal)} | {n: make(length) for n, make in line.fits.items()}
        modules = {n: m.eval() for n, m in modules.items()}
        for i, what in enumerate(("forward", "training")):
            times = turns(modules, dict.fromkeys(modules, x), rounds, what == "training")
            ours = summary(times["jorip"])
            for peer, targets in line.targets.items():
                theirs = summary(times[peer])
                ratio, target = ratios(ours, theirs), targets[i]
                rows.append({
                    "name": line.name, "peer": peer, "what": what, "ours": ours, "theirs": theirs, "ratio": ratio,
                    "target": target, "reached": None if target is None else min(ratio.values()) >= target,
                })  # fmt: skip
                print(speed_line(rows[-1]), flush=True)
    return rows


def speed_line(r: dict[str, Any]) -> str:
    times = " | ".join(f"{s['best']:.3f} / {s['median']:.3f}" for s in (r["ours"], r["theirs"]))
    target = "" if r["target"] is None else f"{r['target']:g}x"
    ratio = f"{r['ratio']['best']:.2f} / {r['ratio']['median']:.2f}"
    return f"| {r['name']} | {r['peer']} | {r['what']} | {times} | {ratio} | {target} | {verdict(r['reached'])} |"


SPEED_HEAD = "| ours | peer | | ours, s (best / median) | peer, s | ratio | target | |\n|" + " --- |" * 8


def verdict(reached: bool | None) -> str:
    return "" if reached is None else "reached" if reached else "**missed**"


def growth(lengths: list[int], rounds: int, kinds: list[str]) -> list[dict[str, Any]]:
    """Time and memory of every mechanism whose cost is linear, over lengths."""
    rows, full = [], {}
    for name, spec, causal in candidates(kinds):
        if not is_linear(spec, causal):
            print(f"skipped: the cost of {name} is not linear")
            continue
        row: dict[str, Any] = {"name": name, "lengths": lengths}
        modules = {str(n): Ours(spec, n, causal).eval() for n in lengths}
        inputs = {str(n): torch.randn(1, n, WIDTH) for n in lengths}
        for what in ("forward", "training"):
            training = what == "training"
            times = {n: summary(t) for n, t in turns(modules, inputs, rounds, training).items()}
            row[what] = [times[str(n)]["best"] for n in lengths]
            row[f"{what} slope"] = slope(lengths, row[what])
            row[f"{what} bytes"] = [peak_bytes(modules[str(n)], inputs[str(n)], training) for n in lengths]
            row[f"{what} memory slope"] = slope(lengths, row[f"{what} bytes"])
            if AT in lengths:
                if (causal, what) not in full:
                    module = {"full": peers.Sdpa(WIDTH, HEADS, causal)}
                    full[causal, what] = min(turns(module, {"full": inputs[str(AT)]}, 1, training)["full"])
                row[f"{what} ratio"] = full[causal, what] / row[what][lengths.index(AT)]
        row["reached"] = reaches(row)
        rows.append(row)
        print(growth_line(row), flush=True)
    return rows


def reaches(row: dict[str, Any]) -> bool:
    good = [row[f"{w} slope"] <= SLOPES[w] for w in ("forward", "training")]
    good += [row[f"{w} memory slope"] <= SLOPES["memory"] for w in ("forward", "training")]
    return all(good) and all(row[k] >= LEAST for k in ("forward ratio", "training ratio") if k in row)


def growth_line(row: dict[str, Any]) -> str:
    cells = [f"{row[f'{w} slope']:.2f}" for w in ("forward", "training")]
    cells += [f"{row[f'{w} memory slope']:.2f}" for w in ("forward", "training")]
    cells += [f"{row[k]:.1f}x" if k in row else "" for k in ("forward ratio", "training ratio")]
    mib = row["training bytes"][-1] / 2**20
    times = f"{row['forward'][-1]:.3f} / {row['training'][-1]:.3f}"
    return f"| {row['name']} | {' | '.join(cells)} | {times} | {mib:.0f} | {verdict(row['reached'])} |"


GROWTH_HEAD = (
    "| | time slope, forward | training | memory slope, forward | training | full SDPA's time at 16,384, forward "
    "| training | s at the longest | MiB in training there | |\n|" + " --- |" * 10
)


def short(length: int, rounds: int, kinds: list[str]) -> list[dict[str, Any]]:
    """Every sparse mechanism against full attention with the same mask."""
    rows, x = [], torch.randn(1, length, WIDTH)
    for name, spec, causal in candidates(kinds):
        if ".attention.sparse." not in type(spec).__module__:
            continue
        ours = Ours(spec, length, causal).eval()
        modules = {"ours": ours, "full": FullAndMore(ours, length, causal).eval()}
        row: dict[str, Any] = {"name": name, "length": length}
        for what in ("forward", "training"):
            times = turns(modules, dict.fromkeys(modules, x), rounds, what == "training")
            row[what] = {n: summary(t) for n, t in times.items()}
            row[f"{what} ratio"] = max(ratios(row[what]["full"], row[what]["ours"]).values())
        row["reached"] = all(row[f"{w} ratio"] <= MOST for w in ("forward", "training"))
        rows.append(row)
        print(short_line(row), flush=True)
    return rows


def short_line(row: dict[str, Any]) -> str:
    cells = [f"{1000 * row[w]['ours']['best']:.1f} | {row[f'{w} ratio']:.2f}" for w in ("forward", "training")]
    return f"| {row['name']} | {' | '.join(cells)} | {verdict(row['reached'])} |"


SHORT_HEAD = "| | forward, ms | times full | training, ms | times full | |\n|" + " --- |" * 6


def store(mode: str, given: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """This mode's rows, beside those of the other modes from earlier runs."""
    path = RESULTS / "attention.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    about = {"machine": machine(), "threads": torch.get_num_threads(), "rounds": given.rounds}
    keep("attention", before | {mode: about | {"length": given.length, "rows": rows}})


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--threads", type=int, default=2)
    args.add_argument("--rounds", type=int, default=None, help="3; 20 with --short")
    args.add_argument("--length", type=int, default=None, help=f"{AT}; {SHORT} with --short")
    args.add_argument("--lengths", type=int, nargs="+")
    args.add_argument("--short", action="store_true")
    args.add_argument("--kinds", nargs="+", default=[])
    args.add_argument("--keep-memory", action="store_true", help="for all: freed memory stays, as in jorip's trainings")
    args.add_argument("--no-results", action="store_true", help="write no file")
    given = args.parse_args()
    given.rounds = given.rounds or (20 if given.short else 3)
    given.length = given.length or (SHORT if given.short else AT)
    if unknown := set(given.kinds) - set(Mechanism.members()):
        raise ConfigError(f"there is no mechanism called {', '.join(sorted(unknown))}")
    torch.set_num_threads(given.threads)
    if given.keep_memory:
        keep_freed_memory()
    torch.manual_seed(0)
    if given.short:
        mode, head, rows = "short", SHORT_HEAD, lambda: short(given.length, given.rounds, given.kinds)
    elif given.lengths:
        mode, head, rows = "lengths", GROWTH_HEAD, lambda: growth(given.lengths, given.rounds, given.kinds)
    else:
        mode, head, rows = "peers", SPEED_HEAD, lambda: against_peers(given.length, given.rounds, given.kinds)
    print(f"{machine()}, {given.threads} threads\n\n{head}", flush=True)
    found = rows()
    missed = [r["name"] for r in found if r["reached"] is False]
    print(
        f"\n{len(found) - len(missed)} of {len(found)} rows reach their targets" + (": missed " * bool(missed)), end=""
    )
    print(", ".join(dict.fromkeys(missed)))
    if not given.no_results:
        store(mode + ", memory kept" * given.keep_memory, given, found)


if __name__ == "__main__":
    main()
