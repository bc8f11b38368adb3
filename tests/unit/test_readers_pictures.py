"""Decoding: every mode that PIL writes becomes RGB, and what is not an image is an error that names it."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from laion_xr.errors import FileFormatError, SelectionError
from laion_xr.readers import pictures
from laion_xr.readers.pictures import decode, picture_size, size_of


def encoded(image: Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.fixture
def picture() -> Image.Image:
    colours = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((50, 60), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_any_png_mode_becomes_rgb(picture, mode):
    given = picture.convert(mode)
    found = decode(encoded(given), "a.png")
    assert found.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(found), np.asarray(given.convert("RGB")))


def test_palette_with_transparency(picture):
    given = picture.convert("P")
    found = decode(encoded(given, transparency=bytes(range(256))), "a.png")  # a warning would be an error here
    opaque = np.asarray(given)[..., None] / 255  # the alpha of a colour is its number
    expected = opaque * np.asarray(given.convert("RGB")) + (1 - opaque) * 128
    np.testing.assert_allclose(np.asarray(found), expected, atol=1)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_parts_show_the_grey_screen(picture, mode):
    given = picture.convert(mode)
    alpha = np.random.default_rng(2).integers(0, 256, (given.height, given.width), dtype=np.uint8)
    given.putalpha(Image.fromarray(alpha))
    opaque = alpha[..., None] / 255
    expected = opaque * np.asarray(picture.convert(mode).convert("RGB")) + (1 - opaque) * 128
    np.testing.assert_allclose(np.asarray(decode(encoded(given), "a.png")), expected, atol=1)


def test_a_colour_that_is_transparent(picture):
    values = np.full((4, 4, 3), 10, np.uint8)
    values[0] = 200
    found = np.asarray(decode(encoded(Image.fromarray(values), transparency=(200, 200, 200)), "a.png"))
    assert (found[0] == 128).all()
    assert (found[1:] == 10).all()


def test_16_bit_grey_keeps_its_upper_bits():
    values = np.array([[0, 255, 256], [32768, 65535, 1000]], np.uint16)
    found = np.asarray(decode(encoded(Image.fromarray(values)), "a.png"))
    np.testing.assert_array_equal(found, np.repeat((values // 256)[..., None], 3, axis=2))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_any_jpeg_mode_becomes_rgb(picture, mode):
    data = encoded(picture.convert(mode), "JPEG")
    with Image.open(io.BytesIO(data)) as plain:
        np.testing.assert_array_equal(np.asarray(decode(data, "a.jpg")), np.asarray(plain.convert("RGB")))


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(224, 224), (20, 30), (100, 125), (1000, 700), (500, 500)])
def test_resized_close_to_a_full_decode(form, size):
    colours = np.random.default_rng(1).integers(0, 256, (7, 6, 3), dtype=np.uint8)
    whole = Image.fromarray(colours).resize((800, 1000), Image.Resampling.BICUBIC)
    data = encoded(whole, form)
    found = decode(data, "a", size)
    assert found.size == (size[1], size[0])
    with Image.open(io.BytesIO(data)) as plain:
        expected = plain.convert("RGB").resize((size[1], size[0]), Image.Resampling.BICUBIC)
    difference = np.abs(np.asarray(found, np.int16) - np.asarray(expected, np.int16))
    assert difference.mean() < 1
    assert difference.max() <= (0 if form == "PNG" else 24)


def test_what_is_not_an_image(picture):
    whole = encoded(picture, "JPEG", quality=95)
    for data in (
        b"hello, I am text",
        b"\x89PNG\r\n\x1a\n" + bytes(30),
        whole[: len(whole) // 2],
        b"GIF89a" + bytes(99),
    ):
        with pytest.raises(
            FileFormatError, match=r"The image 'b\.jpg' is not a JPEG or PNG .*download the images again"
        ):
            decode(data, "The image 'b.jpg'")
    with pytest.raises(FileFormatError, match=r"The image 'b\.jpg' is empty \(0 bytes\)"):
        decode(b"", "The image 'b.jpg'")


def png_header(width: int, height: int) -> bytes:
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(100))
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (head, data, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_size_needs_the_header_only():
    assert size_of(png_header(50, 60), "a.png") == (60, 50)


@pytest.mark.parametrize("side", [7_100, 10_000, 40_000])
def test_decompression_bomb(side):
    # below PIL's limit, above its limit for a warning, above that for an error
    assert side**2 > pictures.MOST_PIXELS
    with pytest.raises(FileFormatError, match=r"b\.png is too large to be a stimulus: .*it was not decoded"):
        decode(png_header(side, side), "b.png", (10, 10))


@pytest.mark.parametrize(
    ("size", "expected"), [(None, None), (224, (224, 224)), ((3, 4), (3, 4)), ([np.int64(5), 6], (5, 6))]
)
def test_picture_size(size, expected):
    assert picture_size(size) == expected


@pytest.mark.parametrize("size", [0, -1, 2.5, "224", (1, 2, 3), (0, 5), True])
def test_picture_size_that_means_nothing(size):
    with pytest.raises(SelectionError, match=r"An image size is a number of pixels, or \(height, width\): found"):
        picture_size(size)
