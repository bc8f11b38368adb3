"""`load_stimuli` and `Stimuli` of the published loader: everything that belongs to an image, by its name."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from laion_xr import layout
from laion_xr.catalog import stimulus_files
from laion_xr.compat.captions import Captions
from laion_xr.compat.config import get_data_dir
from laion_xr.compat.embeddings import AVAILABLE_MODELS, Embeddings
from laion_xr.compat.segmentations import Segmentations
from laion_xr.compat.tables import published_table, with_columns
from laion_xr.errors import StimuliNotDownloadedError, UnknownLabelError, closest
from laion_xr.location import Location
from laion_xr.readers.images import ImageRow, read_encoded
from laion_xr.readers.pictures import SCREEN
from laion_xr.stimuli.table import stimulus_entry

__all__ = ["Stimuli", "as_displayed_rgb", "load_stimuli", "load_stimulus", "load_stimulus_metadata"]

Folder = str | os.PathLike[str]

PRESENTATION_BACKGROUND_RGB8 = SCREEN
# Images that are read while the file is open once
_AT_ONCE = 64


def root_of(data_dir: Folder | Location | None) -> Location:
    """Return the root of the dataset: the argument, else the configured data folder."""
    return Location.of(get_data_dir() if data_dir is None else data_dir)


def as_displayed_rgb(image: Image.Image) -> Image.Image:
    """Return an image as it was shown: in RGB, transparent parts over the screen's middle grey."""
    if "A" not in image.getbands():
        return image.convert("RGB")
    shown = image.convert("RGBA")
    screen = Image.new("RGBA", shown.size, (*PRESENTATION_BACKGROUND_RGB8, 255))
    return Image.alpha_composite(screen, shown).convert("RGB")


class StimulusTables:
    """The stimulus metadata of a dataset and the bytes of its images; tables are read once, no handle is kept."""

    def __init__(self, location: Location) -> None:
        self.location = location

    def has(self, kind: str) -> bool:
        """Whether a file of `layout.STIMULUS_FILES` is there."""
        return layout.stimulus_path(kind) in stimulus_files(self.location)

    @cached_property
    def metadata(self) -> pd.DataFrame:
        """The stimulus metadata just as pandas reads them; the row is the stimulus index.

        Raises
        ------
        StimuliNotDownloadedError
            They are not there.
        FileFormatError
            They are damaged, or do not name the images (a `ValueError`).
        """
        entry = stimulus_entry(self.location, stimulus_files(self.location), "metadata")
        return published_table(self.location, entry, "the stimulus metadata", ["image_name"])

    def with_columns(self, *columns: str) -> pd.DataFrame:
        """Return the stimulus metadata, which have these columns; raises as `metadata`."""
        name = self.location.show(layout.stimulus_path("metadata"))
        return with_columns(self.metadata, columns, name, "the stimulus metadata")

    @cached_property
    def rows(self) -> dict[str, int]:
        """The row of each image's name."""
        return {str(name): row for row, name in enumerate(self.metadata["image_name"])}

    def row(self, key: int | str) -> int:
        """Return the row of an image by its name or row.

        Raises
        ------
        UnknownLabelError
            No image has the name (a `KeyError`).
        IndexError
            There is no such row.
        TypeError
            Neither a name nor a row.
        """
        if isinstance(key, str):
            if key not in self.rows:
                near = ", ".join(closest(key, self.rows))
                raise UnknownLabelError(f"Unknown stimulus name: {key!r}{f'; the closest: {near}' if near else ''}.")
            return self.rows[key]
        if isinstance(key, bool) or not hasattr(key, "__index__"):
            raise TypeError(f"A stimulus is named by its row or its name, found {type(key).__name__}.")
        if not 0 <= key < len(self.metadata):
            raise IndexError(f"Stimulus index {key} is outside 0 to {len(self.metadata) - 1}.")
        return int(key)

    def encoded(self, key: int | str) -> bytes:
        """Return an image as the bytes of its JPEG or PNG; raises as `row`, or `StimuliNotDownloadedError`."""
        row = self.row(key)
        entry = stimulus_entry(self.location, stimulus_files(self.location), "images")
        return next(read_encoded(self.location, entry, [ImageRow(row, str(key))]))

    def each(self) -> Iterator[tuple[str, bytes]]:
        """Yield (name, bytes of the file) of every image, some at a time."""
        entry = stimulus_entry(self.location, stimulus_files(self.location), "images")
        rows = [ImageRow(row, str(name)) for row, name in enumerate(self.metadata["image_name"])]
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            yield from zip([row.name for row in part], list(read_encoded(self.location, entry, part)), strict=True)

    def picture(self, key: int | str, as_displayed: bool = True) -> Image.Image:
        """Return an image as a PIL picture: as it was shown, or in the mode of its file."""
        image = Image.open(io.BytesIO(self.encoded(key)))
        return as_displayed_rgb(image) if as_displayed else image


class StimulusImages:
    """The images, by name or by row of the metadata: `stim.images`."""

    def __init__(self, tables: StimulusTables) -> None:
        self._tables = tables

    def __len__(self) -> int:
        return len(self.metadata)

    def __getitem__(self, key: int | str) -> bytes:
        return self._tables.encoded(key)

    def __contains__(self, key: object) -> bool:
        return key in self._tables.rows if isinstance(key, str) else isinstance(key, int) and 0 <= key < len(self)

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        return self._tables.each()

    @property
    def metadata(self) -> pd.DataFrame:
        """The stimulus metadata."""
        return self._tables.metadata

    def get(self, key: int | str, *, as_displayed: bool = True) -> Image.Image:
        """Return an image as a PIL picture.

        Parameters
        ----------
        key
            Its name, or its row in the metadata.
        as_displayed
            RGB with transparent parts over middle grey, as in the scanner; False keeps the mode of the file.
        """
        return self._tables.picture(key, as_displayed)

    def index_of(self, name: str) -> int:
        """Return the row of an image."""
        return self._tables.row(name)

    def names(self) -> list[str]:
        """Return the names of all images, in the order of the metadata."""
        return [str(name) for name in self.metadata["image_name"]]


class Stimuli:
    """Everything that belongs to an image, by its name: metadata, images, embeddings, segmentations, captions.

    No file stays open; `close` and `with` are there because the published one has them.

    Parameters
    ----------
    data_dir
        The data folder; the configured one for None.

    Raises
    ------
    StimuliNotDownloadedError
        The metadata or the (gated) images are not there (a `FileNotFoundError`).
    """

    def __init__(self, data_dir: Folder | None = None) -> None:
        self._tables = StimulusTables(root_of(data_dir))
        for kind in ("metadata", "images"):
            stimulus_entry(self._tables.location, stimulus_files(self._tables.location), kind)

    def __repr__(self) -> str:
        return f"<Stimuli of {self._tables.location.url}>"

    @property
    def data_dir(self) -> Path:
        """The data folder."""
        return Path(self._tables.location.url)

    def __enter__(self) -> Stimuli:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing: no file is open."""

    def __len__(self) -> int:
        return len(self.metadata)

    def __getitem__(self, key: int | str) -> bytes:
        return self._tables.encoded(key)

    def __contains__(self, key: object) -> bool:
        return key in self.images

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        return iter(self.images)

    @property
    def metadata(self) -> pd.DataFrame:
        """The stimulus metadata: `image_name`, `dataset`, `participant`, `unique_or_shared`, `n_reps`."""
        return self._tables.metadata

    @property
    def images(self) -> StimulusImages:
        """The images."""
        return StimulusImages(self._tables)

    def image(self, key: int | str) -> Image.Image:
        """Return an image as a PIL picture; `images.get` does the same."""
        return self._tables.picture(key)

    @cached_property
    def embeddings(self) -> Embeddings:
        """The embeddings of the models whose files are there.

        Raises
        ------
        StimuliNotDownloadedError
            There is none.
        """
        return present_embeddings(self._tables.location)

    @cached_property
    def segmentations(self) -> Segmentations:
        """The segmentation masks of the shared images."""
        return Segmentations(self._tables.location)

    @cached_property
    def captions(self) -> Captions:
        """The captions."""
        return Captions(self._tables.location)


def present_embeddings(location: Location) -> Embeddings:
    """Return the embeddings of the published models whose files are there; raises as `Stimuli.embeddings`."""
    files = stimulus_files(location)
    models = [model for model in AVAILABLE_MODELS if layout.embedding_path(model) in files]
    if not models:
        raise StimuliNotDownloadedError(
            f"No embeddings are there: expected files such as {location.show(layout.embedding_path('CLIP'))}; "
            "download them first."
        )
    return Embeddings(models, location)


def load_stimuli(data_dir: Folder | None = None) -> Stimuli:
    """Return the stimuli of the configured data folder, or of another; raises as `Stimuli`.

    Examples
    --------
    >>> stim = load_stimuli()  # doctest: +SKIP
    >>> stim.captions.human("shared_12rep_LAION_cluster_1003_i0.jpg")  # doctest: +SKIP
    """
    return Stimuli(data_dir)


def load_stimulus_metadata(data_dir: Folder | None = None) -> pd.DataFrame:
    """Return the stimulus metadata."""
    return StimulusTables(root_of(data_dir)).metadata


def load_stimulus(key: int | str, data_dir: Folder | None = None, *, decode: bool = False) -> Any:
    """Return one image, by name or row: its bytes, or a PIL picture where `decode`."""
    tables = StimulusTables(root_of(data_dir))
    return tables.picture(key) if decode else tables.encoded(key)
