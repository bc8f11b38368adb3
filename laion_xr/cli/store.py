"""`laion-xr plan`, `ingest`, `verify` and `store info`: the arguments of a terminal -> `laion_xr.store`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd
import typer
from dask.utils import parse_bytes

from laion_xr import store as library
from laion_xr._version import __version__
from laion_xr.cli.info import options
from laion_xr.cli.screen import (
    FAILED,
    NONE,
    count_text,
    duration_text,
    emit_json,
    estimate_text,
    line,
    plain_table,
    print_table,
    size_text,
    stderr,
)
from laion_xr.location import Location
from laion_xr.store import IngestPlan, StoreInfo

STYLES = {"ok": None, "repaired": "yellow"}

Names = Sequence[str] | None


def planned(
    root: str,
    store: str,
    subjects: Names,
    sessions: Names,
    mask_source: str,
    precision: float | None,
    workers: int | None,
    memory: str | None,
    root_options: Names,
    store_options: Names,
) -> IngestPlan:
    """Return the plan of an ingest."""
    with stderr().status("Looking ..."):
        return library.plan_ingest(
            root,
            store,
            subjects=names(subjects),
            sessions=names(sessions),
            mask_source=mask_source,
            precision=precision,
            workers=workers,
            memory=None if memory is None else memory_bytes(memory),
            storage_options=options(root_options or []),
            store_options=options(store_options or []),
        )


def names(given: Names) -> list[str] | None:
    """Return the names of repeated options that may hold several each; None for all."""
    return [name.strip() for text in given or () for name in text.split(",") if name.strip()] or None


def memory_bytes(text: str) -> int:
    """Return a size in bytes: `"4GB"`, `"512MiB"`.

    Raises
    ------
    typer.BadParameter
        It is no size.
    """
    try:
        return int(parse_bytes(text))
    except ValueError:
        raise typer.BadParameter(f"expected a size such as 4GB, found {text!r}.", param_hint="--memory") from None


def plan(found: IngestPlan, as_json: bool) -> None:
    """Print a plan."""
    if as_json:
        typer.echo(found.to_json())
        return
    line(f"{found.root} -> {found.store}", "bold")
    table = plain_table("Sessions", "subject", "session", "action", ">trials", ">voxels", ">source", ">betas, float32")
    for s in found.sessions:
        table.add_row(
            s.subject,
            s.session,
            s.action,
            count_text(s.n_trials),
            count_text(s.n_voxels),
            size_text(s.source_bytes),
            size_text(s.betas_bytes),
            style="dim" if s.action == "keep" else None,
        )
    print_table(table, spare=["source", "betas, float32"])
    exactly = "exact float32" if found.precision is None else f"rounded to a relative error of {found.precision:g}"
    codec = ", ".join(f"{key} {value}" for key, value in found.codec.items())
    line(f"Stored: chunks of {found.chunks[0]} trials x {found.chunks[1]} voxels, {exactly} ({codec})")
    free = "unknown" if found.free_bytes is None else size_text(found.free_bytes)
    if not found.to_write:
        line("Nothing to write: every session is stored, and its source is the same.")
        return
    line(f"Space: about {size_text(found.store_bytes)}, free {free}")
    clamped = f" of the {found.workers_asked} asked for" if found.workers < found.workers_asked else ""
    line(
        f"Workers: {found.workers}{clamped}, of {size_text(found.worker_bytes)} each "
        f"({size_text(found.memory)} allowed)",
        "yellow" if clamped else "",
    )
    line(
        f"To write: {count_text(len(found.to_write), 'session')} of {len(found.sessions)}, "
        f"{estimate_text(found.seconds)}"
    )


def ingest(
    chosen: IngestPlan,
    root: str,
    store: str,
    update: bool,
    progress: bool,
    root_options: Names,
    store_options: Names,
    as_json: bool,
) -> None:
    """Fill the store, and say what became of each session."""
    began = time.perf_counter()
    outcomes = library.ingest(
        root,
        store,
        plan=chosen,
        update=update,
        progress=progress,
        storage_options=options(root_options or []),
        store_options=options(store_options or []),
    )
    seconds = time.perf_counter() - began
    rows = records(outcomes)
    if as_json:
        emit_json({"store": chosen.store, "laion_xr_version": __version__, "seconds": seconds, "sessions": rows})
        return
    planned_as = {(s.subject, s.session): s for s in chosen.sessions}
    table = plain_table("Sessions", "subject", "session", "outcome", ">trials", ">voxels", ">source")
    written = 0
    for row in rows:
        s = planned_as[row["subject"], row["session"]]
        written += s.source_bytes if row["outcome"] == "written" else 0
        table.add_row(
            s.subject,
            s.session,
            row["outcome"],
            count_text(s.n_trials),
            count_text(s.n_voxels),
            size_text(s.source_bytes),
            style="dim" if row["outcome"] == "kept" else None,
        )
    print_table(table, spare=["source", "voxels"])
    counts = Counter(row["outcome"] for row in rows)
    rate = f" ({size_text(int(written / seconds))} of source a second)" if written else ""
    line(f"{counts['written']} written, {counts['kept']} kept, in {duration_text(seconds)}{rate}")
    line(f"Read from it: xr.open_dataset(..., store={store!r}), or set LAION_XR_STORE={chosen.store}")


def verify(
    store: str,
    root: str | None,
    subjects: Names,
    repair: bool,
    root_options: Names,
    store_options: Names,
    as_json: bool,
) -> None:
    """Check a store, and say how each session is.

    Raises
    ------
    typer.Exit
        1 when something is not right.
    """
    with stderr().status("Checking ..."):
        found = library.verify(
            store,
            root,
            repair,
            subjects=names(subjects),
            storage_options=options(root_options or []),
            store_options=options(store_options or []),
        )
    rows = records(found)
    wrong = [row for row in rows if row["status"] not in STYLES]
    if as_json:
        emit_json({"store": Location.of(store).url, "laion_xr_version": __version__, "sessions": rows})
    else:
        table = plain_table("Sessions", "subject", "session", "status", "problem")
        for row in rows:
            style = STYLES.get(row["status"], "red")
            table.add_row(row["subject"], row["session"], row["status"], row["problem"] or NONE, style=style)
        print_table(table, prose=["problem"])
        compared = "checksums" if root is None else "checksums, and every value against the source"
        line(f"{len(rows) - len(wrong)} of {count_text(len(rows), 'session')} right ({compared})")
    if wrong:
        line(f"{count_text(len(wrong), 'session')} not right; --repair writes them anew.", "bold red", stderr())
        raise typer.Exit(FAILED)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def info(store: str, root: str | None, root_options: Names, store_options: Names, as_json: bool) -> None:
    """Look at a store, and print what it holds."""
    with stderr().status("Looking ..."):
        found = library.store_info(
            store,
            root,
            storage_options=options(root_options or []),
            store_options=options(store_options or []),
        )
    if as_json:
        emit_json({"laion_xr_version": __version__, **asdict(found)})
    else:
        show_info(found)


def show_info(found: StoreInfo) -> None:
    """Print what a store holds: how it is stored once where that is the same for all sessions."""
    line(f"{found.store}: {count_text(len(found.sessions), 'session')}, {size_text(found.size)}", "bold")
    table = plain_table(
        "Sessions", "subject", "session", ">trials", ">voxels", ">size", ">of raw", "precision", "source"
    )
    for s in found.sessions:
        share = f"{s.size / s.betas_bytes:.0%}" if s.betas_bytes else NONE
        exactly = "exact" if s.precision is None else f"{s.precision:g}"
        table.add_row(
            s.subject,
            s.session,
            count_text(s.trials),
            count_text(s.voxels),
            size_text(s.size),
            share,
            exactly if s.complete else NONE,
            s.source_state if s.complete else "not complete",
            style=None if s.complete else "yellow",
        )
    print_table(table, prose=["source"], spare=["of raw", "precision", "voxels"])
    for text, count in Counter(
        f"{s.codec}, chunks of {' x '.join(map(str, s.chunks or ()))}, {s.mask_source} mask, store format {s.format}, "
        f"laion_xr {s.laion_xr_version}"
        for s in found.sessions
        if s.complete
    ).items():
        line(f"{count_text(count, 'session')}: {text}")
    for problem in found.problems:
        line(f"Problem: {problem}", "red")
