"""All stimuli at once, by the older methods of the published loader; `load_stimuli` is the way of today."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from laion_xr.compat.arguments import stimulus_kind
from laion_xr.compat.stimuli import StimulusTables
from laion_xr.errors import SelectionError

FORMATS = ("pil", "numpy", "torch")


class SubjectPictures:
    """The methods of `Subject` that return stimuli of the whole dataset."""

    _tables: StimulusTables

    def get_stimulus_metadata(self) -> pd.DataFrame:
        """Return the stimulus metadata, a row an image.

        Raises
        ------
        StimuliNotDownloadedError
            They are not there.
        """
        return self._tables.metadata.copy()

    def get_images(self, stimuli: str | None = None, format: str = "pil") -> Any:
        """Return the images of the dataset: all of them, in memory.

        Parameters
        ----------
        stimuli
            `"shared"`, `"unique"`; None for all.
        format
            `"pil"`: a list of pictures, in the modes of their files; `"numpy"`: `(image, y, x, rgb)` uint8;
            `"torch"`: `(image, rgb, y, x)` float32 in 0-1, a NumPy array.

        Raises
        ------
        StimuliNotDownloadedError
            The metadata or the images are not there.
        ValueError
            Another format, or other stimuli.
        """
        if (kind := stimulus_kind(stimuli)) is None:
            rows = np.arange(len(self._tables.metadata))
        else:
            rows = np.flatnonzero(self._tables.with_columns("unique_or_shared")["unique_or_shared"] == kind)
        return pictures(self._tables, rows.tolist(), format)

    def get_image(self, idx: int) -> Any:
        """Return one image, by its row in the stimulus metadata, as a PIL picture."""
        return self._tables.picture(idx, as_displayed=False)


def pictures(tables: StimulusTables, rows: list[int], format: str) -> Any:
    """Return images by their rows; see `SubjectPictures.get_images`."""
    if format not in FORMATS:
        raise SelectionError(f"format must be one of {', '.join(FORMATS)}; found {format!r}.")
    found = [tables.picture(row, as_displayed=format != "pil") for row in rows]
    if format == "pil":
        return found
    stack = np.stack([np.asarray(picture) for picture in found]).astype(np.uint8, copy=False)
    return stack if format == "numpy" else (stack.astype(np.float32) / 255.0).transpose(0, 3, 1, 2)
