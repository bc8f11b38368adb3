"""The dataset of `laion-xr demo`: simulated once, kept in a cache folder, safe when two demos start at once."""

from __future__ import annotations

import glob
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from laion_xr._version import __version__
from laion_xr.access.configuration import cache_dir
from laion_xr.errors import SelectionError
from laion_xr.location import Location
from laion_xr.simulate import simulate

MARKER = "laion-xr-demo.json"
SUBJECT = "sub-01"
# Sizes that show something: 480 images of one subject to fit 64 features on (12 of them independent), 100 shared ones
# to test on, so that accuracy comes to within a few percent of its ceiling; 62 MB, two seconds
SETTINGS: Mapping[str, object] = {
    "subjects": [SUBJECT],
    "sessions": 3,
    "trials": 360,
    "grid": [40, 44, 36],
    "seed": 0,
    "n_shared_12": 20,
    "n_shared_4": 80,
    "models": False,
}


class DemoData(NamedTuple):
    """The demo's dataset: its root, and whether it was simulated just now."""

    root: Path
    new: bool


def demo_data(root: Path | None = None) -> DemoData:
    """Return the demo's dataset, simulated where it is not there, not complete, or of another version.

    Parameters
    ----------
    root
        Folder of the dataset; None for one in the cache folder.

    Raises
    ------
    SelectionError
        `root` holds something that is not a demo's dataset: it is never replaced.
    """
    folder = cache_dir() / "demo" if root is None else root.expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise SelectionError(f"{folder} is a file: give a folder for the demo's dataset.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(_lock(folder)):
        if is_complete(folder):
            return DemoData(folder, new=False)
        if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).exists():
            raise SelectionError(
                f"{folder} holds something else than a demo's dataset, which is never replaced: give an empty or a new "
                "folder (laion-xr info says what a dataset holds)."
            )
        _simulate(folder)
    return DemoData(folder, new=True)


def is_complete(folder: Path) -> bool:
    """Whether a folder holds the demo's dataset of this version, with no file lost since."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(marker == _description(folder))


def _description(folder: Path) -> dict[str, object]:
    sizes = [entry.size for entry in Location.of(folder).files("") if entry.path != MARKER]
    return {"laion_xr": __version__, "settings": dict(SETTINGS), "files": len(sizes), "bytes": sum(sizes)}


def _lock(folder: Path) -> Path:
    # in the cache, wherever the dataset is: nothing strange appears beside a folder of the user's
    locks = cache_dir() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    return locks / f"{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}.lock"


def _simulate(folder: Path) -> None:
    # beside its place and then renamed: nobody sees half of it, and an interrupt leaves nothing
    for stale in folder.parent.glob(f".{glob.escape(folder.name)}.*.partial"):
        shutil.rmtree(stale, ignore_errors=True)  # of a demo that was killed: the lock says that none is at work
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
    try:
        simulate(partial, **SETTINGS)  # type: ignore[arg-type]
        (partial / MARKER).write_text(json.dumps(_description(partial)), encoding="utf-8")
        # what a temporary folder hides from other users is no secret
        partial.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
