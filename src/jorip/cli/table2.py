"""The survey's Table 2 (Lin et al. 2021, 2106.04554, section 2.4.1) beside what jorip counts for its own four mixers.

Per layer, for one sequence of T rows of width D and kernels of K taps; maximum path length: hops between the two
positions farthest apart. The table's log_K(T) of convolutions needs dilations that grow; contiguous ones take T/K.
The survey's fully connected layer joins all T D inputs with all T D outputs, jorip's joins positions (T^2 D).
"""

from __future__ import annotations

from typing import Any

KERNEL = 3


def layer_types(site, length: int) -> list[dict[str, Any]]:
    """The rows of the table, at the width and heads of a site."""
    from dataclasses import replace

    from jorip.core.cost import Shape
    from jorip.parts.mixer.convolution import Convolution
    from jorip.parts.mixer.fully_connected import FullyConnected
    from jorip.parts.mixer.multi_head import MultiHead
    from jorip.parts.mixer.recurrent import Rnn

    D, T, K = site.d_model, length, KERNEL
    at = replace(site, path="", max_len=T, index=0, causal=True, cross=False, d_memory=None, n_kv_heads=site.n_heads)
    grows = Convolution(kernel=K, dilation="double")
    rows = [
        ("self-attention", "T²·D", T * T * D, "O(1)", "O(1)", MultiHead()),
        ("fully connected", "T²·D²", T * T * D * D, "O(1)", "O(1)", FullyConnected()),
        ("convolutional", "K·T·D²", K * T * D * D, "O(1)", "O(log_K T)", Convolution(kernel=K)),
        ("convolutional, dilated", "K·T·D²", K * T * D * D, "O(1)", "O(log_K T)", grows),
        ("recurrent", "T·D²", T * D * D, "O(T)", "O(T)", Rnn()),
    ]  # fmt: skip
    found = []
    for name, formula, value, sequential, path, mixer in rows:
        cost = mixer.cost(at, Shape(1, T))
        found.append({
            "layer": name, "complexity": formula, "operations": value, "macs": cost.macs,
            "sequential_order": sequential, "sequential": cost.sequential,
            "path_order": path, "path_length": cost.path,
        })  # fmt: skip
    return found
