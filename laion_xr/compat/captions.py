"""`Captions` of the published loader: what people and a model said of an image, by the image's name."""

from __future__ import annotations

import builtins
import os
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from laion_xr.catalog import stimulus_files
from laion_xr.compat.config import get_data_dir
from laion_xr.compat.tables import published_table
from laion_xr.errors import SelectionError
from laion_xr.location import Location
from laion_xr.readers.annotations import CAPTION_COLUMNS
from laion_xr.stimuli.table import stimulus_entry

__all__ = ["Captions"]

Texts = builtins.list[str]  # in the class `list` is a method


class Captions:
    """The captions; an image without any has empty results.

    Parameters
    ----------
    data_dir
        The data folder; the configured one for None.

    Raises
    ------
    StimuliNotDownloadedError
        The captions are not there (a `FileNotFoundError`).
    """

    def __init__(self, data_dir: str | os.PathLike[str] | Location | None = None) -> None:
        self._location = Location.of(get_data_dir() if data_dir is None else data_dir)
        self._table = stimulus_entry(self._location, stimulus_files(self._location), "captions")

    @property
    def data_dir(self) -> Path:
        """The data folder."""
        return Path(self._location.url)

    @cached_property
    def metadata(self) -> pd.DataFrame:
        """A row a caption, just as pandas reads the file; a damaged one is a `FileFormatError` (a `ValueError`)."""
        return published_table(self._location, self._table, "the captions", CAPTION_COLUMNS)

    def __len__(self) -> int:
        return len(self.metadata)

    def __contains__(self, image_name: object) -> bool:
        return image_name in self._rows

    def images(self) -> Texts:
        """Return the images that have captions."""
        return sorted(self._rows)

    def get(self, image_name: str) -> pd.DataFrame:
        """Return the rows of an image by `caption_idx` (0 is the model's); no row for an image without captions."""
        return self._of(image_name).sort_values("caption_idx").reset_index(drop=True)

    def human(self, image_name: str, limit: int | None = None) -> Texts:
        """Return the captions that people wrote, the best first; the first `limit` of them."""
        return self.list(image_name, "human")[:limit]

    def list(self, image_name: str, source: str | None = None) -> Texts:
        """Return captions in the order of `caption_idx`.

        Parameters
        ----------
        image_name
            The image.
        source
            `"human"` or `"ai"`; None for both.

        Raises
        ------
        SelectionError
            Another source (a `ValueError`).
        """
        if source not in (None, "human", "ai"):
            raise SelectionError(f"source must be 'human', 'ai' or None, found {source!r}.")
        rows = self.get(image_name)
        texts: Texts = (rows if source is None else rows[rows["source"] == source])["caption"].tolist()
        return texts

    def ai(self, image_name: str) -> str | None:
        """Return the caption that a model wrote, None where there is none."""
        found = self.list(image_name, "ai")
        return found[0] if found else None

    @cached_property
    def _rows(self) -> dict[str, npt.NDArray[np.intp]]:
        groups = self.metadata.groupby("image_name", sort=False).indices
        return {str(name): np.asarray(at, dtype=np.intp) for name, at in groups.items()}

    def _of(self, image_name: str) -> pd.DataFrame:
        return self.metadata.iloc[self._rows.get(image_name, np.empty(0, dtype=np.intp))]
