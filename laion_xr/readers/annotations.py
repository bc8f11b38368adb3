"""Parses the tables of captions and segmentations, and checks what the rest of the package relies on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from laion_xr.errors import FileFormatError, describe_names
from laion_xr.readers.tables import parse_table

CAPTION_COLUMNS = ("image_name", "caption_idx", "source", "caption")
CAPTION_TEXT = ("image_name", "source", "caption", "origin_collection", "participant_id", "ai_model")
BOX = ("box_x0", "box_y0", "box_x1", "box_y1")
MASK_COLUMNS = ("mask_row", "image_name", "noun", "instance_id", "score", *BOX)
MASK_TEXT = ("image_name", "noun", "mask_file")


def parse_captions(data: bytes, name: str) -> pd.DataFrame:
    """Return the captions, a row a caption, by image in the order of the file and by `caption_idx`.

    Parameters
    ----------
    data
        The CSV file; `laion_xr.readers.tables` says which encodings and quotes are understood.
    name
        Its address, for messages.

    Raises
    ------
    FileFormatError
        A column is missing, `caption_idx` is not a whole number from 0 on, or an image has two captions of one.
    """
    table = _checked(data, name, CAPTION_COLUMNS, ("caption_idx",), CAPTION_TEXT, "captions")
    twice = table.duplicated(["image_name", "caption_idx"])
    if twice.any():
        row = table[twice].iloc[0]
        raise FileFormatError(
            f"{name} has two captions {row['caption_idx']} of the image {row['image_name']!r}: expected one of each "
            "number; download it again."
        )
    first = pd.Categorical(table["image_name"], categories=table["image_name"].unique(), ordered=True)
    table = table.assign(_first=first).sort_values(["_first", "caption_idx"], kind="stable")
    return table.drop(columns="_first").reset_index(drop=True)


def parse_masks(data: bytes, name: str) -> pd.DataFrame:
    """Return the table of the segmentation masks, a row a mask, in the order of `mask_row`.

    Raises
    ------
    FileFormatError
        A column is missing, or `mask_row` is not a whole number from 0 on, or is there twice.
    """
    table = _checked(data, name, MASK_COLUMNS, ("mask_row", "instance_id"), MASK_TEXT, "segmentations")
    twice = table["mask_row"].duplicated()
    if twice.any():
        raise FileFormatError(
            f"{name} names the mask {table['mask_row'][twice].iloc[0]} more than once: expected a row a mask; download "
            "it again."
        )
    return table.sort_values("mask_row").reset_index(drop=True)


def _checked(
    data: bytes, name: str, columns: Sequence[str], whole: Sequence[str], text: Sequence[str], what: str
) -> pd.DataFrame:
    table = parse_table(data, name, sep=",", text=text)
    missing = [column for column in columns if column not in table]
    if missing:
        raise FileFormatError(
            f"{name} is not the table of {what}: expected a column {missing[0]!r}, found "
            f"{describe_names(table.columns)}; download it again."
        )
    for column in whole:
        # an empty table has no numbers to tell the type by
        numbers = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=float)
        wrong = ~(np.isfinite(numbers) & (numbers >= 0) & (numbers == np.floor(numbers)))
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise FileFormatError(
                f"{name} has a {column} that is not a whole number from 0 on in row {row}: "
                f"{table[column].tolist()[row]!r}; download it again."
            )
        table[column] = numbers.astype(np.int64)
    return table
