"""How much room a disk has, and how much of it a file takes. Imports errors and quantities only."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from laion_xr.errors import NoSpaceError
from laion_xr.quantities import size_text


def free_space(folder: Path) -> int:
    """Return the free bytes of the disk that a folder is on, or would be."""
    return shutil.disk_usage(_existing(folder)).free


def block_size(folder: Path) -> int:
    """Return the bytes that a disk gives at a time: a file takes a multiple of it. 1 where nobody says."""
    if not hasattr(os, "statvfs"):
        return 1  # Windows
    return os.statvfs(_existing(folder)).f_frsize or 1


def on_disk(sizes: Iterable[int], block: int) -> int:
    """Return the bytes that files of some sizes take in whole blocks."""
    return sum(-(-size // block) for size in sizes) * block


def require_room_beside(path: Path, needed: int) -> None:
    """Raise where a file that is damaged cannot be written anew beside itself.

    Raises
    ------
    NoSpaceError
        The message has both numbers.
    """
    free = free_space(path.parent)
    if needed > free:
        raise NoSpaceError(
            f"{path} is not as it is at its source, and has to be fetched again: that needs {size_text(needed)}, and "
            f"{size_text(free)} are free there. Make room, or remove the file; it was left as it is."
        )


def _existing(folder: Path) -> Path:
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return place
