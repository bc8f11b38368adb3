"""`laion-xr doctor`: what is here, what is broken, and the command that mends it."""

from __future__ import annotations

import importlib.util
import platform
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import typer
from filelock import FileLock, Timeout

from laion_xr.access.bucket import BUCKET
from laion_xr.access.configuration import cache_dir, data_dir, is_folder, store_dir
from laion_xr.access.partial import LOCK, PARTIAL, target_of
from laion_xr.access.plan import layout_subject
from laion_xr.access.room import free_space
from laion_xr.cli.info import options
from laion_xr.cli.mending import Mending
from laion_xr.cli.missing import Missing, not_here, stimuli_not_here, unlike_source
from laion_xr.cli.screen import FAILED, count_text, emit_json, line, size_text, spelled, stderr
from laion_xr.errors import DataDirNotSetError, LaionXRError, NotALaionDatasetError, StoreError
from laion_xr.inventory import RootReport, root_report
from laion_xr.inventory.damage import as_said_of_it, file_problem
from laion_xr.listing import FileEntry
from laion_xr.location import Location
from laion_xr.store import store_info

# What an extra brings
EXTRAS = {
    "s3": "s3fs",
    "plot": "nilearn",
    "template": "nitransforms",
    "torch": "torch",
    "distributed": "distributed",
    "cluster": "sklearn",
    "rsatoolbox": "rsatoolbox",
}
PACKAGES = ("xarray", "dask", "zarr", "numpy", "fsspec", "h5py", "nibabel")
# Below this a session does not fit
LITTLE_SPACE = 5_000_000_000


@dataclass(frozen=True)
class Finding:
    """Something that is broken: the file or folder, what is wrong with it, and the command to run."""

    path: str
    problem: str
    run: str


@dataclass
class Checkup:
    """What `doctor --json` prints."""

    root: str | None
    store: str | None
    cache: str
    free: int | None
    versions: dict[str, str]
    extras: dict[str, bool]
    subjects: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    broken: list[Finding] = field(default_factory=list)


def run(
    root: str | None,
    store: str | None,
    deep: bool,
    remote: bool,
    source: str,
    storage_options: Sequence[str],
    as_json: bool,
) -> None:
    """Look, and print; leave with 1 where something is broken."""
    with stderr().status("Looking ..."):
        found = examine(root, store, deep, Location.of(source, options(storage_options)) if remote else None)
    if as_json:
        emit_json(asdict(found))
    else:
        show(found)
    if found.broken:
        raise typer.Exit(FAILED)


def examine(root: str | None, store: str | None, deep: bool = False, source: Location | None = None) -> Checkup:
    """Look at the settings, the data and the store; `source` is the bucket to compare sizes with."""
    found = Checkup(None, store or store_dir(), str(cache_dir()), None, _versions(), _extras())
    try:
        found.root = root or data_dir()
    except DataDirNotSetError:
        found.notes.append("No data folder is set: laion-xr config set data_dir FOLDER, or name one here.")
    except NotALaionDatasetError as error:
        found.broken.append(Finding("data_dir", str(error), "laion-xr config set data_dir FOLDER"))
    report = None
    if found.root is not None:
        if is_folder(found.root):
            report = _examine_folder(found, Path(found.root).expanduser().absolute(), deep, source)
        else:
            found.notes.append(f"The data are at an address, {found.root}: its files are not looked at.")
    if report is None and found.store is not None:
        _examine_store(found)
    return found


def show(found: Checkup) -> None:
    """Print what was found."""
    line(", ".join(f"{name} {text}" for name, text in found.versions.items()), "dim")
    here = [name for name, there in found.extras.items() if there]
    absent = [name for name, there in found.extras.items() if not there]
    line(f"extras  {', '.join(here) or 'none'}" + (f" (not installed: {', '.join(absent)})" if absent else ""))
    line(f"data    {found.root or 'not set'}" + (f", {size_text(found.free)} free" if found.free is not None else ""))
    line(f"store   {found.store or 'not set'}")
    line(f"cache   {found.cache}")
    for subject in found.subjects:
        line(
            f"{subject['subject']}  {count_text(subject['sessions'], 'session')}, "
            f"{count_text(subject['files'], 'file')}, {size_text(subject['size'])}"
        )
    for note in found.notes:
        line(f"note: {note}", "yellow")
    for finding in found.broken:
        line(f"broken: {finding.path}: {finding.problem}", "bold red")
        line(f"  run: {finding.run}")
    if not found.broken:
        line("Nothing is broken.", "green")


def _examine_folder(found: Checkup, root: Path, deep: bool, source: Location | None) -> RootReport | None:
    """Look at a folder, and with it at the store; return what is in it, None where that is no dataset."""
    if not root.is_dir():
        todo = f"laion-xr download {shlex.quote(str(root))} --subject sub-03"
        if root.exists():
            found.broken.append(
                Finding(str(root), "it is a file, and no folder.", "laion-xr config set data_dir FOLDER")
            )
        else:
            found.broken.append(Finding(str(root), "the folder is not there.", todo))
        return None
    found.free = free_space(root)
    if found.free < LITTLE_SPACE:
        found.notes.append(f"{size_text(found.free)} are free in {root}: a session is 1.1 GB, a subject some 35 GB.")
    location = Location.of(root)
    # links are not followed out of the folder by a listing of ours; hidden files are what downloads leave
    files = [f for f in location.files("") if not f.path.startswith((".laion_fmri/", ".git/"))]
    whole = [f for f in files if not f.path.rpartition("/")[2].startswith(".")]
    subjects = sorted({layout_subject(f.path) for f in whole} - {""})
    mending = Mending(root, BUCKET if source is None else source.url, *subjects[:1])
    coming = _leftovers(found, root, files, mending)
    found.broken += _damaged(location, whole, deep, mending)
    known = coming | {finding.path for finding in found.broken}
    try:
        report = root_report(location, rois=deep)
    except LaionXRError as error:
        found.notes.append(f"{error} Get data with `laion-xr download {shlex.quote(str(root))} --subject sub-03`.")
        return None
    found.broken += _unusable(report, location, whole, known, mending)
    known |= {finding.path for finding in found.broken}
    stored = set() if found.store is None else _examine_store(found, root if report.subjects else None)
    for subject in report.subjects:
        described = {"subject": subject.subject, "sessions": len(subject.sessions), "files": subject.files}
        found.subjects.append({**described, "size": subject.size, "missing": list(subject.missing)})
        _add(found, not_here(subject, stored, known, mending), known)
    found.notes += stimuli_not_here(report.stimuli, known, mending)
    if source is not None:
        _add(found, unlike_source(whole, source, known, mending), known)
    return report


def _add(found: Checkup, missing: Iterator[Missing], known: set[str]) -> None:
    """Note what is missing: broken where what is here cannot be used without it."""
    for one in list(missing):
        known |= {one.path, *one.paths}
        if one.needed:
            found.broken.append(Finding(one.path, one.text, one.run))
        else:
            found.notes.append(f"{one.text} {one.run}" if one.run else one.text)


def _leftovers(found: Checkup, root: Path, files: Sequence[FileEntry], mending: Mending) -> set[str]:
    """Tell what downloads have left; return the files that they are of, as far as these are not here."""
    coming = set()
    for file in files:
        path = root / file.path
        target = target_of(path)
        if target is None:
            continue
        name = target.relative_to(root).as_posix()
        if path.name.endswith(PARTIAL):
            text = f"{size_text(file.size)} of it are here: its download was interrupted."
            if _is_locked(target.with_name(f".{target.name}{LOCK}")):
                found.notes.append(f"{name} is being downloaded now.")
            elif target.exists():
                found.notes.append(f"{file.path} is left of a download of what is here; delete it.")
                continue
            else:
                found.broken.append(Finding(name, text, mending.file(name, present=False)))
            coming.add(name)
        elif path.name.endswith(LOCK) and not _is_locked(path):
            found.notes.append(f"{file.path} is a lock that nobody holds; it does no harm, and may be deleted.")
    return coming


def _damaged(location: Location, files: Sequence[FileEntry], deep: bool, mending: Mending) -> Iterator[Finding]:
    for file in files:
        if (problem := file_problem(location, file, deep)) is not None:
            yield Finding(file.path, problem, mending.file(file.path))


def _unusable(
    report: RootReport, location: Location, files: Sequence[FileEntry], known: set[str], mending: Mending
) -> Iterator[Finding]:
    """Yield what reading tables, headers and masks together has shown."""
    problems = [("", problem) for problem in report.problems]
    problems += [(subject.subject, problem) for subject in report.subjects for problem in subject.problems]
    for subject, problem in problems:
        # what a file's own look has said already
        if any(path in problem for path in known):
            continue
        named = [file.path for file in files if location.show(file.path) in problem]
        if len(named) == 1:
            text = as_said_of_it(problem, location.show(named[0]))
            yield Finding(named[0], text, mending.several(named))
        elif named:
            yield Finding(subject, problem, mending.several(named))
        elif subject:
            yield Finding(subject, problem, mending.files(subject, check=True))
        elif report.simulated and report.subjects:
            todo = shlex.join(["laion-xr", "simulate", str(mending.root), "--overwrite"])
            yield Finding(str(mending.root), spelled(problem), todo)


def _examine_store(found: Checkup, root: Path | None = None) -> set[tuple[str, str]]:
    """Look at the store, and return the (subject, session) that it holds."""
    assert found.store is not None
    source = shlex.quote(str(root)) if root else "ROOT"
    todo = f"laion-xr ingest {source} {shlex.quote(found.store)}"
    try:
        info = store_info(found.store, root)
    except StoreError as error:
        found.broken.append(Finding(found.store, spelled(str(error)), todo))
        return set()
    except LaionXRError as error:
        found.broken.append(Finding(found.store, str(error), f"laion-xr store info {shlex.quote(found.store)}"))
        return set()
    found.broken += [Finding(found.store, problem, todo) for problem in info.problems]
    return {(session.subject, session.session) for session in info.sessions if session.complete}


def _is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        with FileLock(path).acquire(timeout=0):
            return False
    except (Timeout, OSError):
        return True


def _versions() -> dict[str, str]:
    found = {}
    for name in ("laion-xr", *PACKAGES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return {**found, "python": platform.python_version(), "system": sys.platform}


def _extras() -> dict[str, bool]:
    return {extra: importlib.util.find_spec(module) is not None for extra, module in EXTRAS.items()}
