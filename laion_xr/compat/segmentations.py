"""`Segmentations` of the published loader: which objects an image shows, and where, by the image's name."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from laion_xr.catalog import stimulus_files
from laion_xr.compat.config import get_data_dir
from laion_xr.compat.tables import published_table, with_columns
from laion_xr.errors import FileFormatError, UnknownLabelError
from laion_xr.location import Location
from laion_xr.readers.images import MASKS, opened_array
from laion_xr.stimuli.table import stimulus_entry

__all__ = ["Segmentations"]

Pixels = npt.NDArray[np.uint8]

_COLUMNS = ("mask_row", "image_name", "noun", "instance_id")


class Segmentations:
    """The segmentation masks of the shared images; an image without masks has empty results. No file stays open.

    Parameters
    ----------
    data_dir
        The data folder; the configured one for None.

    Raises
    ------
    StimuliNotDownloadedError
        The masks or their table are not there (a `FileNotFoundError`).
    """

    def __init__(self, data_dir: str | os.PathLike[str] | Location | None = None) -> None:
        self._location = Location.of(get_data_dir() if data_dir is None else data_dir)
        files = stimulus_files(self._location)
        self._masks = stimulus_entry(self._location, files, "segmentations")
        self._table = stimulus_entry(self._location, files, "segmentations_metadata")

    @property
    def data_dir(self) -> Path:
        """The data folder."""
        return Path(self._location.url)

    def __enter__(self) -> Segmentations:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing: no file is open."""

    @cached_property
    def metadata(self) -> pd.DataFrame:
        """A row a mask, just as pandas reads the file; a damaged one is a `FileFormatError` (a `ValueError`)."""
        return published_table(self._location, self._table, "the segmentations", _COLUMNS)

    def __len__(self) -> int:
        return len(self.metadata)

    def __getitem__(self, mask_row: int) -> Pixels:
        with opened_array(self._location, self._masks, MASKS, 3) as masks:
            if not 0 <= int(mask_row) < len(masks):
                raise IndexError(f"Mask {mask_row} is outside 0 to {len(masks) - 1}.")
            return np.asarray(masks[int(mask_row)])

    def get(self, image_name: str, noun: str, instance: int = 0) -> Pixels:
        """Return the mask of an object, `(y, x)` uint8, 1 inside.

        Parameters
        ----------
        image_name
            The image.
        noun
            One of `nouns(image_name)`.
        instance
            Which of several: its `instance_id`.

        Raises
        ------
        UnknownLabelError
            The image has no masks, or no such one (a `KeyError`).
        """
        rows = self._of(image_name)
        if rows.empty:
            raise UnknownLabelError(
                f"The image {image_name!r} has no segmentations: only shared images have (see images())."
            )
        match = rows[(rows["noun"] == noun) & (rows["instance_id"] == instance)]
        if match.empty:
            raise UnknownLabelError(
                f"No mask of {noun!r}, instance {instance}, in the image {image_name!r}; its nouns: "
                f"{', '.join(map(str, rows['noun'].unique()))}."
            )
        row = match["mask_row"].iloc[0]
        if not float(pd.to_numeric(row, errors="coerce")).is_integer():
            raise FileFormatError(
                f"{self._location.show(self._table.path)} has a mask_row that is not a whole number, {row!r}, for "
                f"{noun!r} in {image_name!r}; download it again."
            )
        return self[int(row)]

    def for_image(self, image_name: str) -> pd.DataFrame:
        """Return the rows of an image's masks; no row for an image without any."""
        return self._of(image_name).reset_index(drop=True)

    def nouns(self, image_name: str, localized_only: bool = True) -> list[str]:
        """Return what an image shows, each noun once, as the table has them first.

        Parameters
        ----------
        image_name
            The image.
        localized_only
            Leave out what was found and could not be bounded.
        """
        rows = self._of(image_name)
        if localized_only:
            name = self._location.show(self._table.path)
            rows = rows[with_columns(rows, ["localized"], name, "the segmentations")["localized"] == 1]
        return [str(noun) for noun in rows["noun"].unique()]

    def has_image(self, image_name: str) -> bool:
        """Whether an image has a mask at all."""
        return image_name in self._rows

    def images(self) -> list[str]:
        """Return the images that have masks, as the table has them first."""
        return list(self._rows)

    @cached_property
    def _rows(self) -> dict[str, npt.NDArray[np.intp]]:
        groups = self.metadata.groupby("image_name", sort=False).indices
        first = {str(name): np.asarray(at, dtype=np.intp) for name, at in groups.items()}
        return dict(sorted(first.items(), key=lambda item: int(item[1][0])))

    def _of(self, image_name: str) -> pd.DataFrame:
        return self.metadata.iloc[self._rows.get(image_name, np.empty(0, dtype=np.intp))]
