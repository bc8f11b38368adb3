"""What a download would do: which files, how many bytes, whether they fit, what is here, what is held back."""

from __future__ import annotations

import html
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laion_xr import layout
from laion_xr.access.bucket import held_out, listed, top_files
from laion_xr.access.partial import RECORD, beside, recorded_bytes
from laion_xr.access.paths import safe_target
from laion_xr.access.selection import (
    ALL,
    CAPTIONS,
    EMBEDDINGS,
    ROOT_FILES,
    SEGMENTATIONS,
    Selection,
    StimulusSelection,
    kind_of,
    session_of,
    texts,
)
from laion_xr.errors import (
    FileAccessError,
    NoSpaceError,
    SelectionError,
    SubjectNotFoundError,
    describe_names,
    did_you_mean,
)
from laion_xr.location import FileEntry, Location

UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class DownloadPlan:
    """What a download would do.

    Attributes
    ----------
    source
        Where the files come from.
    root
        Folder that they go to.
    files
        What is to be fetched, in this order.
    present
        What was asked for and is here, with the size that it should have.
    held_out
        Subject -> sessions that are listed and not given to the public.
    partial_bytes
        How much of `files` an earlier download has left here already.
    free
        Free space where `root` is, in bytes.
    """

    source: Location
    root: Path
    files: tuple[FileEntry, ...]
    present: tuple[FileEntry, ...]
    held_out: dict[str, tuple[str, ...]]
    partial_bytes: int
    free: int

    @property
    def bytes(self) -> int:
        """Bytes to fetch."""
        return sum(file.size for file in self.files) - self.partial_bytes

    @property
    def fits(self) -> bool:
        """Whether there is room for them."""
        return self.bytes <= self.free

    @property
    def kinds(self) -> dict[str, tuple[int, int]]:
        """Kind of file -> how many are to be fetched, and their bytes."""
        found: dict[str, tuple[int, int]] = {}
        for file in self.files:
            n, size = found.get(kind_of(file.path), (0, 0))
            found[kind_of(file.path)] = (n + 1, size + file.size)
        return found

    def require_room(self) -> None:
        """Raise where there is no room.

        Raises
        ------
        NoSpaceError
            The message has both numbers.
        """
        if not self.fits:
            raise NoSpaceError(
                f"The download does not fit: it needs {size_text(self.bytes)} in {self.root}, and "
                f"{size_text(self.free)} are free there. Choose less (session=, include=), make room, or give another "
                "folder; nothing was fetched."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON has it."""
        return {
            "source": self.source.url,
            "root": str(self.root),
            "files": [{"path": f.path, "size": f.size, "kind": kind_of(f.path)} for f in self.files],
            "n_files": len(self.files),
            "bytes": self.bytes,
            "present": [f.path for f in self.present],
            "held_out": {subject: list(names) for subject, names in self.held_out.items()},
            "free": self.free,
            "fits": self.fits,
        }

    def rows(self) -> list[tuple[str, str]]:
        """Return what the plan says, label by label."""
        found = [
            ("from", self.source.url),
            ("to", str(self.root)),
            ("to fetch", f"{count_text(len(self.files))}, {size_text(self.bytes)}"),
        ]
        found += [(f"  {kind}", f"{count_text(n)}, {size_text(size)}") for kind, (n, size) in self.kinds.items()]
        if self.partial_bytes:
            found.append(("begun", f"{size_text(self.partial_bytes)} of an earlier download are used"))
        if self.present:
            found.append(("here", f"{count_text(len(self.present))}, {size_text(sum(f.size for f in self.present))}"))
        for subject, sessions in self.held_out.items():
            found.append(("held out", f"{subject}: {', '.join(sessions)} (not given to the public; skipped)"))
        room = "" if self.fits else ": does not fit"
        return [*found, ("free", f"{size_text(self.free)}{room}")]

    def __repr__(self) -> str:
        rows = self.rows()
        width = max(len(label) for label, _ in rows)
        return "\n".join(["<laion_xr.DownloadPlan>", *(f"{label:<{width}}  {text}" for label, text in rows)])

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(label.strip())}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for label, text in self.rows()
        )
        return f"<table><caption>laion_xr.DownloadPlan</caption>{cells}</table>"


def make_plan(
    source: Location,
    root: Path,
    subject: object,
    selection: Selection,
    stimuli: StimulusSelection | None,
    recheck: bool = False,
) -> DownloadPlan:
    """Look at the source and at the folder.

    Parameters
    ----------
    source
        The bucket.
    root
        The folder; it need not exist.
    subject
        One, several, `"all"`; None for stimuli only.
    selection, stimuli
        What is wanted; None for no stimuli.
    recheck
        Count what is here among the files, so that its checksums are looked at.

    Raises
    ------
    SubjectNotFoundError
        The source has no such subject.
    SelectionError
        No file answers to the filters.
    FileAccessError
        All that was asked for is held out.
    UnsafePathError
        The source lists a path that would lead out of the folder.
    """
    subjects = _subjects(source, subject) if subject is not None else []
    folders = [folder for name in subjects for folder in _folders(name, selection)]
    if stimuli is not None:
        folders.append(layout.STIMULI_DIR)
    # each is one listing: a few at once
    with ThreadPoolExecutor(8, thread_name_prefix="laion-xr-list") as pool:
        found = dict(zip(folders, pool.map(lambda folder: listed(source, folder), folders), strict=True))
    _require_known(source, subjects, found)
    wanted = [f for folder in folders if folder != layout.STIMULI_DIR for f in found[folder] if selection.wants(f.path)]
    for file in wanted:  # before any of them is asked for
        safe_target(root, file.path)
    refused = {name: _held_out(source, [f for f in wanted if f"/{name}/" in f.path]) for name in subjects}
    held = {name: sessions for name, sessions in refused.items() if sessions}
    given = [f for f in wanted if session_of(f.path) not in held.get(layout_subject(f.path), ())]
    _require_some(source, subjects, selection, given, held)
    if stimuli is not None:
        given += _stimuli(source, stimuli, found[layout.STIMULI_DIR])
    given += [f for f in top_files(source) if f.path in ROOT_FILES]
    given = sorted(set(given), key=_order)
    places = {file: safe_target(root, file.path) for file in given}
    here = [file for file, place in places.items() if _size(place) == file.size]
    fetched = given if recheck else [file for file in given if file not in set(here)]
    begun = sum(min(recorded_bytes(places[f]), f.size) for f in fetched if beside(places[f], RECORD).exists())
    return DownloadPlan(source, root, tuple(fetched), () if recheck else tuple(here), held, begun, free_space(root))


def free_space(folder: Path) -> int:
    """Return the free bytes of the disk that a folder is on, or would be."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def layout_subject(path: str) -> str:
    """Return the subject of a path, `""` where it is nobody's."""
    return next((part for part in path.split("/") if layout.is_subject(part)), "")


def size_text(n_bytes: int) -> str:
    """Return a number of bytes as people read it, in decimal units."""
    value, unit = float(n_bytes), UNITS[0]
    for unit in UNITS:
        if value < 999.5 or unit == UNITS[-1]:
            break
        value /= 1000
    return f"{value:.3g} {unit}" if value < 999.5 else f"{value:,.0f} {unit}"


def count_text(n: int) -> str:
    """Return a number of files."""
    return f"{n:,} file{'' if n == 1 else 's'}"


def _subjects(source: Location, subject: object) -> list[str]:
    names = texts("subject", subject) or ()
    if names != (ALL,):
        return list(dict.fromkeys(layout.subject_name(name) for name in names))
    found = [name for name in source.folders(layout.BETAS_DIR) if layout.is_subject(name)]
    if not found:
        raise SubjectNotFoundError(
            f"There is no subject in {source.show(layout.BETAS_DIR)}: expected folders such as 'sub-03'; check the "
            "address."
        )
    return found


def _folders(subject: str, selection: Selection) -> list[str]:
    found = [layout.subject_dir(subject), layout.roi_dir(subject), f"{layout.ANATOMICAL_DIR}/{subject}"]
    return [*found, *([layout.freesurfer_dir(subject)] if selection.surfaces else [])]


def _require_known(source: Location, subjects: Sequence[str], found: dict[str, list[FileEntry]]) -> None:
    for name in subjects:
        if not any(files for folder, files in found.items() if f"/{name}" in f"/{folder}"):
            known = [n for n in source.folders(layout.BETAS_DIR) if layout.is_subject(n)]
            raise SubjectNotFoundError(f"{source.url}: {did_you_mean('Subject', name, known)}")


def _held_out(source: Location, files: Iterable[FileEntry]) -> tuple[str, ...]:
    return tuple(held_out(source, files))


def _require_some(
    source: Location,
    subjects: Sequence[str],
    selection: Selection,
    given: Sequence[FileEntry],
    held: dict[str, tuple[str, ...]],
) -> None:
    asked = [s for s in selection.sessions or () if layout.is_session(s)]
    there = Counter(session_of(f.path) for f in given)
    missing = [s for s in asked if not there[s]]
    out = sorted({s for sessions in held.values() for s in sessions})
    if asked and missing == asked:
        if set(missing) <= set(out):
            raise FileAccessError(
                f"{describe_names(asked)} of {describe_names(subjects)} are held out: {source.url} lists them and gives"
                " them to nobody yet (403). That is no fault of yours; leave them out."
            )
        raise SelectionError(
            f"{source.url} has no files of {describe_names(asked)} for {describe_names(subjects)} that answer to these "
            "filters; leave one out, or look with `laion-xr info`."
        )
    if subjects and not given:
        raise SelectionError(f"No file of {describe_names(subjects)} in {source.url} answers to these filters.")


def _stimuli(source: Location, stimuli: StimulusSelection, files: Sequence[FileEntry]) -> list[FileEntry]:
    found = [file for file in files if stimuli.wants(file.path)]
    kinds = {kind_of(file.path) for file in found}
    models = [model for file in files if (model := layout.embedding_model(file.path)) is not None]
    for model in stimuli.models or ():
        if model not in models:
            raise SelectionError(f"{source.url}: {did_you_mean('Model', model, models)}")
    wanted = {EMBEDDINGS: stimuli.models is None, SEGMENTATIONS: stimuli.segmentations, CAPTIONS: stimuli.captions}
    if absent := [kind for kind, asked in wanted.items() if asked and kind not in kinds]:
        raise SelectionError(f"{source.show(layout.STIMULI_DIR)} has no {describe_names(absent)}; leave that out.")
    return found


def _order(file: FileEntry) -> tuple[object, ...]:
    # what is small and needed by all first, then session by session: a folder that is half here can be used
    session = session_of(file.path)
    subject = layout_subject(file.path)
    key = () if session is None else layout.natural_order(session)
    return subject, session is not None, key, file.size, file.path


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else -1
    except OSError:
        return -1
