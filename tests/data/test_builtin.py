"""dates and stdlib: deterministic, without leaks, unambiguous."""

import calendar
import time
from datetime import date, timedelta

import pytest

from jorip.core.errors import ConfigError, DataError
from jorip.data import dates, stdlib
from jorip.data.builtin import parse_options
from jorip.data.readers import read_all
from jorip.data.source import Source


@pytest.fixture(scope="module")
def made():
    return dates.generate(dates.DatesOptions(train=4000, val=400, test=400))


def test_splits_share_no_date_and_no_held_out_format(made):
    days = {split: {_iso(r) for r in rows} for split, rows in made.items()}
    assert not days["train"] & (days["val"] | days["test"] | days["test_formats"])
    forms = {split: {(r["locale"], r["format"]) for r in rows} for split, rows in made.items()}
    assert not forms["train"] & forms["test_formats"]
    assert forms["test"] <= forms["train"] and forms["val"] <= forms["train"]
    assert len(forms["test_formats"]) >= 20
    assert {len(rows) for rows in made.values()} == {4000, 400}
    assert all(len({r["source"] for r in rows}) == len(rows) for rows in made.values())


def _iso(row):
    digits = row["target"].replace("년 ", "-").replace("월 ", "-").replace("일", "")
    return date(*map(int, digits.split("-"))).isoformat()


def test_both_targets_and_many_scripts(made):
    rows = made["train"]
    assert len({r["locale"] for r in rows}) >= 20
    assert {r["source"].split(":")[0].split(" ")[0] for r in rows} == {"ko", "iso"}
    for row in rows[:200]:
        form = dates.Format(row["locale"], row["format"], "d")
        assert (row["source"].startswith("iso")) == ("-" in row["target"])
        assert form.locale in dates.LOCALES
    text = "".join(r["source"] for r in rows)
    for letters in ("월", "月", "декабря", "Μαΐου", "มกราคม", "يناير", "जनवरी", "במאי"):
        assert letters in text
    assert max(len(r["source"]) for rows in made.values() for r in rows) <= 45
    assert "\u202f" not in text and "\u200f" not in text


def test_examples_are_what_people_write():
    forms = {(f.locale, f.pattern): f for f in sum(dates.formats(), ())}
    day = date(2026, 11, 23)
    assert dates.write(day, forms["de", "EEEE, d. MMMM y"], "ko") == (
        "ko: Montag, 23. November 2026",
        "2026년 11월 23일",
    )
    assert dates.write(day, forms["en_US", "M/d/y"], "iso") == ("iso en-US: 11/23/2026", "2026-11-23")
    assert dates.write(day, forms["ko", "y년 MMMM d일 EEEE"], "iso")[0] == "iso: 2026년 11월 23일 월요일"


def test_no_text_has_two_readings():
    seen = {}
    forms = sum(dates.formats(), ())
    for n in range(0, 400):
        day = date(2023, 1, 1) + timedelta(n)
        for form in forms:
            source, target = dates.write(day, form, "iso")
            assert seen.setdefault(source, target) == target, (source, form)


def test_names_of_held_out_formats_are_in_training():
    seen, held = dates.formats()
    for form in held:
        known = set().union(*(f.fields for f in seen if f.locale == form.locale))
        assert form.fields <= known
        assert form.shape not in {f.shape for f in seen if f.locale == form.locale}
    assert {f.locale for f in seen} == set(dates.LOCALES)


def test_repeatable_and_seeded(made):
    small = dates.DatesOptions(train=50, val=5, test=5)
    dates.generate.cache_clear()
    first = dates.generate(small)
    dates.generate.cache_clear()
    assert dates.generate(small) == first
    assert dates.generate(dates.DatesOptions(train=50, val=5, test=5, seed=1)) != first
    assert [r["source"] for r in first["train"]] == [r["source"] for r in made["train"][:50]]


def test_the_default_size_is_quick():
    dates.generate.cache_clear()
    start = time.perf_counter()
    assert len(dates.generate(dates.DatesOptions())["train"]) == 20_000
    assert time.perf_counter() - start < 15  # 1 s on an idle machine


def test_the_split_of_days():
    days = dates.days()
    total = sum(map(len, days.values()))
    assert total == sum(366 if calendar.isleap(y) else 365 for y in range(1900, 2100))
    assert 0.78 < len(days["train"]) / total < 0.82


def test_reading_builtins():
    source = Source.parse({"builtin": "dates", "split": "val", "options": {"val": 30, "train": 5, "test": 5}})
    found = read_all(source, ("source", "target"), optional=("locale", "label"))
    assert len(found) == 30 and found[3]["row"] == 4 and set(found[0]) == {"source", "target", "locale", "row"}
    some = Source.parse(
        {"builtin": "dates", "split": "val", "options": source.options, "drop": {"every": 3}, "limit": 7}
    )
    assert [r["row"] for r in read_all(some, ("source",))] == [2, 3, 5, 6, 8, 9, 11]
    with pytest.raises(ConfigError, match="builtin dates has no 'text'; it has source, target, locale, format"):
        read_all(source, ("text",))
    for options, message in (
        ({"sed": 1}, r"builtin dates: unknown key 'sed'; did you mean 'seed'\?"),
        ({"train": 0}, "builtin dates.train: .*found 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            read_all(Source.parse({"builtin": "dates", "options": options}), ("source",))


def test_stdlib_splits_by_content(tmp_path):
    for i in range(60):
        (tmp_path / f"m{i:02}.py").write_text(f"x = {i}\n# 주석\n", encoding="utf-8")
    (tmp_path / "copy.py").write_text("x = 0\n# 주석\n", encoding="utf-8")
    (tmp_path / "bad.py").write_bytes(b"# \xff\n")
    (tmp_path / "empty.py").write_text("", encoding="utf-8")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "t.py").write_text("secret\n", encoding="utf-8")
    options = stdlib.StdlibOptions(val=20, test=20)
    found = stdlib.generate(options, str(tmp_path))
    assert sum(map(len, found.values())) == 60 and all(found.values())
    texts = [r["text"] for rows in found.values() for r in rows]
    assert len(set(texts)) == 60 and "secret\n" not in texts
    small = stdlib.generate(stdlib.StdlibOptions(val=20, test=20, megabytes=0.0003), str(tmp_path))
    assert all(small.values()) and sum(map(len, small.values())) < 60
    assert all(small[s] == found[s][: len(small[s])] for s in small)
    with pytest.raises(DataError, match=r"holds no .py files"):
        stdlib.generate(options, str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="builtin stdlib: unknown key 'size'"):
        parse_options("stdlib", {"size": 3})


@pytest.mark.slow
def test_the_real_standard_library():
    rows = {
        s: read_all(Source.parse({"builtin": "stdlib", "split": s}), ("text",), optional=("file",))
        for s in ("train", "val", "test")
    }
    assert sum(len(r["text"]) for r in rows["train"]) > 3_000_000
    files = [r["file"] for found in rows.values() for r in found]
    assert len(files) == len(set(files)) and not any(f.startswith("test/") or "/test/" in f for f in files)
    assert "argparse.py" in files
