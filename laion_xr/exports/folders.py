"""The folder of an export: written beside its place and moved there when it is complete; names of its files."""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from laion_xr.analysis.nifti import local_path, made_folder
from laion_xr.errors import FileFormatError, SelectionError

DESCRIPTION = "dataset.json"
UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
# File systems take 255 bytes; a prefix, a number and an ending come to it
LONGEST_NAME = 180


@contextmanager
def new_folder(folder: str | os.PathLike[str], kind: str, overwrite: bool) -> Iterator[Path]:
    """Give an empty folder to write into; it gets its name when the context ends well, and is gone when it does not.

    Parameters
    ----------
    kind
        What `DESCRIPTION` in it says as its format: only a folder of this kind is ever replaced.

    Raises
    ------
    SelectionError
        The folder is there, and may not be replaced; a file is above it; or it is an address, or no path.
    FileAccessError
        It may not be written.
    """
    final = local_path(folder, "folder", "folder").absolute()
    check_place(final, kind, overwrite)
    partial = final.with_name(f".{final.name}.{uuid.uuid4().hex}")
    replaced = final.with_name(f"{partial.name}.replaced")
    made_folder(final.parent)
    made_folder(partial)
    try:
        yield partial
        check_place(final, kind, overwrite)  # another may have written meanwhile
        if final.exists():
            final.rename(replaced)
        partial.rename(final)
    except BaseException:
        if replaced.exists() and not final.exists():
            replaced.rename(final)
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def check_place(final: Path, kind: str, overwrite: bool) -> None:
    """Check that a folder may get this name.

    Raises
    ------
    SelectionError
        It may not.
    """
    if not final.exists() and not final.is_symlink():
        return
    if not final.is_dir() or final.is_symlink():
        raise SelectionError(f"Expected a folder, or nothing yet, at {final}, found a file: give another name.")
    if not any(final.iterdir()):
        return
    try:
        found = read_description(final, kind)
    except FileFormatError:
        found = None
    if found is None:
        raise SelectionError(f"{final} is there, and no {kind} of laion_xr, so that it is not replaced: give another.")
    if not overwrite:
        raise SelectionError(f"{final} is there: give another folder, or overwrite=True to replace it.")


def write_description(folder: Path, kind: str, content: dict[str, Any]) -> None:
    """Write `DESCRIPTION`."""
    text = json.dumps({"format": kind, **content}, indent=1, ensure_ascii=False)
    (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")


def read_description(folder: Path, kind: str) -> dict[str, Any]:
    """Read `DESCRIPTION`.

    Raises
    ------
    FileFormatError
        It is not there, no JSON, or of something else.
    """
    path = folder / DESCRIPTION
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileFormatError(f"Expected a {kind} of laion_xr, and found no {path}.") from None
    except (OSError, ValueError) as error:
        raise FileFormatError(f"Expected JSON in {path}: {error}.") from error
    if not isinstance(found, dict) or found.get("format") != kind:
        raise FileFormatError(f"Expected the description of a {kind} in {path}, found something else.")
    return found


def file_names(labels: Iterable[object], prefix: str = "", taken: Iterable[str] = ()) -> list[str]:
    """Return a file name, without ending, for each label: safe on every file system, none twice.

    What is not a letter, digit, dot, dash or underscore becomes one dash; a name that is there already, in capitals or
    not, gets a number.
    """
    seen, found = {name.lower() for name in taken}, []
    for label in labels:
        base = prefix + (UNSAFE.sub("-", str(label)).strip("-.")[:LONGEST_NAME] or "unnamed")
        name, number = base, 1
        while name.lower() in seen:
            number += 1
            name = f"{base}-{number}"
        seen.add(name.lower())
        found.append(name)
    return found
