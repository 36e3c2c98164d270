"""The page: whole, safe, self-contained."""

import re

import pytest

from jorip.core.errors import ConfigError
from jorip.report import write
from jorip.report.scores import keep_scores
from jorip.report.write import NO_FONT, write_report
from tests.report.runs import SOURCE, TARGET, events, write_run


def test_one_page_and_its_pictures(tmp_path):
    run = write_run(tmp_path / "dates")
    keep_scores(run, "test", {"exact_match": 0.98765, "signature": "nrefs:1"})
    made = write_report(run)
    assert made.html == run / "report.html"
    names = {p.name for p in made.pngs}
    assert names == {"loss.png", "metric-exact-match.png", "learning-rate.png", "gradient-norm.png",
                     "tokens-per-second.png", "alignment-1.png"}  # fmt: skip
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in made.pngs)
    text = made.html.read_text(encoding="utf-8")
    for word in (SOURCE, TARGET, "0.98765", "finished (steps)", "exact match", "학습 곡선", "seed: 0", "nrefs:1"):
        assert word in text


def test_nothing_is_fetched_and_nothing_runs(tmp_path):
    text = write_report(write_run(tmp_path)).html.read_text(encoding="utf-8")
    assert not re.search(r"(?i)(?<![-\w])(https?:|ftp:|//[a-z])", text)
    assert not re.search(r"(?i)<(script|link|iframe|object|embed|img|base|form)\b", text)
    assert not re.search(r"(?i)@import|url\((?!#)", text)
    assert all(value.startswith("#") for value in re.findall(r'(?i)(?:src|href)="([^"]*)"', text))
    assert "default-src 'none'" in text


def test_texts_of_users_are_escaped(tmp_path):
    text = write_report(write_run(tmp_path / "<i>run")).html.read_text(encoding="utf-8")
    assert "<script>alert(1)</script>" not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<title>&lt;i&gt;run</title>" in text


def test_right_and_wrong_predictions_are_marked(tmp_path):
    text = write_report(write_run(tmp_path)).html.read_text(encoding="utf-8")
    assert f"<td class=same>{TARGET}</td>" in text and "<td class=other>a</td>" in text


def test_ids_are_unique(tmp_path):
    text = write_report(write_run(tmp_path)).html.read_text(encoding="utf-8")
    ids = re.findall(r'\sid="([^"]*)"', text)
    assert len(ids) == len(set(ids))


def test_a_run_that_has_just_begun_says_what_is_missing(tmp_path):
    made = write_report(write_run(tmp_path, []))
    assert made.pngs == [] and "no log lines yet" in made.notes[0]
    assert "not finished" in made.html.read_text(encoding="utf-8")


def test_samples_of_any_task(tmp_path):
    lines = events()
    lines[-2]["samples"] = [{"source": "a b", "target": ["X", "Y"], "prediction": ["X", "Z"]}]
    text = write_report(write_run(tmp_path, lines)).html.read_text(encoding="utf-8")
    assert "<td>X Y</td><td class=other>X Z</td>" in text


def test_no_font_is_said_plainly(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "draws_hangul", lambda: False)
    made = write_report(write_run(tmp_path))
    assert made.notes == [NO_FONT] and "fonts-nanum" in NO_FONT
    assert "no font with Hangul was found" in made.html.read_text(encoding="utf-8")


def test_out_elsewhere_and_refused(tmp_path):
    run = write_run(tmp_path / "run")
    made = write_report(run, tmp_path / "deep" / "er" / "page.html")
    assert made.html.is_file() and made.pngs[0].parent == tmp_path / "deep" / "er" / "page"
    with pytest.raises(ConfigError, match=r"so it ends in .html, found"):
        write_report(run, tmp_path / "page.txt")
