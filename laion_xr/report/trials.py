"""Sections on sessions, trials and images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from laion_xr.errors import SelectionError
from laion_xr.report import figures
from laion_xr.report.page import (
    Block,
    Cell,
    Column,
    Note,
    Table,
    count,
    count_cell,
    number_cell,
    size_cell,
    text_cell,
)
from laion_xr.report.pictures import NARROW, picture
from laion_xr.report.subject import FloatArray, Source
from laion_xr.schema import SES, STIMULUS
from laion_xr.stimuli.table import name_columns

_QUALITY = {"noise_ceiling_session": "noise ceiling", "r2_session": "R²"}
_ALL_KINDS = list(figures.KINDS)
_OOD = _ALL_KINDS[-1]


def sessions_table(source: Source) -> Iterator[Block]:
    """Return a row a session: trials, images, quality, files."""
    rows: dict[str, dict[str, Cell]] = {}
    for session in source.files.sessions if source.files is not None else ():
        rows[session.session] = {
            "Trials": count_cell(session.trials),
            "Runs": count_cell(session.runs),
            "Images": count_cell(session.stimuli),
            "Shared trials": count_cell(session.shared_trials),
            "Size": size_cell(session.size),
            "Missing files": text_cell(", ".join(kind.replace("_", " ") for kind in session.missing)),
        }
    for name in source.files.absent_sessions if source.files is not None else ():
        rows[name] = {"Missing files": text_cell("everything")}
    if source.ds is not None and "session" in source.ds.coords:
        for name, row in _of_dataset(source).items():
            rows[name] = rows.get(name, {}) | row
    if not rows:
        raise SelectionError("no session is here.")
    known = [title for title in _COLUMNS if any(title in row for row in rows.values())]
    numeric = {title: title != "Missing files" for title in known}
    yield Table(
        "sessions-table",
        f"{count(len(rows), 'session')} of {source.name}",
        [Column("Session", False), *(Column(title, numeric[title]) for title in known)],
        [
            [text_cell(name), *(rows[name].get(title, text_cell("")) for title in known)]
            for name in sorted(rows, key=lambda n: (len(n), n))
        ],
    )


def quality(source: Source) -> Iterator[Block]:
    """Return the sessions' own ceilings and R2, as medians and quartiles over voxels."""
    if source.ds is None:
        return
    found = {label: values for name, label in _QUALITY.items() if (values := source.values(name)) is not None}
    if not found:
        yield Note("Not shown: the sessions' quality, as neither their noise ceilings nor their R² maps are here.")
        return
    sessions = [str(name) for name in source.ds[SES].values]
    medians = {label: figures.quartiles(values)[1] for label, values in found.items()}
    ranges = [
        f"median {label} {np.nanmin(m):.1f} to {np.nanmax(m):.1f} %"
        for label, m in medians.items()
        if (~np.isnan(m)).any()
    ]
    yield picture(
        lambda: figures.over_sessions(sessions, found),
        f"Quality by session, {count(len(sessions), 'session')}: {'; '.join(ranges)}.",
        "Medians (dots) and quartiles (lines) over voxels.",
        wide=figures.is_many(sessions),
        narrow=(lambda: figures.over_sessions(sessions, found, NARROW)) if figures.is_many(sessions) else None,
    )


def kinds_by_session(source: Source) -> Iterator[Block]:
    """Return how many trials of unique, shared and out-of-distribution images each session has."""
    table = _trials(source)
    counts = pd.crosstab(table["session"], table["kind"]).reindex(columns=_ALL_KINDS, fill_value=0)
    counts = counts.reindex(table["session"].unique())
    sums = ", ".join(f"{count(int(counts[kind].sum()))} {kind}" for kind in _ALL_KINDS)
    yield picture(
        lambda: figures.stacked(counts, "session", "trials"),
        f"Trials by session and kind of image. In all: {sums}.",
        "Trials of each session: of images that only this subject saw, that all subjects saw, and of shared images out "
        "of distribution.",
        wide=figures.is_many(counts),
        narrow=(lambda: figures.stacked(counts, "session", "trials", NARROW)) if figures.is_many(counts) else None,
    )


def repeats(source: Source) -> Iterator[Block]:
    """Return how often images were shown."""
    table = _trials(source)
    images = table.groupby(STIMULUS, sort=False).agg(shown=("kind", "size"), kind=("kind", "first"))
    counts = pd.crosstab(images["shown"], images["kind"]).reindex(columns=_ALL_KINDS, fill_value=0)
    counts = counts.reindex(range(1, int(images["shown"].max()) + 1), fill_value=0)
    parts = ", ".join(f"{count(int(row.sum()))} shown {n} times" for n, row in counts.iterrows() if row.sum())
    yield picture(
        lambda: figures.stacked(counts, "times shown", "images"),
        f"How often images were shown: {parts}.",
        "How often this subject saw an image, in the sessions that are here.",
        wide=figures.is_many(counts),
        narrow=(lambda: figures.stacked(counts, "times shown", "images", NARROW)) if figures.is_many(counts) else None,
    )


def collections(source: Source) -> Iterator[Block]:
    """Return a row a collection: images and trials."""
    table = _trials(source)
    if "dataset" not in table:
        return
    groups = table.groupby("dataset")
    rows = [
        [
            text_cell(str(name) or "not known"),
            count_cell(group[STIMULUS].nunique()),
            *(count_cell(int((group["kind"] == kind).sum())) for kind in _ALL_KINDS),
            count_cell(len(group)),
        ]
        for name, group in groups
    ]
    columns = ["Images", *(f"Trials, {kind}" for kind in _ALL_KINDS), "Trials"]
    yield Table(
        "collections-table",
        "Collections that the images are from",
        [Column("Collection", False), *map(Column, columns)],
        rows,
    )


_COLUMNS = (
    *("Trials", "Runs", "Images", "Shared trials", "OOD trials", "Unique trials", "Noise ceiling (%)", "R² (%)"),
    *("NaN voxels", "Size", "Missing files"),
)


def _of_dataset(source: Source) -> dict[str, dict[str, Cell]]:
    """Return what the Dataset says of its sessions."""
    ds = source.opened
    table = _trials(source)
    found: dict[str, dict[str, Cell]] = {}
    for name, group in table.groupby("session", sort=False):
        found[str(name)] = {
            "Trials": count_cell(len(group)),
            "Images": count_cell(group[STIMULUS].nunique()),
            "Shared trials": count_cell(int((group["kind"] != "unique").sum())),
            "OOD trials": count_cell(int((group["kind"] == _OOD).sum())),
            "Unique trials": count_cell(int((group["kind"] == "unique").sum())),
        }
        if "run" in table:
            found[str(name)]["Runs"] = count_cell(group["run"].nunique())
    for variable, title in (("noise_ceiling_session", "Noise ceiling (%)"), ("r2_session", "R² (%)")):
        values = source.values(variable)
        if values is not None:
            for name, median in zip(ds[SES].values, figures.quartiles(values)[1], strict=True):
                found.setdefault(str(name), {})[title] = number_cell(float(median))
    r2: FloatArray | None = source.values("r2_session")
    if r2 is not None:
        for name, row in zip(ds[SES].values, r2, strict=True):
            found[str(name)]["NaN voxels"] = count_cell(int(np.isnan(row).sum()))
    return found


def _trials(source: Source) -> pd.DataFrame:
    """Return a row a trial: session, stimulus, kind of image."""
    ds = source.ds
    if ds is None:
        raise SelectionError("this needs the subject as a Dataset; what keeps it from opening stands in the overview.")
    if STIMULUS not in ds.coords or "session" not in ds.coords:
        raise SelectionError("this needs the coordinates 'session' and 'stimulus': keep them in the Dataset.")
    names = [n for n in ("session", STIMULUS, "run", "unique_or_shared", "dataset") if n in ds.coords]
    table = pd.DataFrame({name: ds[name].values for name in names})
    shared = table["unique_or_shared"] == "shared" if "unique_or_shared" in table else np.zeros(len(table), dtype=bool)
    ood = name_columns(table[STIMULUS].to_numpy(dtype=object))["ood_type"] != ""
    table["kind"] = np.where(ood, _OOD, np.where(shared, "shared", "unique"))
    if not len(table):
        raise SelectionError("there is no trial here.")
    return table
