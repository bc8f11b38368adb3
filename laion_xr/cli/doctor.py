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

from laion_xr import layout
from laion_xr.access.bucket import listed
from laion_xr.access.configuration import cache_dir, data_dir, is_folder, store_dir
from laion_xr.access.gzips import gzip_problem
from laion_xr.access.partial import LOCK, PARTIAL, target_of
from laion_xr.access.plan import free_space, layout_subject
from laion_xr.access.selection import session_of
from laion_xr.cli.info import options
from laion_xr.cli.screen import FAILED, count_text, emit_json, line, size_text, spelled, stderr
from laion_xr.errors import DataDirNotSetError, LaionXRError, NotALaionDatasetError, SelectionError, StoreError
from laion_xr.inventory import root_report
from laion_xr.listing import FileEntry
from laion_xr.location import Location
from laion_xr.readers.pointers import pointer_error
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
_POINTER_MOST = 4096


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
    if found.root is not None:
        if is_folder(found.root):
            _examine_folder(found, Path(found.root).expanduser().absolute(), deep, source)
        else:
            found.notes.append(f"The data are at an address, {found.root}: its files are not looked at.")
    if found.store is not None:
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


def _examine_folder(found: Checkup, root: Path, deep: bool, source: Location | None) -> None:
    if not root.is_dir():
        todo = f"laion-xr download {shlex.quote(str(root))} --subject sub-03"
        if root.exists():
            found.broken.append(
                Finding(str(root), "it is a file, and no folder.", "laion-xr config set data_dir FOLDER")
            )
        else:
            found.broken.append(Finding(str(root), "the folder is not there.", todo))
        return
    found.free = free_space(root)
    if found.free < LITTLE_SPACE:
        found.notes.append(f"{size_text(found.free)} are free in {root}: a session is 1.1 GB, a subject some 35 GB.")
    location = Location.of(root)
    # links are not followed out of the folder by a listing of ours; hidden files are what downloads leave
    files = [f for f in location.files("") if not f.path.startswith((".laion_fmri/", ".git/"))]
    whole = [f for f in files if not f.path.rpartition("/")[2].startswith(".")]
    found.broken += _leftovers(root, files, found.notes)
    found.broken += _damaged(root, whole, deep)
    known = {finding.path for finding in found.broken}
    try:
        report = root_report(location, rois=False)
    except LaionXRError as error:
        found.notes.append(f"{error} Get data with `laion-xr download {shlex.quote(str(root))} --subject sub-03`.")
        return
    for subject in report.subjects:
        described = {"subject": subject.subject, "sessions": len(subject.sessions), "files": subject.files}
        found.subjects.append({**described, "size": subject.size, "missing": len(subject.missing)})
        for problem in subject.problems:
            # what a file's own look has said already
            if not any(path in problem for path in known):
                found.broken.append(Finding(subject.subject, problem, _again(root, subject.subject)))
        if subject.absent_sessions:
            found.notes.append(f"{subject.subject} has gaps: {', '.join(subject.absent_sessions)} are not here.")
    if source is not None:
        found.broken += _other_than_bucket(root, whole, source, known)


def _leftovers(root: Path, files: Sequence[FileEntry], notes: list[str]) -> Iterator[Finding]:
    for file in files:
        path = root / file.path
        target = target_of(path)
        if target is None:
            continue
        name = target.relative_to(root).as_posix()
        if path.name.endswith(PARTIAL):
            busy = _is_locked(target.with_name(f".{target.name}{LOCK}"))
            text = f"{size_text(file.size)} of it are here: its download was interrupted."
            if busy:
                notes.append(f"{name} is being downloaded now.")
            elif target.exists():
                notes.append(f"{file.path} is left of a download of what is here; delete it.")
            else:
                yield Finding(name, text, _again(root, layout_subject(name), session_of(name), name))
        elif path.name.endswith(LOCK) and not _is_locked(path):
            notes.append(f"{file.path} is a lock that nobody holds; it does no harm, and may be deleted.")


def _damaged(root: Path, files: Sequence[FileEntry], deep: bool) -> Iterator[Finding]:
    for file in files:
        path = root / file.path
        todo = _again(root, layout_subject(file.path), session_of(file.path), file.path, check=deep)
        if not path.exists():
            yield Finding(file.path, "it is a link to data that was not fetched (git-annex).", todo)
        elif file.size == 0:
            yield Finding(file.path, "it is empty.", todo)
        elif file.size < _POINTER_MOST and (error := pointer_error(path.read_bytes(), file.path)) is not None:
            text = str(error).removeprefix(f"{file.path} is ")
            yield Finding(file.path, f"it is {text}", todo)
        elif file.path.endswith(".gz") and (problem := gzip_problem(path, deep)) is not None:
            yield Finding(file.path, f"{problem}.", todo)


def _other_than_bucket(root: Path, files: Sequence[FileEntry], source: Location, known: set[str]) -> Iterator[Finding]:
    here = {file.path: file.size for file in files}
    folders = sorted({"/".join(path.split("/")[:3]) for path in here if layout_subject(path)} | {layout.STIMULI_DIR})
    listings = [listed(source, folder) for folder in folders]
    if not any(listings):
        raise SelectionError(f"There is nothing to compare with in {source.url}: it has none of the folders of {root}.")
    for rows in listings:
        for file in rows:
            size = here.get(file.path)
            if size is not None and size != file.size and file.path not in known:
                text = f"it has {size:,} bytes, and {file.size:,} in {source.url}."
                yield Finding(
                    file.path, text, _again(root, layout_subject(file.path), session_of(file.path), file.path)
                )


def _examine_store(found: Checkup) -> None:
    assert found.store is not None
    root = found.root if found.subjects else None
    source = shlex.quote(str(root)) if root else "ROOT"
    todo = f"laion-xr ingest {source} {shlex.quote(found.store)}"
    try:
        info = store_info(found.store, root)
    except StoreError as error:
        found.broken.append(Finding(found.store, spelled(str(error)), todo))
        return
    except LaionXRError as error:
        found.broken.append(Finding(found.store, str(error), f"laion-xr store info {shlex.quote(found.store)}"))
        return
    found.broken += [Finding(found.store, problem, todo) for problem in info.problems]


def _again(root: Path, subject: str, session: str | None = None, path: str = "", check: bool = False) -> str:
    """Return the command that fetches a file again."""
    words = ["laion-xr", "download", str(root)]
    if subject:
        words += ["--subject", subject]
        words += ["--session", session] if session else []
        words += ["--include", path.rpartition("/")[2].join("**")] if path and not _by_default(path) else []
        words += ["--anatomical"] if path.startswith(layout.ANATOMICAL_DIR) else []
        words += ["--surfaces"] if path.startswith(layout.FREESURFER_DIR) else []
    elif (model := layout.embedding_model(path)) is not None:
        words = ["laion-xr", "download-embeddings", str(root), "--model", model]
    elif path == layout.stimulus_path("images"):
        return f"laion-xr download-stimuli {shlex.quote(str(root))}"
    elif "segmentations" in path:
        words[1] = "download-segmentations"
    else:
        words[1] = "download-captions"
    return shlex.join([*words, *(["--check"] if check else [])])


def _by_default(path: str) -> bool:
    return not path.endswith("_model.h5") and "/figures/" not in path


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
