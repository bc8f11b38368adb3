"""The text tables as the published loader returns them: just as pandas reads them, once they are known to be whole."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pandas as pd

from laion_xr.errors import FileFormatError, describe_names
from laion_xr.location import FileEntry, Location
from laion_xr.readers.tables import table_text


def published_table(
    location: Location, file: FileEntry | str, what: str, columns: Sequence[str] = (), sep: str = ","
) -> pd.DataFrame:
    """Return a table with the columns and types that pandas gives it.

    The same files are refused as by the tables of a Dataset, whose encodings are understood too.

    Parameters
    ----------
    location
        The root of the dataset.
    file
        The file, or its relative path.
    what
        What is in it, for messages.
    columns
        Columns that it must have.
    sep
        What separates the cells.

    Raises
    ------
    DataNotDownloadedError
        It is not there.
    FileFormatError
        It is empty, binary, truncated, a pointer, or lacks a column (a `ValueError`).
    """
    name = location.show(file if isinstance(file, str) else file.path)
    text = table_text(location.read_bytes(file), name, sep)
    try:
        table = pd.read_csv(io.StringIO(text, newline=""), sep=sep)
    except ValueError as error:  # those of pandas' parser are
        raise FileFormatError(f"{name} is not a table that pandas can read ({error}); download it again.") from None
    return with_columns(table, columns, name, what)


def with_columns(table: pd.DataFrame, columns: Sequence[str], name: str, what: str) -> pd.DataFrame:
    """Return a table that has these columns; raises `FileFormatError` where it has not."""
    missing = [column for column in columns if column not in table]
    if missing:
        raise FileFormatError(
            f"{name} is not the table of {what}: expected a column {missing[0]!r}, found "
            f"{describe_names(table.columns)}; download it again."
        )
    return table
