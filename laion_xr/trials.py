"""The trial table of a subject: one row a trial, sessions in order, with what the metadata say of the stimulus.

pandas only. Rows are those of the sessions' tables, in the order of the volumes.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from laion_xr.errors import IncompleteDataWarning, TrialTableError
from laion_xr.readers.tables import parse_table
from laion_xr.schema import FIELDS, TRIAL_COLUMNS

UNKNOWN_TEXT, UNKNOWN_NUMBER = "", -1

# "shared_12rep_LAION_cluster_1003_i0.jpg", "unique_LAION_initial_cluster_2817_i38_p01.jpg"
_NAME = re.compile(r"(?P<group>shared|unique)_(?:\d+rep_)?(?P<dataset>[A-Za-z]+)")


def parse_trials(data: bytes, session: str, name: str) -> pd.DataFrame:
    """Return a session's trial table with the Dataset's column names.

    Parameters
    ----------
    data
        The `.tsv` file.
    name
        Its address, for messages.

    Raises
    ------
    TrialTableError
        No column `label`, a number that is not one, or rows in another order than the volumes.
    """
    table = _renamed(parse_table(data, name, sep="\t"))
    if "stimulus" not in table:
        raise TrialTableError(
            f"{name} is not a trial table: expected a column 'label' (the image's file name), found "
            f"{', '.join(map(str, table.columns)) or 'no column'}; download it again."
        )
    table["stimulus"] = table["stimulus"].fillna(UNKNOWN_TEXT).astype(str).astype(object)
    table["session"] = np.full(len(table), session, dtype=object)
    table["session_trial"] = np.arange(len(table))
    for column in ("run", "beta_index"):
        table[column] = _whole_numbers(table, column, name)
    order = table["beta_index"].to_numpy()
    if len(order) and not (np.diff(order) > 0).all() and np.array_equal(np.sort(order), np.arange(len(order))):
        first = int(np.flatnonzero(order != np.arange(len(order)))[0])
        raise TrialTableError(
            f"{name} is not in the order of the volumes: expected beta_index {first} in row {first}, found "
            f"{order[first]}; sort the table by beta_index, or download it again."
        )
    return table


def unknown_trials(session: str, n_trials: int) -> pd.DataFrame:
    """Return the table of a session of which only the number of trials is known."""
    columns = {
        "session": np.full(n_trials, session, dtype=object),
        "run": np.full(n_trials, UNKNOWN_NUMBER),
        "beta_index": np.arange(n_trials),
        "stimulus": np.full(n_trials, UNKNOWN_TEXT, dtype=object),
        "session_trial": np.arange(n_trials),
    }
    return pd.DataFrame(columns)


def full_table(tables: Sequence[pd.DataFrame], metadata: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the trials of all sessions in order, with `trial`, `repetition` and the stimulus metadata.

    Parameters
    ----------
    tables
        One a session, as `parse_trials` and `unknown_trials` return them.
    metadata
        The stimulus metadata, or None: then the names' prefixes tell what they can.
    """
    table = pd.concat(tables, ignore_index=True)
    table["trial"] = np.arange(len(table))
    known = table["stimulus"] != UNKNOWN_TEXT
    table["repetition"] = np.where(known, table.groupby("stimulus", sort=False).cumcount(), 0)
    return table.assign(**stimulus_columns(table["stimulus"].to_numpy(), metadata))


def stimulus_columns(
    names: npt.NDArray[np.object_], metadata: pd.DataFrame | None
) -> dict[str, npt.NDArray[np.generic]]:
    """Return `stimulus_index`, `unique_or_shared` and `dataset` of each name, `(len(names),)`."""
    codes, distinct = pd.factorize(names)
    prefix = [_NAME.match(str(name)) for name in distinct]
    group = np.array([m["group"] if m else UNKNOWN_TEXT for m in prefix], dtype=object)
    dataset = np.array([m["dataset"] if m else UNKNOWN_TEXT for m in prefix], dtype=object)
    row = np.full(len(distinct), UNKNOWN_NUMBER)
    if metadata is not None:
        row = stimulus_rows(metadata, distinct)
        for column, values in (("unique_or_shared", group), ("dataset", dataset)):
            if column in metadata:
                known = metadata[column].to_numpy()[row]
                use = (row >= 0) & ~pd.isna(known) & (known != UNKNOWN_TEXT)
                values[use] = known[use].astype(str)
    columns = {"stimulus_index": row, "unique_or_shared": group, "dataset": dataset}
    return {name: np.asarray(values)[codes].astype(FIELDS[name].dtype) for name, values in columns.items()}


def stimulus_rows(metadata: pd.DataFrame, names: Sequence[str] | npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
    """Return the metadata row of each name, -1 where there is none; the first of several."""
    index = pd.Index(metadata["image_name"].astype(object))
    if not index.is_unique:
        keep = ~index.duplicated()
        rows = np.flatnonzero(keep)
        found = index[keep].get_indexer(names)
        return np.where(found >= 0, rows[found], UNKNOWN_NUMBER)
    return np.asarray(index.get_indexer(names))


def check_count(n_rows: int, n_volumes: int, table: str, betas: str) -> None:
    """Raise where a trial table has not one row a volume.

    Raises
    ------
    TrialTableError
        With both counts and both files.
    """
    if n_rows != n_volumes:
        more = "too few" if n_rows < n_volumes else "too many"
        raise TrialTableError(
            f"{table} has {more} rows: expected {n_volumes}, one for each volume of {betas}, found {n_rows}; "
            "download both again."
        )


def offsets(tables: Mapping[str, pd.DataFrame]) -> dict[str, int]:
    """Return the position of each session's first trial in the full table."""
    starts = np.cumsum([0, *(len(t) for t in tables.values())])
    return dict(zip(tables, starts[:-1].tolist(), strict=True))


def warn_without_table(subject: str, session: str, path: str) -> None:
    """Warn that the trials of a session have no labels."""
    warnings.warn(
        f"{subject} {session} has betas and no trial table that can be read ({path}): its trials are there with "
        "stimulus '' and run -1; download the table to label them.",
        IncompleteDataWarning,
        stacklevel=2,
    )


def _renamed(table: pd.DataFrame) -> pd.DataFrame:
    # a column of the table that is called as something that the Dataset makes itself is kept under another name
    ours = set(FIELDS) - {"session", "run", "beta_index"}
    if not set(TRIAL_COLUMNS) & set(table.columns):
        ours -= set(TRIAL_COLUMNS.values())
    return table.rename(columns={n: f"table_{n}" for n in table.columns if n in ours} | TRIAL_COLUMNS)


def _whole_numbers(table: pd.DataFrame, column: str, name: str) -> npt.NDArray[np.int64]:
    if column not in table:
        return np.arange(len(table)) if column == "beta_index" else np.full(len(table), UNKNOWN_NUMBER)
    numbers = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    wrong = ~np.isfinite(numbers) | (numbers != np.round(np.nan_to_num(numbers)))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise TrialTableError(
            f"{name} has a {column} that is not a whole number in row {row}: {table[column].iloc[row]!r}; "
            "download it again."
        )
    return numbers.astype(np.int64)
