"""Draws the simulated images: shapes that show the image's kind on a background of its own colours."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from laion_xr.simulate.catalogue import KINDS
from laion_xr.simulate.streams import stream

# PNG images come in these modes in turn; one JPEG of ten is grey
PNG_MODES = ("RGBA", "L", "P", "RGB")

# corners of each kind's shape in a box from -1 to 1; two points are an ellipse
_SHAPES: dict[str, tuple[tuple[float, float], ...]] = {
    "body": ((-0.3, -1), (0.3, -1), (0.7, 0), (0.4, 1), (-0.4, 1), (-0.7, 0)),
    "character": ((-1, -0.4), (1, -0.4), (1, 0.4), (-1, 0.4)),
    "face": ((-0.8, -1), (0.8, 1)),
    "food": ((-1, -1), (1, 1)),
    "animal": ((-1, -0.5), (0.5, -0.5), (1, -1), (1, 0.3), (0.6, 1), (-0.8, 1)),
    "object": ((-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)),
    "place": ((0, -1), (1, -0.1), (1, 1), (-1, 1), (-1, -0.1)),
    "pattern": ((0, -1), (1, 0), (0, 1), (-1, 0)),
}


class Instance(NamedTuple):
    """A shape in an image: centre and half size as shares of the image's side."""

    x: float
    y: float
    radius: float


def instances(seed: int, name: str) -> list[Instance]:
    """Return the shapes of an image: one or two, side by side, never touching."""
    rng = stream(seed, "picture", name)
    if rng.random() < 0.3:
        return [Instance(x, float(rng.uniform(0.4, 0.6)), float(rng.uniform(0.12, 0.2))) for x in (0.27, 0.73)]
    x, y, radius = rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.6), rng.uniform(0.2, 0.36)
    return [Instance(float(x), float(y), float(radius))]


def instance_mask(kind: str, instance: Instance, size: int) -> npt.NDArray[np.uint8]:
    """Return where a shape lies in an image of `size` pixels: uint8 (size, size), 1 inside."""
    canvas = Image.new("L", (size, size))
    _fill(ImageDraw.Draw(canvas), kind, instance, size, 1)
    return np.asarray(canvas)


def draw(seed: int, name: str, kind: str, size: int) -> Image.Image:
    """Return an image as RGB of `size` x `size` pixels."""
    rng = stream(seed, "picture", name, "colours")
    # five by five colours, smoothed: compresses as a photograph does, and differs from image to image
    coarse = rng.integers(30, 200, (5, 5, 3), dtype=np.uint8)
    canvas = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
    hue = np.array([KINDS.index(kind) * 37 % 256, 120, 230 - KINDS.index(kind) * 20])
    colour = tuple(int(c) for c in np.clip(hue + rng.integers(-25, 26, 3), 0, 255))
    pen = ImageDraw.Draw(canvas)
    for instance in instances(seed, name):
        _fill(pen, kind, instance, size, colour)
    return canvas


def encode(picture: Image.Image, name: str, turn: int) -> bytes:
    """Return an image as the bytes of a file: JPEG or PNG by its name, its mode by `turn`."""
    buffer = io.BytesIO()
    if name.endswith(".png"):
        mode = PNG_MODES[turn % len(PNG_MODES)]
        if mode == "RGBA":
            picture = picture.copy()
            picture.putalpha(Image.linear_gradient("L").resize(picture.size))
        else:
            picture = picture.convert(mode)
        picture.save(buffer, "PNG")
    else:
        (picture.convert("L") if turn % 10 == 9 else picture).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def _fill(pen: ImageDraw.ImageDraw, kind: str, at: Instance, size: int, colour: int | tuple[int, ...]) -> None:
    points = [((at.x + at.radius * x) * size, (at.y + at.radius * y) * size) for x, y in _SHAPES[kind]]
    if len(points) == 2:
        pen.ellipse([points[0], points[1]], fill=colour)
    else:
        pen.polygon(points, fill=colour)
