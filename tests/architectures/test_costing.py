"""`jorip.cost` prints what it counts, and the total is the model's."""

import jorip


def test_cost_prints_parts_and_totals():
    spec = jorip.Encoder(vocab_size=11, d_model=8, n_layers=2, n_heads=2)
    tree = jorip.cost(spec, batch=3, length=5)
    assert tree.total_parameters == sum(p.numel() for p in spec.build(device="meta").parameters())
    lines = str(tree).splitlines()
    assert lines[0].split()[:2] == ["part", "parameters"]
    assert lines[-1].split()[:2] == ["total", f"{tree.total_parameters:,}"]
    assert any(line.startswith("layers.1.mixer") for line in lines)
    # 4 T D^2 for the projections of each of the 3 * 5 rows, 2 T^2 D for scores and values
    mixer = tree.parts["layers.0.mixer"]
    assert (mixer.linear, mixer.mixing) == (3 * 4 * 5 * 8 * 8, 3 * 2 * 5 * 5 * 8)
