"""`load_stimuli`: images, embeddings, segmentations and captions, looked up by an image's name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import xarray as xr

from laion_xr.catalog import stimulus_files
from laion_xr.errors import StimuliNotDownloadedError
from laion_xr.location import Location
from laion_xr.stimuli.captions import Captions
from laion_xr.stimuli.dataset import stimuli_dataset
from laion_xr.stimuli.embeddings import Embeddings
from laion_xr.stimuli.folder import StimulusFolder
from laion_xr.stimuli.images import Images
from laion_xr.stimuli.root import remembered_location
from laion_xr.stimuli.segmentations import Segmentations


class Stimuli(StimulusFolder):
    """The stimuli of a dataset, by name. Files are opened when they are needed, and closed after each read.

    Safe to share between threads, to pickle, and to take into forked or spawned processes: no handle is kept.
    `load_stimuli` makes it.
    """

    def __repr__(self) -> str:
        kinds = sorted(path.rpartition("task-images_")[2] for path in self.files)
        return f"<Stimuli of {self.location.url}: {', '.join(kinds) or 'no files'}>"

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def images(self) -> Images:
        """The images (access to them is gated): see `Images`."""
        return Images(self)

    @cached_property
    def embeddings(self) -> Embeddings:
        """The embeddings: see `Embeddings`."""
        return Embeddings(self)

    @cached_property
    def segmentations(self) -> Segmentations:
        """The segmentations of the shared images: see `Segmentations`."""
        return Segmentations(self)

    @cached_property
    def captions(self) -> Captions:
        """The captions: see `Captions`."""
        return Captions(self)

    def to_dataset(self, image_size: object = None) -> xr.Dataset:
        """Return the stimulus Dataset, as `xr.open_dataset(root, engine="laion_fmri", group="stimuli")` does."""
        return stimuli_dataset(self.location, image_size=image_size)


def load_stimuli(root: Any, storage_options: Mapping[str, Any] | None = None) -> Stimuli:
    """Return the stimuli of a dataset, to look up by name; no file is opened yet.

    Parameters
    ----------
    root
        The folder or address that holds `stimuli/`: str, PathLike, UPath, fsspec URL.
    storage_options
        Options of its fsspec file system; `s3://laion-fmri` needs none.

    Returns
    -------
    Stimuli
        `images`, `embeddings`, `segmentations`, `captions`, `metadata` and `names`. What needs a file that is not
        there raises `StimuliNotDownloadedError` when it is asked for.

    Examples
    --------
    >>> stimuli = load_stimuli(root)  # doctest: +SKIP
    >>> stimuli.captions.human(stimuli.names[0])  # doctest: +SKIP
    """
    location = Location.of(root, storage_options)
    return Stimuli(location, dict(stimulus_files(location)))


def remembered_stimuli(attrs: Mapping[Any, Any], storage_options: Mapping[str, Any] | None = None) -> Stimuli:
    """Return the stimuli of the root that the attributes of a coordinate `stimulus` name (`root_attrs`).

    Raises
    ------
    SelectionError
        They name none.
    StimuliNotDownloadedError
        There is nothing of its name: the object was opened on another machine, or the data moved.
    """
    location = remembered_location(attrs, storage_options)
    files = dict(stimulus_files(location))
    if not files and not location.exists():
        raise StimuliNotDownloadedError(
            f"The stimuli are not where this object was opened from: expected {location.url} (the attribute 'root' of "
            "its coordinate 'stimulus'), found nothing of this name here; say where the dataset is, as in "
            "ds.laion.embeddings('CLIP', root=...)."
        )
    return Stimuli(location, files)
