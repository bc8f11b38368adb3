"""Reads rows of the stimulus images and of the segmentation masks. A file is opened for each read, none stays open."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import h5py
import numpy as np
import numpy.typing as npt
from PIL import Image

from laion_xr.errors import FileFormatError, LaionXRError, describe_names
from laion_xr.location import FileEntry, Location
from laion_xr.readers.hdf5 import opened_hdf5
from laion_xr.readers.pictures import Pixels, Size, decode, size_of

IMAGES, MASKS = "images", "masks"
PUBLISHED_SIZE = (1000, 1000)
# Images whose header is asked for the size that all have, until one can be read
_LOOKED_AT = 4


class ImageInfo(NamedTuple):
    """What an image file holds: how many images, and the height and width of the first that can be read."""

    n_images: int
    size: Size


class ImageRow(NamedTuple):
    """Which image: its row in the file, and its name, for messages."""

    row: int
    name: str


@contextmanager
def opened_array(location: Location, entry: FileEntry, name: str, ndim: int) -> Iterator[h5py.Dataset]:
    """Open an array of an HDF5 file while a `with` block runs.

    Raises
    ------
    FileFormatError
        There is no array of this name and number of dims.
    """
    with opened_hdf5(location, entry) as file:
        array = file.get(name)
        if not isinstance(array, h5py.Dataset) or array.ndim != ndim:
            found = describe_names(file) if not isinstance(array, h5py.Dataset) else f"shape {array.shape}"
            raise FileFormatError(
                f"{location.show(entry.path)} has no array {name!r} of {ndim} dims: found {found}; download it again."
            )
        yield array


def read_image_info(location: Location, entry: FileEntry) -> ImageInfo:
    """Return the number of images, and their size as the header of the first one tells it."""
    return location.remembered(entry, "images", lambda: _read_info(location, entry), (_packed, _unpacked))


def _packed(info: ImageInfo) -> bytes:
    return json.dumps(info).encode()


def _unpacked(data: bytes) -> ImageInfo:
    n_images, (height, width) = json.loads(data)
    return ImageInfo(n_images, (height, width))


def _read_info(location: Location, entry: FileEntry) -> ImageInfo:
    with opened_array(location, entry, IMAGES, 1) as images:
        for row in range(min(_LOOKED_AT, len(images))):
            try:
                return ImageInfo(len(images), size_of(_bytes(images[row]), ""))
            except LaionXRError:
                continue  # whoever reads it hears of it
        return ImageInfo(len(images), PUBLISHED_SIZE)


def read_encoded(location: Location, entry: FileEntry, rows: Sequence[ImageRow]) -> Iterator[bytes]:
    """Yield images as the bytes of their files, in any order.

    Raises
    ------
    FileFormatError
        The file has fewer rows.
    """
    if not rows:
        return
    with opened_array(location, entry, IMAGES, 1) as images:
        for at in rows:
            if at.row >= len(images):
                raise FileFormatError(
                    f"{location.show(entry.path)} does not hold a row for each row of the metadata: expected "
                    f"{at.name!r} in row {at.row}, found {len(images)} rows; download both again."
                )
            yield _bytes(images[at.row])


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else np.asarray(value).tobytes()


@dataclass(frozen=True)
class ImageSource:
    """The stimulus images, decoded to RGB: picklable, no handle kept. Items are `ImageRow`.

    `size` is the height and width of what `read` returns. Images of another size are resized where `resizes`, and
    else an error.
    """

    location: Location
    entry: FileEntry
    size: Size
    resizes: bool

    dtype = np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an image: (y, x, rgb)."""
        return (*self.size, 3)

    @property
    def token(self) -> tuple[object, ...]:
        """Plain values that change whenever what `read` returns may change."""
        return "images", self.location.url, *self.entry, self.size, self.resizes

    def read(self, items: Sequence[ImageRow]) -> Pixels:
        """Return images as `(len(items), y, x, rgb)`.

        Raises
        ------
        FileFormatError
            One cannot be decoded or is of another size; the message names it.
        """
        out = np.empty((len(items), *self.shape), np.uint8)
        encoded = read_encoded(self.location, self.entry, items)
        for at, data, pixels in zip(items, encoded, out, strict=True):
            pixels[...] = self._decoded(data, at)
        return out

    def _decoded(self, data: bytes, at: ImageRow) -> Pixels:
        name = described(self.location, self.entry, at)
        picture = decode(data, name, self.size if self.resizes else None)
        if picture.size != self.size[::-1]:
            raise FileFormatError(
                f"{name} is of another size than the first: expected {self.size[0]} x {self.size[1]} pixels, found "
                f"{picture.height} x {picture.width}; choose a size for all (image_size=, or size=)."
            )
        return np.asarray(picture)


def described(location: Location, entry: FileEntry, at: ImageRow) -> str:
    """Return what an image is called in messages."""
    return f"The image {at.name!r} (row {at.row} of {location.show(entry.path)})"


@dataclass(frozen=True)
class MaskSource:
    """Segmentation masks, or unions of them: picklable, no handle kept. An item is a tuple of rows of the file."""

    location: Location
    entry: FileEntry
    size: Size
    resizes: bool = False

    dtype = np.dtype(np.bool_)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a mask: (y, x)."""
        return self.size

    @property
    def token(self) -> tuple[object, ...]:
        """Plain values that change whenever what `read` returns may change."""
        return "masks", self.location.url, *self.entry, self.size, self.resizes

    def read(self, items: Sequence[tuple[int, ...]]) -> npt.NDArray[np.bool_]:
        """Return the unions of masks, `(len(items), y, x)`; nothing is inside no mask."""
        out = np.zeros((len(items), *self.size), np.bool_)
        if not any(items):
            return out
        with opened_array(self.location, self.entry, MASKS, 3) as masks:
            for rows, inside in zip(items, out, strict=True):
                for row in rows:
                    inside |= self._resized(self._mask(masks, row))
        return out

    def _mask(self, masks: h5py.Dataset, row: int) -> npt.NDArray[np.bool_]:
        if not 0 <= row < len(masks):
            raise FileFormatError(
                f"{self.location.show(self.entry.path)} does not hold every mask of its table: expected row {row}, "
                f"found {len(masks)} rows; download both again."
            )
        inside: npt.NDArray[np.bool_] = np.asarray(masks[row]) != 0
        return inside

    def _resized(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        if mask.shape == self.size:
            return mask
        picture = Image.fromarray(mask.astype(np.uint8)).resize(self.size[::-1], Image.Resampling.NEAREST)
        return np.asarray(picture, dtype=np.bool_)


def read_mask_shape(location: Location, entry: FileEntry) -> tuple[int, int, int]:
    """Return the number of masks, their height and their width."""

    def found() -> tuple[int, int, int]:
        with opened_array(location, entry, MASKS, 3) as masks:
            n, height, width = masks.shape
            return int(n), int(height), int(width)

    def unpacked(data: bytes) -> tuple[int, int, int]:
        n, height, width = json.loads(data)
        return n, height, width

    return location.remembered(entry, "masks", found, (lambda shape: json.dumps(shape).encode(), unpacked))
