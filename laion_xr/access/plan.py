"""How a download is planned: the bucket is listed, and the folder looked at, before anything is fetched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from laion_xr import layout
from laion_xr.access.bucket import held_out, listed, top_files
from laion_xr.access.download_plan import DownloadPlan
from laion_xr.access.partial import RECORD, beside, recorded_bytes
from laion_xr.access.paths import safe_target
from laion_xr.access.room import block_size, free_space
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
    SelectionError,
    SubjectNotFoundError,
    describe_names,
    did_you_mean,
)
from laion_xr.location import FileEntry, Location


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
        Have what is here among the files too, so that it is read: it is `checked`.

    Raises
    ------
    SubjectNotFoundError
        The source has no such subject.
    SelectionError
        No file answers to the filters, or to one of the names in them.
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
    if subjects:
        # with every file of theirs at hand, so that what is mistyped is told from what is held out
        of_subjects = [f.path for folder in folders if folder != layout.STIMULI_DIR for f in found[folder]]
        selection.require_known(of_subjects, f"{describe_names(subjects)} in {source.url}")
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
    here = {file for file, place in places.items() if _size(place) == file.size}
    present, absent = [f for f in given if f in here], [f for f in given if f not in here]
    begun = sum(min(recorded_bytes(places[f]), f.size) for f in absent if beside(places[f], RECORD).exists())
    return DownloadPlan(
        source,
        root,
        tuple(given if recheck else absent),
        () if recheck else tuple(present),
        held,
        begun,
        free_space(root),
        checked=tuple(present) if recheck else (),
        block=block_size(root),
    )


def layout_subject(path: str) -> str:
    """Return the subject of a path, `""` where it is nobody's."""
    return next((part for part in path.split("/") if layout.is_subject(part)), "")


def _subjects(source: Location, subject: object) -> list[str]:
    names = texts("subject", subject) or ()
    if names != (ALL,):
        return list(dict.fromkeys(layout.subject_name(name) for name in names))
    found = [name for name in source.folders(layout.BETAS_DIR) if layout.is_subject(name)]
    if not found:
        raise _no_subject(source)
    return found


def _no_subject(source: Location) -> SubjectNotFoundError:
    return SubjectNotFoundError(
        f"There is no subject in {source.show(layout.BETAS_DIR)}: expected folders such as 'sub-03'; check the address."
    )


def _folders(subject: str, selection: Selection) -> list[str]:
    found = [layout.subject_dir(subject), layout.roi_dir(subject), f"{layout.ANATOMICAL_DIR}/{subject}"]
    return [*found, *([layout.freesurfer_dir(subject)] if selection.surfaces else [])]


def _require_known(source: Location, subjects: Sequence[str], found: dict[str, list[FileEntry]]) -> None:
    for name in subjects:
        if not any(files for folder, files in found.items() if f"/{name}" in f"/{folder}"):
            known = [n for n in source.folders(layout.BETAS_DIR) if layout.is_subject(n)]
            if not known:
                raise _no_subject(source)
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
    # the mask always comes: it alone is nothing that was asked for
    if subjects and not any(selection.answers(f.path) for f in given):
        raise SelectionError(
            f"No file of {describe_names(subjects)} in {source.url} answers to these filters together; leave one out."
        )


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
