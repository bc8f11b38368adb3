"""Which files of the raw BIDS tree (`sub-03/ses-01/func/sub-03_ses-01_task-images_run-01_events.tsv`) come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from laion_xr import layout
from laion_xr.access.bucket import listed
from laion_xr.access.download_plan import DownloadPlan
from laion_xr.access.paths import safe_target
from laion_xr.access.room import block_size, free_space
from laion_xr.access.selection import entities
from laion_xr.errors import SelectionError, describe_names
from laion_xr.location import FileEntry, Location


def raw_plan(
    source: Location,
    root: Path,
    subjects: Sequence[str],
    sessions: Sequence[str] | None,
    filters: Mapping[str, Sequence[str]],
    endings: Sequence[str] | None,
) -> DownloadPlan:
    """Return the plan of a download of raw files.

    Parameters
    ----------
    source, root
        From where, to where.
    subjects, sessions
        Their names; no sessions are all.
    filters
        Entity, or `"suffix"` -> accepted values; a file without the entity passes.
    endings
        Endings of files (`"tsv"`); None for any.

    Raises
    ------
    SelectionError
        No file answers to these.
    UnsafePathError
        The source lists a path that would lead out of the folder.
    """
    folders = [
        name if sessions is None else f"{name}/{layout.session_name(session)}"
        for name in subjects
        for session in sessions or [""]
    ]
    found = [file for folder in folders for file in listed(source, folder) if _wants(file.path, filters, endings)]
    if not found:
        raise SelectionError(
            f"No raw file in {describe_names([source.show(folder) for folder in folders])} answers to these filters: "
            "leave one out."
        )
    places = {file: safe_target(root, file.path) for file in found}
    here = {file for file, place in places.items() if place.is_file() and place.stat().st_size == file.size}
    absent: list[FileEntry] = [file for file in found if file not in here]
    present = [file for file in found if file in here]
    return DownloadPlan(source, root, tuple(absent), tuple(present), {}, 0, free_space(root), block=block_size(root))


def _wants(path: str, filters: Mapping[str, Sequence[str]], endings: Sequence[str] | None) -> bool:
    if endings is not None and not path.endswith(tuple(f".{ending.lstrip('.')}" for ending in endings)):
        return False
    has = entities(path)
    return all(name not in has or has[name] in _cleaned(name, values) for name, values in filters.items())


def _cleaned(name: str, values: Sequence[str]) -> list[str]:
    return [value.removeprefix(f"{name}-") for value in values]
