"""Charts are valid, small, and show every script."""

import pytest

from jorip.report.charts import LONGEST, alignment, curves, visible, width
from jorip.report.draw import draws_hangul, has_hangul, png, svg
from tests.report.runs import alignment as sample


def test_curves_have_a_line_per_series():
    text = svg(curves("loss", {"training": [(1, 2.0), (2, 1.0)], "validation": [(2, 1.5)]}), "loss")
    assert text.startswith("<svg") and "training" in text and "validation" in text


@pytest.mark.parametrize("values", [[(10, 0.294)], [(10, 0.0), (20, 0.0)], [(10, -3.0), (20, -3.0)]])
def test_equal_values_still_get_an_axis_with_room(values):
    low, high = curves("x", {"validation": values})["encoding"]["y"]["scale"]["domain"]
    assert low < values[0][1] < high


def test_a_map_labels_every_token_even_repeated_ones():
    made = sample()
    text = svg(alignment("a title", made["alignment"], made["source_tokens"], made["prediction_tokens"]), "a")
    for token in ("년", "월", "일", "␣", "eos"):
        assert token in text
    assert text.count(">2</text>") >= 2


def test_long_maps_are_cut_and_say_so():
    n = LONGEST + 5
    chart = alignment("t", [[1 / n] * n] * n, ["가"] * n, ["b"] * n)
    assert f"first {LONGEST} x {LONGEST} of {n} x {n} tokens" in chart["title"]
    assert len(chart["data"]["values"]) == LONGEST**2


def test_tokens_are_data_not_expressions():
    evil = ['"]; throw 1; ["', "\\", "'", "\u2028", "</svg><script>"]
    text = svg(alignment("t", [[0.2] * 5], evil, ["x"]), "a")
    assert "<script>" not in text and "&lt;script&gt;" in text


@pytest.mark.parametrize(
    ("token", "shown"), [(" ", "␣"), ("<eos>", "eos"), ("\x07", "·"), ("a b", "a␣b"), ("", ""), ("<3>", "<3>")]
)
def test_visible(token, shown):
    assert visible(token) == shown


def test_hangul_is_wide():
    assert width("가a") == 3


def test_svg_is_made_for_a_page_with_many():
    chart = curves("loss", {"training": [(1, 2.0), (2, 1.0)]})
    first, second = svg(chart, "first"), svg(chart, "second")
    assert "http" not in first and "xmlns" not in first
    assert first.replace("first-", "") == second.replace("second-", "")


def test_pngs_show_hangul_where_a_font_is_found(tmp_path):
    for letter in "가나":
        png(alignment(letter, [[1.0]], [letter], [letter]), tmp_path / f"{letter}.png")
    first, second = ((tmp_path / f"{letter}.png").read_bytes() for letter in "가나")
    assert first.startswith(b"\x89PNG\r\n")
    assert (first != second) == draws_hangul()


def test_has_hangul():
    assert has_hangul("2026년") and has_hangul("ㅋㅋ") and not has_hangul("日 é 4")
