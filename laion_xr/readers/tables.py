"""Parses the text tables of the dataset: trial tables (TSV), metadata and captions (CSV)."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from laion_xr.errors import FileFormatError
from laion_xr.readers.pointers import raise_if_pointer

# what stands for a missing number in the tables of BIDS and pandas
MISSING = frozenset({"", "n/a", "N/A", "NA", "nan", "NaN", "NULL", "None"})
_BOOLS = {"True": True, "False": False, "TRUE": True, "FALSE": False, "true": True, "false": False}


def parse_table(data: bytes, name: str, sep: str, text: Collection[str] = ()) -> pd.DataFrame:
    r"""Parse a table with a header line.

    Parameters
    ----------
    data
        The whole file: UTF-8 with or without a byte order mark, else taken for Windows-1252 (or Latin-1).
    name
        Full address of the file, for messages.
    sep
        What separates the cells: `","` or `"\t"`.
    text
        Columns whose cells stay text, whatever they look like.

    Returns
    -------
    A column of integers, real numbers (a missing one is NaN) or booleans where every cell is one; any other
    column holds `str` (dtype object), a missing cell is `""`.

    Raises
    ------
    FileFormatError
        The file is empty, or a pointer, or not a table.

    Examples
    --------
    >>> parse_table(b"label\trun\na.jpg\t1\n", "trials.tsv", "\t")["run"].tolist()
    [1]
    """
    _, names, rows = _cells(data, name, sep)
    columns = zip(*rows, strict=True) if rows else ((),) * len(names)
    return pd.DataFrame(
        {
            n: pd.Series(list(cells), dtype=object) if n in text else _column(cells)
            for n, cells in zip(names, columns, strict=True)
        }
    )


def table_text(data: bytes, name: str, sep: str) -> str:
    """Return the text of a table that is whole: for who wants it parsed by another parser.

    Parameters and errors are those of `parse_table`: what it refuses is refused here.
    """
    return _cells(data, name, sep)[0]


def _cells(data: bytes, name: str, sep: str) -> tuple[str, list[str], list[list[str]]]:
    """Return the text of a table, the names of its columns, and its rows; as many cells in each."""
    raise_if_pointer(data[:512], name)
    if b"\0" in data[:4096]:
        raise FileFormatError(f"{name} is not a text table: it holds binary data. Download it again.")
    decoded = _decode(data)
    reader = csv.reader(io.StringIO(decoded, newline=""), delimiter=sep, strict=True)
    try:
        names = [cell.strip() for cell in next(reader, [])]
        rows = []
        for row in reader:
            if len(row) != len(names):
                if not row:  # an empty line
                    continue
                raise FileFormatError(
                    f"{name}, line {reader.line_num}: expected {len(names)} cells, found {len(row)}. "
                    "The table is truncated or damaged: download it again."
                )
            rows.append(row)
    except csv.Error as error:
        raise FileFormatError(
            f"{name}, line {reader.line_num}: not a table that can be read ({error}). Download it again."
        ) from None
    if not any(names):
        raise FileFormatError(f"{name} is empty: expected a table with a header line. Download it again.")
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise FileFormatError(f"{name} has several columns of the same name: {', '.join(twice)}.")
    return decoded, names, rows


def _decode(data: bytes) -> str:
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def _column(cells: tuple[str, ...]) -> pd.Series[Any]:
    distinct = set(cells)
    known = distinct - MISSING
    if known and known == distinct and known <= _BOOLS.keys():
        return pd.Series([_BOOLS[c] for c in cells], dtype=bool)
    if known and all(_is_number(c) for c in known):
        if known == distinct:
            try:
                return pd.Series(np.array([int(c) for c in cells], dtype=np.int64))
            except (ValueError, OverflowError):
                pass
        return pd.Series(np.array([np.nan if c in MISSING else float(c) for c in cells]))
    return pd.Series(list(cells), dtype=object)


def _is_number(cell: str) -> bool:
    # float() also takes "1_000", which no table writer means as a number
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell
