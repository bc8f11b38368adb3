"""Text tables."""

from __future__ import annotations

import csv
import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laion_xr.errors import FileFormatError
from laion_xr.readers.tables import parse_table, table_text


def test_a_trial_table() -> None:
    data = b"session\trun\tbeta_index\tlabel\nses-01\t1\t0\ta.jpg\nses-01\t2\t1\tb.jpg\n"
    table = parse_table(data, "t.tsv", "\t")
    assert list(table) == ["session", "run", "beta_index", "label"]
    assert table["run"].dtype == np.int64
    assert table["label"].dtype == np.dtype(object)
    assert table["label"].tolist() == ["a.jpg", "b.jpg"]
    assert table.index.equals(pd.RangeIndex(2))


def test_types_of_columns() -> None:
    data = b"int,real,gaps,missing,flag,text,mixed,empty\n1,1.5,,n/a,True,,1,\n-2,1e3,4,2,False,x,a,\n"
    table = parse_table(data, "t.csv", ",")
    assert {name: str(table[name].dtype) for name in table} == {
        "int": "int64", "real": "float64", "gaps": "float64", "missing": "float64",
        "flag": "bool", "text": "object", "mixed": "object", "empty": "object",
    }  # fmt: skip
    assert table["text"].tolist() == ["", "x"]
    assert table["mixed"].tolist() == ["1", "a"]
    assert table["empty"].tolist() == ["", ""]
    assert np.isnan(table["gaps"][0])
    assert np.isnan(table["missing"][0])


def test_text_that_looks_like_a_missing_value_stays() -> None:
    assert parse_table(b"noun\nNA\ncat\n", "t.csv", ",")["noun"].tolist() == ["NA", "cat"]
    assert parse_table(b"a\n1_000\n2\n", "t.csv", ",")["a"].tolist() == ["1_000", "2"]
    assert parse_table(b"a\n99999999999999999999\n", "t.csv", ",")["a"].tolist() == [1e20]


def test_quotes_and_line_ends() -> None:
    data = b'image,caption\r\na.jpg,"a cat, ""Tom"",\non a mat"\r\n\r\nb.jpg,plain\r\n'
    table = parse_table(data, "c.csv", ",")
    assert table["caption"].tolist() == ['a cat, "Tom",\non a mat', "plain"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "latin-1"])
def test_encodings(encoding: str) -> None:
    data = "name,n\ncafé à Köln,1\n".encode(encoding)
    table = parse_table(data, "t.csv", ",")
    assert list(table) == ["name", "n"]
    assert table["name"].tolist() == ["café à Köln"]


def test_bytes_that_windows_1252_does_not_know() -> None:
    assert parse_table(b"a\nx\x81\xe9\n", "t.csv", ",")["a"].tolist() == ["x\x81é"]


@pytest.mark.parametrize("sep", [",", "\t"])
def test_only_a_header(sep: str) -> None:
    table = parse_table(f"a{sep}b\n".encode(), "t", sep)
    assert table.shape == (0, 2)
    assert list(table) == ["a", "b"]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"a,b\n1,2\n3\n", "line 3: expected 2 cells, found 1"),
        (b"a,b\n1,2,3\n", "line 2: expected 2 cells, found 3"),
        (b'a,b\n1,"open\n', "line 2: not a table that can be read"),
        (b"a,b,a\n1,2,3\n", "several columns of the same name: a"),
        (b"\x89HDF\r\n\x1a\n\0\0\0", "not a text table"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"/annex/objects/MD5E-s1--a.tsv\n", "git annex get"),
    ],
)
def test_bad_tables(data: bytes, match: str) -> None:
    for parse in (parse_table, table_text):
        with pytest.raises(FileFormatError, match=match) as caught:
            parse(data, "s3://b/t.csv", ",")
        assert "s3://b/t.csv" in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_text_of_a_table_is_the_file(encoding: str) -> None:
    text = 'name,said\r\ncafé,"one\ntwo"\r\n'
    assert table_text(text.encode(encoding), "t.csv", ",") == text


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12).map("x{}".format)


@given(st.lists(st.tuples(TEXT, st.integers(-(2**62), 2**62), st.floats(allow_nan=False)), min_size=1, max_size=8))
def test_what_the_csv_module_writes(rows: list[tuple[str, int, float]]) -> None:
    out = io.StringIO(newline="")
    csv.writer(out).writerows([("text", "int", "real"), *rows])
    table = parse_table(out.getvalue().encode(), "t.csv", ",")
    assert table["text"].tolist() == [r[0] for r in rows]
    assert table["int"].tolist() == [r[1] for r in rows]
    assert table["real"].tolist() == [r[2] for r in rows]
