"""What is not here of a subject and of the stimuli: what it is needed for, and the command that brings it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from laion_xr import layout
from laion_xr.access.bucket import listed
from laion_xr.access.plan import layout_subject
from laion_xr.access.selection import AVERAGES, Selection, session_of
from laion_xr.cli.mending import Mending
from laion_xr.cli.screen import count_text
from laion_xr.errors import SelectionError, describe_names
from laion_xr.inventory import SessionReport, StimuliReport, SubjectReport
from laion_xr.listing import FileEntry
from laion_xr.location import Location

# Without these a session does not open, or opens without labels
_NEEDED = {"betas": "no betas", "trials": "no trial table"}
# The GLMsingle output is the betas once more: who wants it asks for it
_NOT_ASKED_FOR = {"model", *_NEEDED}
# So many files are named one by one in a command
_FEW = 5


@dataclass(frozen=True)
class Missing:
    """Something that is not here, or not as it is at its source.

    Attributes
    ----------
    path
        The file, or the folder that lacks it.
    text
        What is missing.
    run
        The command that brings it.
    needed
        Whether what is here cannot be used as it is without it.
    paths
        The files that it is about.
    """

    path: str
    text: str
    run: str
    needed: bool
    paths: tuple[str, ...] = field(default=())


def not_here(
    report: SubjectReport, stored: Collection[tuple[str, str]], known: Collection[str], mending: Mending
) -> Iterator[Missing]:
    """Yield what a subject lacks by the published layout.

    Parameters
    ----------
    report
        What is here of it.
    stored
        (subject, session) that a store holds: their betas need not be here.
    known
        Paths that something was said of already.
    mending
        The commands.
    """
    subject = report.subject
    mask = layout.brain_mask_path(subject)
    if mask in report.missing and mask not in known:
        others = "the voxels are those of the R2 map" if report.mask_source == "rsquare" else "nothing opens"
        text = f"the brain mask is not here: without it {others}."
        yield Missing(mask, text, mending.file(mask, present=False), True, (mask,))
    for kind, text in _NEEDED.items():
        lacking = [
            session
            for session in report.sessions
            if _lacks(session, kind) and not (kind == "betas" and (subject, session.session) in stored)
        ]
        paths = {s.session: layout.session_path(subject, s.session, kind) for s in lacking}
        paths = {name: path for name, path in paths.items() if path not in known}
        if paths:
            where = next(iter(paths.values())) if len(paths) == 1 else layout.subject_dir(subject)
            of = f"{text} of {subject} {', '.join(paths)} {'is' if kind == 'trials' else 'are'} here"
            rest = ", and other files of the same are." if len(paths) == 1 else ", and other files of these are."
            run = mending.files(subject, list(paths), kind)
            yield Missing(where, of + rest, run, True, tuple(paths.values()))
    yield from _elsewhere(report, stored, known, mending)
    yield from _optional(report, known, mending)
    if report.absent_sessions:
        names = report.absent_sessions
        text = f"{subject} has gaps: {', '.join(names)} are not here:"
        yield Missing(layout.subject_dir(subject), text, mending.files(subject, names), False)
    if not report.sessions:
        text = f"{subject} has no session here, and does not open:"
        yield Missing(layout.subject_dir(subject), text, mending.files(subject, ["ses-01"]), False)


def _elsewhere(
    report: SubjectReport, stored: Collection[tuple[str, str]], known: Collection[str], mending: Mending
) -> Iterator[Missing]:
    """Yield the sessions whose betas are read from something else than their own file."""
    subject = report.subject
    lacking = [s for s in report.sessions if "betas" in s.missing]
    held = {
        "the store": [s for s in lacking if (subject, s.session) in stored],
        "the GLMsingle model": [s for s in lacking if (subject, s.session) not in stored and "model" in s.present],
    }
    for what, sessions in held.items():
        paths = {s.session: layout.session_path(subject, s.session, "betas") for s in sessions}
        paths = {name: path for name, path in paths.items() if path not in known}
        if paths:
            text = f"no betas of {subject} {', '.join(paths)} are here, and {what} has them too; their own file:"
            run = mending.files(subject, list(paths), "betas")
            yield Missing(layout.subject_dir(subject), text, run, False, tuple(paths.values()))


def _lacks(session: SessionReport, kind: str) -> bool:
    # the model holds the betas too
    return kind in session.missing and not (kind == "betas" and "model" in session.present)


def _optional(report: SubjectReport, known: Collection[str], mending: Mending) -> Iterator[Missing]:
    """Yield the maps and ROIs that are not here: what is here opens without them."""
    subject = report.subject
    for kind in layout.SESSION_MAPS:
        lacking = [s.session for s in report.sessions if kind in s.missing and kind not in _NOT_ASKED_FOR]
        paths = {name: layout.session_path(subject, name, kind) for name in lacking}
        paths = {name: path for name, path in paths.items() if path not in known}
        if paths:
            text = f"{subject} has no {kind} of {', '.join(paths)} here:"
            run = mending.files(subject, list(paths), kind)
            yield Missing(layout.subject_dir(subject), text, run, False, tuple(paths.values()))
    maps = {kind: layout.subject_path(subject, kind) for kind in layout.SUBJECT_MAPS}
    maps = {kind: path for kind, path in maps.items() if path in report.missing and path not in known}
    if maps:
        run = mending.files(subject, [AVERAGES], "subject_maps")
        text = f"{subject} has no {', '.join(maps)} here:"
        yield Missing(layout.subject_dir(subject), text, run, False, tuple(maps.values()))
    if layout.roi_dir(subject) in report.missing:
        run = mending.files(subject, [AVERAGES], "rois")
        yield Missing(layout.roi_dir(subject), f"{subject} has no ROIs here:", run, False)


def stimuli_not_here(report: StimuliReport, known: Collection[str], mending: Mending) -> Iterator[str]:
    """Yield one sentence on the stimulus files that are not here, with the commands that bring them."""
    absent = {file.kind: file.path for file in report.files if file.size is None and file.path not in known}
    parts = []
    if (path := absent.get("metadata")) is not None:
        parts.append(f"the stimulus table ({mending.file(path, present=False)})")
    models = [model for path in absent.values() if (model := layout.embedding_model(path)) is not None]
    if models:
        parts.append(f"embeddings of {', '.join(models)} ({mending.embeddings(models)})")
    if "segmentations" in absent or "segmentations_metadata" in absent:
        parts.append(f"segmentations ({mending.annotations('segmentations')})")
    if "captions" in absent:
        parts.append(f"captions ({mending.annotations('captions')})")
    if "images" in absent:
        parts.append(f"the images ({mending.images()})")
    if parts:
        yield f"Not here, and not needed to open a subject: {'; '.join(parts)}."


def unlike_source(
    files: Sequence[FileEntry], source: Location, known: Collection[str], mending: Mending
) -> Iterator[Missing]:
    """Yield what has another size at the source, and what is there of the sessions that are here, and not here.

    Raises
    ------
    SelectionError
        The source has none of the subjects' folders.
    """
    here = {file.path: file.size for file in files}
    subjects = sorted({layout_subject(path) for path in here} - {""})
    folders = {layout.STIMULI_DIR, *("/".join(p.split("/")[:3]) for p in here if layout_subject(p))}
    for subject in subjects:
        folders |= {layout.subject_dir(subject), layout.roi_dir(subject), f"{layout.ANATOMICAL_DIR}/{subject}"}
    listings = {folder: listed(source, folder) for folder in sorted(folders)}
    if not any(listings.values()):
        raise SelectionError(
            f"There is nothing to compare with in {source.url}: it has none of the folders of {mending.root}."
        )
    there = {file.path: file.size for rows in listings.values() for file in rows}
    for path, size in there.items():
        if path in here and here[path] != size and path not in known:
            text = f"it has {here[path]:,} bytes, and {size:,} in {source.url}."
            yield Missing(path, text, mending.file(path), True)
    wanted = Selection.of()
    for subject in subjects:
        of = [path for path in there if layout_subject(path) == subject]
        sessions = {session_of(path) for path in here if layout_subject(path) == subject} - {None}
        absent = [p for p in of if p not in here and p not in known and wanted.wants(p)]
        partly = [p for p in absent if session_of(p) is None or session_of(p) in sessions]
        if partly:
            names = sorted({s for p in partly if (s := session_of(p))}, key=layout.natural_order)
            few = ",".join(f"*{_name(p)}" for p in partly) if len(partly) <= _FEW else ""
            which = describe_names(map(_name, partly), 3)
            text = f"{subject}: {_are_there(len(partly), 'file')} in {source.url} and not here ({which}):"
            run = mending.files(subject, names or [AVERAGES], few)
            yield Missing(layout.subject_dir(subject), text, run, False, tuple(partly))
        more = {s for p in absent if (s := session_of(p)) and s not in sessions}
        if more:
            text = f"{subject}: {_are_there(len(more), 'session')} in {source.url} and not here:"
            run = mending.files(subject, sorted(more, key=layout.natural_order))
            yield Missing(layout.subject_dir(subject), text, run, False)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _are_there(n: int, noun: str) -> str:
    return f"{count_text(n, noun)} {'is' if n == 1 else 'are'}"
