"""CoNLL columns: sentences of words with labels."""

import pytest

from jorip.core.errors import ConfigError, DataError
from jorip.data.quarantine import Quarantine
from jorip.data.readers import read_all
from jorip.data.source import Source


def read(tmp_path, text, **more):
    (tmp_path / "a.conll").write_text(text, encoding="utf-8")
    quarantine = Quarantine()
    source = Source(path="a.conll", **more)
    rows = read_all(source, ("words", "tags"), lists=("words", "tags"), base=tmp_path, quarantine=quarantine)
    return [(r["words"], r["tags"], r["row"]) for r in rows], quarantine


def test_two_columns_by_spaces_or_tabs(tmp_path):
    rows, _ = read(tmp_path, "Kim B-PER\nruns O\n\nSeoul\tB-LOC\n")
    assert rows == [(["Kim", "runs"], ["B-PER", "O"], 1), (["Seoul"], ["B-LOC"], 4)]


def test_four_columns_of_conll_2003(tmp_path):
    text = "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nsaid VBD B-VP O\n"
    assert read(tmp_path, text)[0] == [(["EU", "said"], ["B-ORG", "O"], 3)]
    assert read(tmp_path, text, columns={"words": 0, "tags": 1})[0] == [(["EU", "said"], ["NNP", "VBD"], 3)]


def test_letters_with_spaces_and_comments(tmp_path):
    rows, _ = read(tmp_path, "## id-1\t<유:PS> 대\n유\tB-PS\n \tO\n대\tO\n#\tO\n")
    assert rows == [(["유", "대", "#"], ["B-PS", "O", "O"], 2)]


def test_a_line_without_a_label_spoils_its_sentence(tmp_path):
    rows, quarantine = read(tmp_path, "a X\nb\n\nc Y\n", bad_rows=5)
    assert rows == [(["c"], ["Y"], 4)] and quarantine.total == 1
    with pytest.raises(DataError, match="line 2: 1 columns instead of at least 2"):
        read(tmp_path, "a X\nb\n\n" * 3)


def test_columns_have_no_names(tmp_path):
    with pytest.raises(ConfigError, match=r"CoNLL columns have no names: say the number of tags, columns: \{tags: 0\}"):
        read(tmp_path, "a X\n", columns={"tags": "ner"})
