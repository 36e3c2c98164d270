"""The survey's Table 1 (Lin et al. 2021, 2106.04554, section 2.3) beside what jorip counts for a spec.

With D_ff = 4D and D_k = D_v = D/H the survey gives 4D^2 parameters for self-attention and 8D^2 for the feed-forward,
O(T^2 D) and O(T D^2) time. Counted in full, per sequence and without biases: 4TD^2 + 2T^2 D multiply-accumulates (the
4TD^2 of the projections are omitted in the survey's O) and 8TD^2. So the feed-forward dominates short inputs and
self-attention long ones; where they cross depends on what is compared.
"""

from __future__ import annotations

from typing import Any


def formulas(d_model: int, length: int) -> dict[str, dict[str, int]]:
    """The table's counts for width D and length T."""
    D, T = d_model, length
    return {
        "self_attention": {"parameters": 4 * D * D, "macs": 4 * T * D * D + 2 * T * T * D},
        "feed_forward": {"parameters": 8 * D * D, "macs": 8 * T * D * D},
    }


def crossovers(d_model: int) -> dict[str, int]:
    """Lengths at which self-attention becomes as expensive as the feed-forward, by what is compared."""
    D = d_model
    return {
        "T^2 D = T D^2 (the survey's O, constants dropped)": D,
        "4TD^2 + 2T^2 D = 8TD^2 (whole module, projections included)": 2 * D,
        "2T^2 D = 8TD^2 (scores and values only)": 4 * D,
    }


def compare(spec, tree) -> dict[str, dict[str, Any]]:
    """For each stack of the spec: the formulas, and what its first layer counts per sequence, biases left out."""
    from jorip.architectures.base import Stacked

    model = spec.build(device="meta")
    weights = {name: p.numel() for name, p in model.named_parameters() if p.dim() > 1}
    shape = tree.shape
    sides = {n: side for n in type(spec).model_fields if isinstance(side := getattr(spec, n), Stacked)}
    found = {}
    for name, stack in (sides or {"": spec}).items():
        if not stack.n_layers:
            continue
        length = shape.memory or shape.length if name == "encoder" else shape.length
        prefix = f"{name}.layers.0" if name else "layers.0"
        rows = formulas(stack.d_model, length)
        for part, sublayer in (("self_attention", "mixer"), ("feed_forward", "feed_forward")):
            path = f"{prefix}.{sublayer}"
            if path in tree.parts:
                counted = sum(n for p, n in weights.items() if p.startswith(path + "."))
                rows[part] |= {"counted_parameters": counted, "counted_macs": tree.parts[path].macs // shape.batch}
        found[name or spec.kind] = {
            "d_model": stack.d_model,
            "length": length,
            **rows,
            "dominates": "self_attention" if length > 2 * stack.d_model else "feed_forward",
            "crossover_lengths": crossovers(stack.d_model),
        }
    return found
