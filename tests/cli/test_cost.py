"""`jorip cost`: totals, the survey's Table 2, and curves over lengths with their crossovers."""

import pytest

from jorip.cli.cost import size
from jorip.cli.cost_curve import lengths

SMALL = ("d_model=64", "n_heads=4", "n_layers=2")
LOCAL = "layer.mixer.mechanism={local: {window: 12}}"


def test_totals(jorip):
    """Training is three forward passes; memory is what the tree promises."""
    total = jorip("cost", "encoder-small", *SMALL, "--batch", 2, "--length", 100, "--json").json["total"]
    assert total["training_flops"] == 3 * total["flops"]
    assert total["parameters_bytes"] == 4 * total["parameters"] == total["optimizer_bytes"] // 2
    assert total["peak_inference_bytes"] > total["parameters_bytes"]
    assert total["peak_training_bytes"] > total["parameters_bytes"] + total["activation_bytes"]
    assert (total["path_length"], total["sequential"]) == (1, 4)


def test_the_first_screen(jorip):
    shown = jorip("cost", "encoder-small", *SMALL).out
    for word in ("layers.0-1.mixer", "most at once", "for AdamW", "three times as many", "longest path"):
        assert word in shown
    assert len(shown.split("survey's Table 1")[0].splitlines()) < 24


def test_the_survey_s_table_2(jorip):
    """T and D only: T^2 D, T^2 D^2, K T D^2, T D^2; sequential 1, 1, 1, T; path 1, 1, T/K or log T, T."""
    D, T, K = 64, 33, 3
    found = jorip("cost", "encoder-small", *SMALL, "--length", T, "--json").json["survey_table_2"]
    rows = {r["layer"]: (r["operations"], r["macs"], r["sequential"], r["path_length"]) for r in found}
    assert rows == {
        "self-attention": (T * T * D, 2 * T * T * D + 4 * T * D * D, 1, 1),
        "fully connected": (T * T * D * D, T * T * D, 1, 1),
        "convolutional": (K * T * D * D, K * T * D * D, 1, (T - 1) // (K - 1)),
        "convolutional, dilated": (K * T * D * D, K * T * D * D, 1, 5),
        "recurrent": (T * D * D, 2 * T * D * D, T, T),
    }
    assert "O(log_K T)" in jorip("cost", "encoder-small", *SMALL).out


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_curves(jorip, tmp_path, suffix):
    out = tmp_path / "new" / f"c.{suffix}"
    answer = jorip("cost", "encoder-small", *SMALL, LOCAL, "--length", "32:512", "--out", out, "--json")
    found = answer.json
    assert found["shape"]["lengths"] == [r["length"] for r in found["curve"]] == [32, 64, 128, 256, 512]
    one = jorip("cost", "encoder-small", *SMALL, LOCAL, "--length", 256, "--json").json["total"]
    row = found["curve"][3]
    for name in ("flops", "activation_bytes", "state_bytes", "peak_training_bytes", "path_length"):
        assert row[name] == one[name]
    assert row["flops"] == row["attention_flops"] + row["feed_forward_flops"] + row["other_flops"]
    assert row["full_attention_flops"] > row["attention_flops"]
    assert found["picture"] == str(out) and out.read_bytes()[:4] in (b"<svg", b"\x89PNG")


def test_crossovers_are_exact(jorip, tmp_path):
    """4TD^2 + 2T^2 D = 8TD^2 at T = 2D, wherever the curve's points lie; full attention is compared with nothing."""
    call = ("cost", "encoder-small", *SMALL, "--length", "50:400", "--out", tmp_path / "c.svg")
    found = jorip(*call, "--json").json
    assert [(c["length"], c["against"]) for c in found["crossings"]] == [(128, "feed-forward")]
    assert "full_attention_flops" not in found["curve"][0]
    shown = jorip(*call).out
    assert "T = 128 " in shown and "attention costs as much" in shown and "c.svg" in shown
    short = jorip("cost", "encoder-small", *SMALL, LOCAL, "--length", "16:256", "--out", tmp_path / "d.svg", "--json")
    crossed = {c["against"]: c["length"] for c in short.json["crossings"]}
    at = crossed["full attention"]
    near = jorip(
        "cost", "encoder-small", *SMALL, LOCAL, "--length", f"{at - 1}:{at}", "--out", tmp_path / "e.svg", "--json"
    )
    before, after = near.json["curve"]
    assert before["attention_flops"] >= before["full_attention_flops"]
    assert after["attention_flops"] < after["full_attention_flops"]
    assert (tmp_path / "d.svg").read_text(encoding="utf-8").count(f">{at}<") == 1


def test_limits_are_said(jorip, tmp_path):
    spec = ("gpt2", "n_layers=1", "d_model=64", "n_heads=4", "vocab_size=50", "max_len=64")
    shown = jorip("cost", *spec, "--length", "32:128", "--out", tmp_path / "c.svg").out
    assert "max_len = 64" in shown


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (("--length", "many"), "--length is a number of tokens or FROM:TO, such as 512:65536, found 'many'"),
        (("--length", "0"), "found '0'"),
        (("--length", "8:"), "found '8:'"),
        (("--length", "512:512"), "needs TO above FROM"),
        (("--length", "8:16", "--out", "x.pdf"), "ends in .svg or .png, found 'x.pdf'"),
        (("--out", "x.svg"), "give a range of lengths"),
    ],
)
def test_wrong_calls(jorip, tmp_path, monkeypatch, call, message):
    monkeypatch.chdir(tmp_path)
    done = jorip("cost", "encoder-small", *SMALL, *call)
    assert done.code == 2 and message in done.err and done.out == "" and not list(tmp_path.iterdir())


def test_lengths_and_sizes():
    assert lengths("7") == [7] and lengths("3:20") == [3, 6, 12, 20] and lengths("4:16") == [4, 8, 16]
    assert [size(n) for n in (0, 1023, 1536, 2**20, 150 * 2**20, 2**41)] == [
        "0 B", "1,023 B", "1.5 KiB", "1 MiB", "150 MiB", "2,048 GiB",
    ]  # fmt: skip
