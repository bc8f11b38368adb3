"""Decodes a JPEG or PNG to RGB pixels: PIL, one image at a time, bytes in and pixels out."""

from __future__ import annotations

import io
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from laion_xr.errors import FileFormatError, SelectionError

Size = tuple[int, int]  # height, width
Pixels = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG")
# 50 times the published 1000 x 1000, 150 MB as RGB: what is larger is a mistake, or made to fill the memory
MOST_PIXELS = 50_000_000
RESAMPLING = Image.Resampling.BICUBIC
# The scanner's screen was middle grey: what a subject saw through transparent parts
SCREEN = (128, 128, 128)


def picture_size(size: object) -> Size | None:
    """Return `(height, width)` of `224`, `(224, 300)` or None (as in the file).

    Raises
    ------
    SelectionError
        Not one or two whole numbers above 0.
    """
    if size is None:
        return None
    sides: list[Any] = list(size) if isinstance(size, (tuple, list)) else [size, size]
    if len(sides) != 2 or not all(not isinstance(n, bool) and isinstance(n, Integral) and int(n) > 0 for n in sides):
        raise SelectionError(f"An image size is a number of pixels, or (height, width): found {size!r}.")
    return int(sides[0]), int(sides[1])


def size_of(data: bytes, name: str) -> Size:
    """Return the height and width that the header of an image tells; no pixel is decoded."""
    width, height = _opened(data, name).size
    return height, width


def decode(data: bytes, name: str, size: Size | None = None) -> Image.Image:
    """Return an image as RGB.

    Parameters
    ----------
    data
        The bytes of a JPEG or PNG, of any mode. Transparent parts show the grey of the screen, 16-bit greys keep
        their upper 8 bits.
    name
        The image's name and its file, for messages.
    size
        Height and width to resize to, bicubic. A JPEG is decoded at the smallest eighth of its size that is not
        below that, which saves most of the time.

    Raises
    ------
    FileFormatError
        The bytes are not such an image, are truncated, or hold more than `MOST_PIXELS` pixels.
    """
    image = _opened(data, name)
    if size is not None and image.format == "JPEG":
        image.draft(image.mode, (size[1], size[0]))
    try:
        image.load()
        rgb = _as_rgb(image)
    except (OSError, ValueError, SyntaxError, MemoryError) as error:
        raise _undecodable(name, error) from None
    if size is not None and rgb.size != (size[1], size[0]):
        rgb = rgb.resize((size[1], size[0]), RESAMPLING)
    return rgb


def _opened(data: bytes, name: str) -> Image.Image:
    if not data:
        raise FileFormatError(f"{name} is empty (0 bytes): expected a JPEG or PNG; download the images again.")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(name, str(error)) from None
    except (OSError, ValueError, SyntaxError) as error:
        raise _undecodable(name, error, data[:8]) from None
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise _too_large(name, f"{width} x {height}")
    return image


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # PIL clips 16-bit greys to white
        grey = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        shown = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", shown.size, (*SCREEN, 255)), shown).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _undecodable(name: str, error: Exception, head: bytes | None = None) -> FileFormatError:
    found = f"it begins with {head!r}" if head is not None else str(error)
    return FileFormatError(f"{name} is not a JPEG or PNG that can be decoded: {found}; download the images again.")


def _too_large(name: str, found: str) -> FileFormatError:
    return FileFormatError(
        f"{name} is too large to be a stimulus: expected at most {MOST_PIXELS:,} pixels, found {found}; it was not "
        "decoded. Download the images again."
    )
