"""What a download would do: which files, how many bytes, whether they fit, what is here, what is held back."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laion_xr.access.room import on_disk
from laion_xr.access.selection import kind_of
from laion_xr.errors import NoSpaceError
from laion_xr.location import FileEntry, Location
from laion_xr.quantities import count_text, size_text


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
    checked
        Those of `files` that are here: they are read, and fetched again only where they are damaged.
    block
        Bytes that the disk gives at a time.
    """

    source: Location
    root: Path
    files: tuple[FileEntry, ...]
    present: tuple[FileEntry, ...]
    held_out: dict[str, tuple[str, ...]]
    partial_bytes: int
    free: int
    checked: tuple[FileEntry, ...] = ()
    block: int = 1

    @property
    def absent(self) -> tuple[FileEntry, ...]:
        """Those of `files` that are not here."""
        here = set(self.checked)
        return tuple(file for file in self.files if file not in here)

    @property
    def bytes(self) -> int:
        """Bytes to fetch."""
        return sum(file.size for file in self.absent) - self.partial_bytes

    @property
    def room(self) -> int:
        """Bytes that they take on the disk, which gives whole blocks."""
        return max(on_disk((file.size for file in self.absent), self.block) - self.partial_bytes, 0)

    @property
    def fits(self) -> bool:
        """Whether there is room for them."""
        return self.room <= self.free

    @property
    def kinds(self) -> dict[str, tuple[int, int]]:
        """Kind of file -> how many are to be fetched, and their bytes."""
        found: dict[str, tuple[int, int]] = {}
        for file in self.absent:
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
                f"The download does not fit: it needs {size_text(self.room)} in {self.root}, and "
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
            "checked": [f.path for f in self.checked],
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
            ("to fetch", f"{count_text(len(self.absent), 'file')}, {size_text(self.bytes)}"),
        ]
        found += [
            (f"  {kind}", f"{count_text(n, 'file')}, {size_text(size)}") for kind, (n, size) in self.kinds.items()
        ]
        if self.partial_bytes:
            found.append(("begun", f"{size_text(self.partial_bytes)} of an earlier download are used"))
        if self.checked:
            size = sum(file.size for file in self.checked)
            found.append(("to check", f"{count_text(len(self.checked), 'file')} that are here, {size_text(size)}"))
        if self.present:
            found.append(
                ("here", f"{count_text(len(self.present), 'file')}, {size_text(sum(f.size for f in self.present))}")
            )
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
