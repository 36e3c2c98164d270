"""Every format, every way in which a file can be wrong, and the texts of the errors."""

import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jorip.core.errors import ConfigError, DataError
from jorip.data.quarantine import Quarantine
from jorip.data.readers import read_all, read_rows
from jorip.data.source import Source


def write(folder, name, content, zipped=False):
    raw = content if isinstance(content, bytes) else content.encode("utf-8")
    (folder / name).write_bytes(gzip.compress(raw) if zipped else raw)
    return name


def rows(folder, source, roles=("text", "label"), quarantine=None, **more):
    source = {"path": source} if isinstance(source, str) else source
    return read_all(Source.parse(source), roles, base=folder, quarantine=quarantine, **more)


# formats


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_tsv_with_header(tmp_path, zipped, end, bom):
    text = bom + end.join(["id\ttext\tlabel", '1\t"안녕\t좋음', "2\tb\tc"]) + end
    name = write(tmp_path, "a.tsv" + ".gz" * zipped, text, zipped)
    assert rows(tmp_path, name) == [
        {"text": '"안녕', "label": "좋음", "row": 2},
        {"text": "b", "label": "c", "row": 3},
    ]


def test_columns_by_number_and_other_names(tmp_path):
    name = write(tmp_path, "a.tsv", "x\ty\nz\tw\n")
    assert rows(tmp_path, {"path": name, "header": False})[0] == {"text": "x", "label": "y", "row": 1}
    swapped = {"path": name, "header": False, "columns": {"text": 1, "label": 0}}
    assert rows(tmp_path, swapped)[1] == {"text": "w", "label": "z", "row": 2}
    renamed = {"path": name, "columns": {"text": "y", "label": "x"}}
    assert rows(tmp_path, renamed) == [{"text": "w", "label": "z", "row": 2}]
    mixed = {"path": name, "header": True, "columns": {"text": 1, "label": 0}}
    assert rows(tmp_path, mixed) == [{"text": "w", "label": "z", "row": 2}]


def test_csv_quotes_and_line_breaks_in_fields(tmp_path):
    name = write(tmp_path, "a.csv", 'text,label\r\n"a, ""b""\r\nc",1\r\n\r\nd,2\r\n')
    assert rows(tmp_path, name) == [
        {"text": 'a, "b"\nc', "label": "1", "row": 2},
        {"text": "d", "label": "2", "row": 5},
    ]
    long = "x" * 500_000
    assert rows(tmp_path, write(tmp_path, "c.csv", f"text,label\n{long},1\n"))[0]["text"] == long
    assert rows(tmp_path, {"path": write(tmp_path, "b.csv", 'text,label\n"a,1\n'), "quoting": False})[0]["text"] == '"a'


def test_jsonl_values(tmp_path):
    lines = [{"text": "가", "label": 1}, {"text": "나", "label": True, "more": {}}, {"text": "다", "label": 0.5}]
    name = write(tmp_path, "a.jsonl", "\n".join(json.dumps(x) for x in lines) + "\n\n")
    assert [r["label"] for r in rows(tmp_path, name)] == ["1", "true", "0.5"]
    name = write(tmp_path, "b.jsonl", '{"w": ["a", "b"], "t": ["X", 2]}\n')
    source = {"path": name, "columns": {"words": "w", "tags": "t"}}
    found = rows(tmp_path, source, ("words", "tags"), lists=("words", "tags"))
    assert found == [{"words": ["a", "b"], "tags": ["X", "2"], "row": 1}]


def test_lists_from_spaces(tmp_path):
    name = write(tmp_path, "a.tsv", "words\ttags\nI am\tPRON AUX\n")
    assert rows(tmp_path, name, ("words", "tags"), lists=("words", "tags"))[0]["tags"] == ["PRON", "AUX"]


CONLLU = """# sent_id = 1
1-2\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tdo\tdo\tAUX\tVBP\t_\t0\troot\t_\t_
2\tn't\tnot\tPART\tRB\t_\t1\tadvmod\t_\t_
2.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t1:x\t_

# sent_id = 2
1\t간다\t가다\tVERB\tVV\t_\t0\troot\t_\t_"""


def test_conllu_skips_ranges_and_empty_nodes(tmp_path):
    name = write(tmp_path, "a.conllu", CONLLU)
    found = rows(tmp_path, name, ("words", "tags"), lists=("words", "tags"))
    assert found == [
        {"words": ["do", "n't"], "tags": ["AUX", "PART"], "row": 2},
        {"words": ["간다"], "tags": ["VERB"], "row": 8},
    ]
    xpos = {"path": name, "columns": {"tags": "xpos", "words": 2}}
    assert rows(tmp_path, xpos, ("words", "tags"), lists=("words", "tags"))[1]["tags"] == ["VV"]
    with pytest.raises(ConfigError, match=r"no column 'upso' \(for tags\); did you mean 'upos'\?"):
        rows(tmp_path, {"path": name, "columns": {"tags": "upso"}}, ("words", "tags"), lists=("words", "tags"))


def test_text_by_line_and_whole(tmp_path):
    name = write(tmp_path, "a.txt", "하나\n\n둘\r\n셋 ")
    assert [r["text"] for r in rows(tmp_path, name, ("text",))] == ["하나", "둘", "셋 "]
    assert rows(tmp_path, {"path": name, "unit": "file"}, ("text",))[0]["text"] == "하나\n\n둘\n셋 "
    name = write(tmp_path, "b.txt", "0123456789")
    halves = [rows(tmp_path, {"path": name, "unit": "file", "span": s}, ("text",)) for s in ([0, 0.9], [0.9, 1])]
    assert [h[0]["text"] for h in halves] == ["012345678", "9"]
    with pytest.raises(ConfigError, match="plain text has one column, but text, label are needed"):
        rows(tmp_path, name)


def test_parallel_files(tmp_path):
    write(tmp_path, "a.en.gz", "one\ntwo\n", zipped=True)
    write(tmp_path, "a.ko", "하나\n둘\n")
    source = {"paths": {"source": "a.en.gz", "target": "a.ko"}}
    assert rows(tmp_path, source, ("source", "target"))[1] == {"source": "two", "target": "둘", "row": 2}
    write(tmp_path, "a.ko", "하나\n둘\n셋\n")
    with pytest.raises(DataError, match="equally many lines; source has 2, target has 3"):
        rows(tmp_path, source, ("source", "target"))
    with pytest.raises(ConfigError, match="paths has source, target, but needed is text"):
        rows(tmp_path, source, ("text",))


def test_take_and_drop_are_complements_also_with_bad_rows(tmp_path):
    lines = [f"t{i}\t{i}" if i % 7 else "bad" for i in range(1, 101)]
    name = write(tmp_path, "a.tsv", "text\tlabel\n" + "\n".join(lines))
    stride = {"every": 10, "offset": 3}
    counts = [Quarantine(), Quarantine()]
    taken = rows(tmp_path, {"path": name, "take": stride, "bad_rows": 0.5}, quarantine=counts[0])
    left = rows(tmp_path, {"path": name, "drop": stride, "bad_rows": 0.5}, quarantine=counts[1])
    everything = rows(tmp_path, {"path": name, "bad_rows": 0.5})
    assert sorted(taken + left, key=lambda r: r["row"]) == everything
    assert counts[0].total + counts[1].total == 14
    assert len(taken) + counts[0].total == 10
    assert len(rows(tmp_path, {"path": name, "limit": 5})) == 5


def test_encodings(tmp_path):
    for encoding in ("cp949", "euc-kr", "utf-16", "utf-16-le", "utf-8-sig"):
        name = write(tmp_path, "a.tsv", "text\tlabel\n안녕\t1\n".encode(encoding))
        assert rows(tmp_path, {"path": name, "encoding": encoding})[0]["text"] == "안녕"


def test_optional_columns(tmp_path):
    name = write(tmp_path, "a.tsv", "text\tlabel\nx\t1\ny\t\n")
    assert rows(tmp_path, name, ("text",), optional=("label", "other")) == [
        {"text": "x", "label": "1", "row": 2},
        {"text": "y", "row": 3},
    ]


# what is wrong with files


def test_missing_files_are_named_with_what_is_near(tmp_path):
    write(tmp_path, "train.tsv", "text\tlabel\nx\t1\n")
    with pytest.raises(DataError, match=r"trian.tsv: no such file in .*; did you mean 'train.tsv'\?"):
        rows(tmp_path, "trian.tsv")
    with pytest.raises(DataError, match=r"no such file, and no folder"):
        rows(tmp_path, "nowhere/x.tsv")
    with pytest.raises(DataError, match="cannot be a file"):
        rows(tmp_path, "x" * 5000 + ".tsv")
    (tmp_path / "d.tsv").mkdir()
    with pytest.raises(DataError, match="is a folder; name one file in it"):
        rows(tmp_path, "d.tsv")


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl", "a.conllu", "a.tsv.gz"])
def test_empty_files(tmp_path, name):
    write(tmp_path, name, "", name.endswith("gz"))
    roles = ("words", "tags") if "conllu" in name else ("text", "label")
    with pytest.raises(DataError, match=r"is empty|has no rows"):
        rows(tmp_path, name, roles, lists=roles if "conllu" in name else ())
    write(tmp_path, "only-header.tsv", "text\tlabel\n")
    with pytest.raises(DataError, match="has no rows"):
        rows(tmp_path, "only-header.tsv")


def test_wrong_columns(tmp_path):
    name = write(tmp_path, "a.tsv", "document\tlabel\nx\t1\n")
    with pytest.raises(DataError, match=r"no column 'text'; the columns are 'document', 'label'; say which one it is"):
        rows(tmp_path, name)
    with pytest.raises(DataError, match=r"no column 'documnet' \(for text\); .*did you mean 'document'\?"):
        rows(tmp_path, {"path": name, "columns": {"text": "documnet"}})
    with pytest.raises(DataError, match=r"columns.text is 7, but there are 2 columns, 0 to 1"):
        rows(tmp_path, {"path": name, "columns": {"text": 7, "label": 1}, "header": False})
    with pytest.raises(DataError, match=r"is a name, 'document', but header is false; give its number"):
        rows(tmp_path, {"path": name, "columns": {"text": "document"}, "header": False})
    with pytest.raises(DataError, match=r"cannot tell whether its first line \('a', 'b'\) is a header"):
        rows(tmp_path, write(tmp_path, "b.tsv", "a\tb\nc\td\n"))
    with pytest.raises(DataError, match=r"which of its 3 columns is text\? There is no header"):
        rows(tmp_path, {"path": write(tmp_path, "c.tsv", "a\tb\tc\n"), "header": False})
    with pytest.raises(DataError, match="2 columns are called 'text'; give the number"):
        rows(tmp_path, write(tmp_path, "d.tsv", "text\ttext\tlabel\na\tb\tc\n"))
    with pytest.raises(DataError, match="seem to be separated by ';'"):
        rows(tmp_path, {"path": write(tmp_path, "e.csv", "text;label\na;b\n"), "header": True})
    with pytest.raises(DataError, match=r"no column 'text'; the columns are 'txt', 'label'; did you mean 'txt'\?"):
        rows(tmp_path, write(tmp_path, "f.jsonl", '{"txt": "a", "label": 1}\n'))


def test_damaged_gzip(tmp_path):
    packed = gzip.compress(("text\tlabel\n" + "x\t1\n" * 5000).encode())
    (tmp_path / "a.tsv.gz").write_bytes(packed[:-20])
    with pytest.raises(DataError, match="gzip file is damaged or cut off"):
        rows(tmp_path, "a.tsv.gz")
    (tmp_path / "b.tsv.gz").write_bytes(packed[:30] + bytes(10) + packed[40:])
    with pytest.raises(DataError, match="gzip file is damaged or cut off"):
        rows(tmp_path, "b.tsv.gz")
    write(tmp_path, "c.tsv.gz", "text\tlabel\nx\t1\n")
    with pytest.raises(DataError, match=r"ends in .gz but is not a gzip file"):
        rows(tmp_path, "c.tsv.gz")


def test_utf16_without_saying_so(tmp_path):
    write(tmp_path, "a.tsv", "text\tlabel\nx\t1\n".encode("utf-16"))
    with pytest.raises(DataError, match=r"starts with a UTF-16 mark \(ff fe\); set encoding: utf-16"):
        rows(tmp_path, "a.tsv")


def test_cp949_read_as_utf8_names_line_and_encoding(tmp_path):
    good = "좋아요\t1\n".encode() * 300
    write(tmp_path, "a.tsv", b"text\tlabel\n" + good + "안녕하세요\t1\n".encode("cp949") + good)
    quarantine = Quarantine()
    assert len(rows(tmp_path, "a.tsv", quarantine=quarantine)) == 600
    (bad,) = quarantine.rows
    assert bad.line == 302
    assert bad.why.startswith("not valid utf-8: byte 0xbe at character 1; as cp949 it reads '안녕하세요")
    write(tmp_path, "b.tsv", "text\tlabel\n안녕\t1\n".encode("cp949"))
    with pytest.raises(DataError, match=r"(?s)1 of 1 rows are bad.*line 2: not valid utf-8.*set encoding: cp949"):
        rows(tmp_path, "b.tsv")


BAD = {
    "columns": ("one\n", "1 columns instead of 2"),
    "more": ("a\tb\tc\n", "3 columns instead of 2"),
    "nul": ("a\0\tb\n", "NUL character at 2"),
    "empty": ("\tb\n", "empty text"),
    "blank": ("a\t \n", "empty label"),
    "long": ("a" * (1 << 20) + "bbbb\tc\n", "line longer than 1048576 characters"),
    "bytes": (b"\xff\t1\n", "not valid utf-8: byte 0xff at character 1"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_rows_are_put_aside(tmp_path, kind):
    line, why = BAD[kind]
    good = b"x\t1\n" * 100
    raw = line if isinstance(line, bytes) else line.encode()
    write(tmp_path, "a.tsv", b"text\tlabel\n" + good + raw + good)
    quarantine = Quarantine(tmp_path / "run" / "quarantine.jsonl")
    assert len(rows(tmp_path, "a.tsv", quarantine=quarantine)) == 200
    quarantine.write()
    (entry,) = (json.loads(x) for x in (tmp_path / "run/quarantine.jsonl").read_text(encoding="utf-8").splitlines())
    assert (entry["file"], entry["line"]) == ("a.tsv", 102)
    assert why in entry["why"] and len(entry["text"]) <= 200


@pytest.mark.parametrize(
    "line, why",
    [
        ("{", "not JSON"),
        ("[1]", "a JSON list instead of an object"),
        ('{"text": "a"}', "no key 'label'"),
        ('{"text": {"x": 1}, "label": 1}', "'text' is nested"),
        ('{"text": ["a"], "label": 1}', "text is a list; it must be one text"),
        ('{"text": null, "label": 1}', "empty text"),
        ('{"text": "\\ud800", "label": 1}', "half a surrogate pair"),
        ('{"text": "a\\u0000", "label": 1}', "NUL character"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_bad_json_rows(tmp_path, line, why):
    good = '{"text": "a", "label": 0}\n' * 200
    quarantine = Quarantine()
    assert len(rows(tmp_path, write(tmp_path, "a.jsonl", good + line + "\n"), quarantine=quarantine)) == 200
    assert why in quarantine.rows[0].why and quarantine.rows[0].line == 201


def test_bad_conllu_sentence(tmp_path):
    good = "1\ta\ta\tX\t_\t_\t0\t_\t_\t_\n\n" * 150
    bad = "1\ta\ta\tX\t_\t_\t0\t_\t_\t_\n2\tb\tX\n3\tc\n\n"
    quarantine = Quarantine()
    found = rows(
        tmp_path, write(tmp_path, "a.conllu", good + bad), ("words", "tags"), quarantine, lists=("words", "tags")
    )
    assert len(found) == 150
    assert quarantine.rows[0].why == "line 302: 3 columns instead of 10"


def test_unclosed_quote_counts_every_line_it_swallows(tmp_path):
    text = "text,label\n" + "a,1\n" * 50 + '"b,1\n' + "c,1\n" * 30
    with pytest.raises(DataError, match=r"31 of 81 rows are bad, 1% allowed(?s:.*)line 52: quotes: .*lines 52 to 82"):
        rows(tmp_path, write(tmp_path, "a.csv", text))


def test_too_many_bad_rows_show_the_first_three_and_are_on_disk(tmp_path):
    text = "text\tlabel\n" + "x\t1\n" * 90 + "bad\n" * 10
    write(tmp_path, "a.tsv", text)
    path = tmp_path / "quarantine.jsonl"
    with pytest.raises(DataError) as error:
        rows(tmp_path, "a.tsv", quarantine=Quarantine(path))
    assert "10 of 100 rows are bad, 1% allowed" in str(error.value)
    assert [n for n in range(80, 110) if f"line {n}:" in str(error.value)] == [92, 93, 94]
    assert "bad_rows" in str(error.value)
    assert len(path.read_text(encoding="utf-8").splitlines()) == 10
    assert len(rows(tmp_path, {"path": "a.tsv", "bad_rows": 0.1})) == 90
    assert len(rows(tmp_path, {"path": "a.tsv", "bad_rows": 10})) == 90


def test_a_wrong_format_is_given_up_early(tmp_path):
    write(tmp_path, "a.jsonl", '{"text": "a", "label": 1}\n' + "no json\n" * 100_000)
    quarantine = Quarantine()
    with pytest.raises(DataError, match="100 of 101 rows are bad"):
        rows(tmp_path, "a.jsonl", quarantine=quarantine)


def test_parallel_blank_line_is_a_bad_row(tmp_path):
    write(tmp_path, "a.en", "one\n" * 200 + "\n")
    write(tmp_path, "a.ko", "하나\n" * 201)
    quarantine = Quarantine()
    source = {"paths": {"source": "a.en", "target": "a.ko"}}
    assert len(rows(tmp_path, source, ("source", "target"), quarantine)) == 200
    assert quarantine.rows[0].why == "empty source"


# whatever the bytes are

ANY = st.one_of(
    st.binary(max_size=300),
    st.lists(
        st.sampled_from([b"\t", b"\n", b'"', b",", b"a", b"\xea\xb0\x80", b"\xff", b"\0", b"{", b"}", b"1", b"\r"])
    ).map(b"".join),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    raw=ANY,
    name=st.sampled_from(["a.tsv", "a.csv", "a.jsonl", "a.conllu", "a.txt", "a.tsv.gz"]),
    encoding=st.sampled_from(["utf-8", "cp949", "utf-16", "latin-1", "shift_jis", "utf-7", "iso2022_kr"]),
    header=st.sampled_from([True, False, "auto"]),
    unit=st.sampled_from(["line", "file"]),
    zipped=st.booleans(),
)
def test_no_bytes_raise_anything_but_data_errors(tmp_path, raw, name, encoding, header, unit, zipped):
    write(tmp_path, name, raw, zipped)
    roles = ("text",) if name == "a.txt" else ("words", "tags") if "conllu" in name else ("text", "label")
    lists = roles if "conllu" in name else ()
    source = Source.parse({"path": name, "encoding": encoding, "header": header, "unit": unit, "bad_rows": 1000})
    quarantine = Quarantine(tmp_path / "q.jsonl")
    try:
        for row in read_rows(source, roles, lists=lists, base=tmp_path, quarantine=quarantine):
            assert row["row"] >= 1
            assert all(row[role] for role in roles)
            for value in row.values():
                for text in value if isinstance(value, list) else [value]:
                    str(text).encode("utf-8")  # no half character gets through
    except DataError:
        pass
    quarantine.write()
