"""The images as PIL pictures, bytes, arrays and files, by name."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from laion_xr import layout
from laion_xr.errors import SelectionError
from laion_xr.location import FileEntry
from laion_xr.readers.images import ImageRow, described, read_encoded
from laion_xr.readers.pictures import Pixels, decode, picture_size
from laion_xr.stimuli.folder import StimulusFolder, counted
from laion_xr.stimuli.table import stimulus_entry
from laion_xr.stimuli.variables import image_source

Encoded = bytes  # in the class the name is that of a method

# Images that are read while the file is open once
_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Images:
    """The stimulus images. Every look-up raises `StimuliNotDownloadedError` where the (gated) file is not there.

    Examples
    --------
    >>> images = load_stimuli(root).images  # doctest: +SKIP
    >>> images["shared_12rep_LAION_cluster_1003_i0.jpg"].size  # doctest: +SKIP
    (1000, 1000)
    """

    folder: StimulusFolder

    def __repr__(self) -> str:
        here = layout.stimulus_path("images") in self.folder.files
        names = counted(self.folder, "metadata", "image")
        return f"<Images: {names}{'' if here else ', without their pictures'}, of {self.folder.location.url}>"

    def __len__(self) -> int:
        return len(self.folder.names)

    def __contains__(self, name: object) -> bool:
        return name in self.folder.names

    def __getitem__(self, name: str) -> Image.Image:
        return self.get(name)

    def __iter__(self) -> Iterator[tuple[str, Image.Image]]:
        return self.iterate()

    @property
    def names(self) -> list[str]:
        """File names, in the order of the metadata."""
        return [str(name) for name in self.folder.names]

    def bytes(self, name: str) -> Encoded:
        """Return an image as the bytes of its JPEG or PNG file.

        Raises
        ------
        UnknownLabelError
            No image has the name.
        """
        return next(self._encoded([name]))[1]

    def get(self, name: str, size: object = None) -> Image.Image:
        """Return an image as a PIL picture in RGB, resized to `size` (pixels, or (height, width)) if that is given.

        Raises
        ------
        UnknownLabelError
            No image has the name.
        FileFormatError
            Its bytes cannot be decoded.
        """
        return next(self.iterate([name], size))[1]

    def array(self, names: str | Iterable[str], size: object = None) -> Pixels:
        """Return an image as `(y, x, rgb)` uint8, or several as `(len(names), y, x, rgb)`."""
        if isinstance(names, str):
            return np.asarray(self.get(names, size))
        asked = self.folder.known(names)
        source = image_source(self.folder.location, self.folder.files, len(self), picture_size(size))
        return source.read([ImageRow(self.folder.row(name), name) for name in asked])

    def iterate(self, names: Iterable[str] | None = None, size: object = None) -> Iterator[tuple[str, Image.Image]]:
        """Yield (name, PIL picture in RGB) one by one: all images, or the named ones in their order."""
        entry, location, wanted = self._entry, self.folder.location, picture_size(size)
        for name, data in self._encoded(names):
            where = described(location, entry, ImageRow(self.folder.row(name), name))
            yield name, decode(data, where, wanted)

    def export(self, folder: str | os.PathLike[str], names: Iterable[str] | None = None) -> list[Path]:
        """Write images as they are, JPEG or PNG, into a folder, each under its own name; return their paths.

        A file is complete or not there. Those that are there are replaced.

        Raises
        ------
        SelectionError
            A name is not that of a file in the folder (`../x.jpg`).
        """
        target = Path(folder)
        asked = self.names if names is None else self.folder.known(names)
        for name in asked:
            if PurePosixPath(name).name != name or "\\" in name or name in (".", ".."):
                raise SelectionError(f"The image {name!r} cannot be exported: its name leads out of the folder.")
        self._entry  # noqa: B018 - no folder is made where there is nothing to write
        target.mkdir(parents=True, exist_ok=True)
        written = []
        for name, data in self._encoded(asked):
            partial = target / f".{uuid.uuid4().hex}.part"
            try:
                partial.write_bytes(data)
                partial.replace(target / name)
            finally:
                partial.unlink(missing_ok=True)
            written.append(target / name)
        return written

    @property
    def _entry(self) -> FileEntry:
        return stimulus_entry(self.folder.location, self.folder.files, "images")

    def _encoded(self, names: Iterable[str] | None) -> Iterator[tuple[str, Encoded]]:
        location, files = self.folder.location, self.folder.files
        source = image_source(location, files, len(self), None)
        asked = self.names if names is None else self.folder.known(names)
        for start in range(0, len(asked), _AT_ONCE):
            part = asked[start : start + _AT_ONCE]
            rows = [ImageRow(self.folder.row(name), name) for name in part]
            yield from zip(part, list(read_encoded(location, source.entry, rows)), strict=True)
