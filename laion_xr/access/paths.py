"""Paths that a listing or a manifest says: only those below the target folder are taken. Imports errors only."""

from __future__ import annotations

import re
from pathlib import Path

from laion_xr.errors import UnsafePathError

_DRIVE = re.compile(r"[A-Za-z]:")


def safe_target(root: Path, relative: str) -> Path:
    """Return the place of a file under a folder, for a path that a listing or a manifest says.

    Raises
    ------
    UnsafePathError
        The path would lead out of the folder: it is absolute, has `..` or a drive in it, or goes through a link that
        leaves.
    """
    parts = relative.split("/")
    strange = any(part in ("", ".", "..") or _DRIVE.match(part) for part in parts)
    if strange or "\\" in relative or any(ord(c) < 32 or ord(c) == 127 for c in relative):
        raise UnsafePathError(
            f"The listing names a file {relative!r}: expected a path below the target folder, found one that may lead "
            "out of it. It is not fetched; check the address."
        )
    top = root.resolve()
    folder = root
    for part in parts[:-1]:
        folder = folder / part
        if folder.is_symlink() and not folder.resolve().is_relative_to(top):
            raise UnsafePathError(
                f"{folder} is a link that leads out of {root}: {relative!r} would be written elsewhere, and is not "
                f"fetched. {_way_out(folder.relative_to(root), folder.resolve())}"
            )
    return root.joinpath(*parts)


def _way_out(link: Path, leads_to: Path) -> str:
    # what is read may lie behind links: only writing through them is refused
    depth = len(link.parts)
    if leads_to.parts[-depth:] == link.parts:
        other = leads_to.parents[depth - 1]
        return (
            f"Download it with {str(other)!r} as the data folder: it comes to where the link leads, and is read through"
            " the link."
        )
    return (
        f"Let the link lead to a folder '{link.as_posix()}' in a folder of the other disk, and download with that "
        "folder as the data folder; what is read may lie behind links. Or remove the link."
    )
