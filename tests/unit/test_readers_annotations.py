"""The tables of captions and masks, as real files hold them."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from laion_xr.errors import FileFormatError
from laion_xr.readers.annotations import parse_captions, parse_masks

TEXTS = [
    'a "quoted" dog',
    "commas, commas",
    "two\nlines",
    "un café ☕",
    "NA",
    "12",
    "None",
    "",
    " spaced ",
    "semi;colon",
]


def caption_csv(rows=None, **options) -> bytes:
    rows = rows or [("b.jpg", i, "ai" if i == 0 else "human", text) for i, text in enumerate(TEXTS)]
    table = pd.DataFrame(rows, columns=["image_name", "caption_idx", "source", "caption"])
    buffer = io.BytesIO()
    table.to_csv(buffer, index=False, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("lineterminator", ["\n", "\r\n"])
def test_text_arrives_as_it_was_written(encoding, lineterminator):
    found = parse_captions(caption_csv(encoding=encoding, lineterminator=lineterminator), "captions.csv")
    assert found["caption"].tolist() == TEXTS
    assert found["caption_idx"].tolist() == list(range(len(TEXTS)))


def test_other_encoding():
    data = caption_csv([("b.jpg", 1, "human", "un café, “près”")], encoding="cp1252")
    assert parse_captions(data, "captions.csv")["caption"].tolist() == ["un café, “près”"]


def test_numbers_stay_text():
    rows = [("b.jpg", 1, "human", "12"), ("b.jpg", 0, "ai", "1e3")]
    assert parse_captions(caption_csv(rows), "c.csv")["caption"].tolist() == ["1e3", "12"]


def test_order_is_by_image_of_the_file_and_by_number():
    rows = [("b", 2, "human", "x"), ("a", 1, "human", "y"), ("b", 0, "ai", "z")]
    found = parse_captions(caption_csv(rows), "c.csv")
    assert list(zip(found["image_name"], found["caption_idx"], strict=True)) == [("b", 0), ("b", 2), ("a", 1)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b"image_name,caption\na,b\n",
            "is not the table of captions: expected a column 'caption_idx', found image_name",
        ),
        (caption_csv([("a", 1, "human", "x"), ("a", 1, "human", "y")]), "has two captions 1 of the image 'a'"),
        (
            caption_csv([("a", 1.5, "human", "x")]),
            "has a caption_idx that is not a whole number from 0 on in row 0: 1.5",
        ),
        (caption_csv([("a", -1, "human", "x")]), "not a whole number from 0 on in row 0: -1"),
        (caption_csv()[:55], "c.csv, line"),
    ],
)
def test_broken_captions(data, message):
    with pytest.raises(FileFormatError, match=f"^c.csv.*{message.removeprefix('c.csv')}"):
        parse_captions(data, "c.csv")


MASKS = "mask_row,image_name,noun,instance_id,score,box_x0,box_y0,box_x1,box_y1,localized,mask_file\n"


def test_masks_in_the_order_of_their_rows():
    found = parse_masks((MASKS + "1,a,dog,0,0.5,0,0,1,1,True,x\n0,b,7,2,0.5,0,0,1,1,True,y\n").encode(), "m.csv")
    assert found["mask_row"].tolist() == [0, 1]
    assert found["noun"].tolist() == ["7", "dog"]


def test_no_masks():
    found = parse_masks(MASKS.encode(), "m.csv")
    assert len(found) == 0
    assert found["mask_row"].dtype == "int64"


def test_a_mask_that_is_there_twice():
    data = (MASKS + "1,a,dog,0,0.5,0,0,1,1,True,x\n" * 2).encode()
    with pytest.raises(FileFormatError, match=r"m\.csv names the mask 1 more than once"):
        parse_masks(data, "m.csv")
