"""The segmentations: which objects an image shows, and where, by the image's name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from PIL import Image

from laion_xr.errors import FileFormatError
from laion_xr.readers.annotations import BOX
from laion_xr.readers.images import read_mask_shape
from laion_xr.readers.pictures import Pixels, picture_size
from laion_xr.stimuli.folder import StimulusFolder, counted
from laion_xr.stimuli.images import Images
from laion_xr.stimuli.table import stimulus_entry
from laion_xr.stimuli.variables import mask_variable

MASK = "mask"
# Paul Tol's bright scheme: told apart by everyone, on light and dark pictures
COLOURS = ((238, 102, 119), (68, 119, 170), (204, 187, 68), (34, 136, 51), (102, 204, 238), (170, 51, 119))
_LABELS = {"image_name": "stimulus", "noun": "noun", "instance_id": "instance", "score": "score"}


@dataclass(frozen=True, eq=False)
class Segmentations:
    """The segmented objects of the (shared) images. An image that carries none has empty results.

    Examples
    --------
    >>> segmentations = load_stimuli(root).segmentations  # doctest: +SKIP
    >>> name = "shared_12rep_LAION_cluster_1003_i0.jpg"
    >>> segmentations.nouns(name)  # doctest: +SKIP
    ['dog', 'person']
    >>> segmentations.get(name, "dog").any("mask").values  # doctest: +SKIP
    """

    folder: StimulusFolder

    def __repr__(self) -> str:
        return f"<Segmentations: {counted(self.folder, 'mask_table', 'mask')}, of {self.folder.location.url}>"

    def __len__(self) -> int:
        return len(self.table)

    @property
    def table(self) -> pd.DataFrame:
        """A row a mask, in the order of the masks, columns as in the file.

        Raises
        ------
        StimuliNotDownloadedError
            The table is not there.
        """
        return self.folder.mask_table

    @property
    def names(self) -> list[str]:
        """Images that carry masks."""
        return list(self._rows)

    def nouns(self, name: str) -> list[str]:
        """Return what is segmented in an image, each noun once, in alphabetical order."""
        return sorted(set(self._of(name)["noun"]))

    def boxes(self, name: str, noun: str | None = None) -> pd.DataFrame:
        """Return the boxes around the objects of an image.

        Returns
        -------
        pd.DataFrame
            A row a mask: `noun`, `instance_id`, `score`, `x0`, `y0`, `x1`, `y1` in pixels of the image, the last ones
            outside; no row for an image without masks.
        """
        table = self._of(name, noun)
        boxes = table[["noun", "instance_id", "score", *BOX]].reset_index(drop=True)
        return boxes.rename(columns={column: column.removeprefix("box_") for column in BOX})

    @cached_property
    def masks(self) -> xr.DataArray:
        """Every mask, (mask, y, x) bool, in the order of the file; lazy, a selection reads what it keeps.

        Coordinates on `mask`: `stimulus`, `noun`, `instance`, `score`.

        Raises
        ------
        StimuliNotDownloadedError
            The masks or their table are not there.
        FileFormatError
            The table names a mask that the file does not hold.
        """
        location, files = self.folder.location, self.folder.files
        entry = stimulus_entry(location, files, "segmentations")
        rows = self.table["mask_row"].tolist()
        n_masks = read_mask_shape(location, entry)[0]
        if rows and rows[-1] >= n_masks:
            raise FileFormatError(
                f"{location.show(entry.path)} does not hold every mask of its table: expected {rows[-1] + 1}, found "
                f"{n_masks}; download both again."
            )
        variable = mask_variable(location, files, [(row,) for row in rows], MASK)
        labels = {label: (MASK, self.table[column].to_numpy()) for column, label in _LABELS.items()}
        return xr.Dataset({"masks": variable}, coords=labels)["masks"]

    def get(self, name: str, noun: str | None = None, instance: int | None = None) -> xr.DataArray:
        """Return the masks of an image, lazily.

        Parameters
        ----------
        name
            The image.
        noun
            Keep the objects of this name.
        instance
            Keep this one of several: its `instance_id`.

        Returns
        -------
        xr.DataArray
            (mask, y, x) bool with the coordinates of `masks`; of length 0 where the image carries no such mask.
        """
        table = self._of(name, noun)
        if instance is not None:
            table = table[table["instance_id"] == instance]
        return self.masks.isel({MASK: table.index.to_numpy(dtype=np.intp)})

    def unions(self, names: Iterable[str], noun: str | None = None) -> list[tuple[int, ...]]:
        """Return the rows of the masks of each image, those of a noun or all; no row for an image without masks."""
        rows, nouns = self.table["mask_row"].to_numpy(), self.table["noun"].to_numpy()
        found = {
            name: tuple(int(rows[i]) for i in at if noun is None or nouns[i] == noun) for name, at in self._rows.items()
        }
        return [found.get(name, ()) for name in names]

    def overlay(self, name: str, noun: str | None = None, size: object = None, alpha: float = 0.5) -> Image.Image:
        """Return an image as a PIL picture in RGB with its masks in colour, a colour a noun.

        Raises
        ------
        StimuliNotDownloadedError
            The images, the masks or their table are not there.
        """
        wanted = picture_size(size)
        pixels = Images(self.folder).array(name, wanted).astype(np.float32)
        masks = self.get(name, noun)
        for colour, inside in zip(colours_of(masks["noun"].values), masks.values, strict=True):
            where = np.asarray(
                Image.fromarray(inside).resize(pixels.shape[1::-1], Image.Resampling.NEAREST), dtype=bool
            )
            pixels[where] = (1 - alpha) * pixels[where] + alpha * np.array(colour, np.float32)
        painted: Pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
        return Image.fromarray(painted)

    @cached_property
    def _rows(self) -> Mapping[str, npt.NDArray[np.intp]]:
        groups = self.table.groupby("image_name", sort=False).indices
        return {str(name): np.asarray(at, dtype=np.intp) for name, at in groups.items()}

    def _of(self, name: str, noun: str | None = None) -> pd.DataFrame:
        at = self._rows.get(name)
        if at is None:
            self.folder.known(name)
            return self.table.iloc[:0]
        table = self.table.iloc[at]
        return table if noun is None else table[table["noun"] == noun]


def colours_of(nouns: Iterable[str]) -> list[tuple[int, int, int]]:
    """Return the colour of each mask: the same for the same noun, in the nouns' alphabetical order."""
    named = [str(noun) for noun in nouns]
    rank = {noun: i for i, noun in enumerate(sorted(set(named)))}
    return [COLOURS[rank[noun] % len(COLOURS)] for noun in named]
