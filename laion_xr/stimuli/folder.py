"""The stimulus files of a root with their tables, each read once, when it is first needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from laion_xr.errors import LaionXRError, SelectionError, unknown_label
from laion_xr.location import Location
from laion_xr.quantities import count_text
from laion_xr.stimuli.table import Files, Names, read_captions, read_masks, read_stimulus_table


@dataclass(frozen=True, eq=False)
class StimulusFolder:
    """The stimulus files of a dataset. No handle is kept; pickled, it is the list of files and no table.

    Attributes
    ----------
    location
        The root of the dataset.
    files
        The stimulus files that are there, by relative path.
    """

    location: Location
    files: Files

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.location, dict(self.files))

    @cached_property
    def metadata(self) -> pd.DataFrame:
        """The metadata table: a row a stimulus, columns as in the file.

        Raises
        ------
        StimuliNotDownloadedError
            It is not there.
        FileFormatError
            It does not name each image once.
        """
        return read_stimulus_table(self.location, self.files)

    @cached_property
    def names(self) -> Names:
        """File names of the images in the order of the metadata, (stimulus,) str."""
        return np.asarray(self.metadata["image_name"].to_numpy(dtype=object))

    @cached_property
    def caption_table(self) -> pd.DataFrame:
        """The captions, a row a caption."""
        return read_captions(self.location, self.files)

    @cached_property
    def mask_table(self) -> pd.DataFrame:
        """The segmentation masks, a row a mask, in the order of `mask_row`."""
        return read_masks(self.location, self.files)

    def known(self, names: str | Iterable[str]) -> list[str]:
        """Return names as a list.

        Raises
        ------
        UnknownLabelError
            One of them is not a stimulus.
        """
        asked = listed(names)
        there = self._rows
        for name in asked:
            if name not in there:
                raise unknown_label("Stimulus", name, there)
        return asked

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {str(name): row for row, name in enumerate(self.names)}

    def row(self, name: str) -> int:
        """Return the row of an image in the metadata, which is its row in the image file."""
        return self._rows[self.known(name)[0]]


def listed(names: str | Iterable[str]) -> list[str]:
    """Return one name or several as a list.

    Raises
    ------
    SelectionError
        What is given is not names.
    """
    found = [names] if isinstance(names, str) else list(names)
    for name in found:
        if not isinstance(name, str):
            raise SelectionError(f"Images are named by their file names, found {name!r}: give a name or a list.")
    return [str(name) for name in found]


def counted(folder: StimulusFolder, table: str, noun: str) -> str:
    """Return how many rows a table has, as a `repr` says it: no error, and no request to an address."""
    if table not in vars(folder) and not folder.location.is_local:
        return f"{noun}s, not counted yet"
    try:
        return count_text(len(getattr(folder, table)), noun)
    except LaionXRError:
        return f"no {noun}s that can be read"
