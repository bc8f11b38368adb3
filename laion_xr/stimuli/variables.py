"""What belongs to images, by their names: lazy variables of embeddings, pictures and masks, and the captions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from laion_xr import layout, schema
from laion_xr.errors import (
    FileFormatError,
    SelectionError,
    StimuliNotDownloadedError,
    UnknownLabelError,
    describe_names,
    did_you_mean,
)
from laion_xr.lazy.array import ReadPlan, VoxelIds, planned_array
from laion_xr.lazy.items import ItemPlan
from laion_xr.lazy.variable import LazyVariable, lazy_variable
from laion_xr.location import Location
from laion_xr.readers.embeddings import EmbeddingReader, read_embedding_table
from laion_xr.readers.images import ImageRow, ImageSource, MaskSource, read_image_info, read_mask_shape
from laion_xr.readers.pictures import Size
from laion_xr.stimuli.table import Files, Names, stimulus_entry


def embedding_models(files: Files) -> list[str]:
    """Return the models whose embeddings are on disk."""
    return sorted(model for path in files if (model := layout.embedding_model(path)))


def requested_models(embeddings: str | Iterable[str] | None, files: Files) -> list[str]:
    """Return the models that `embeddings=` names: one, several, or `"all"` on disk."""
    if embeddings is None:
        return []
    if embeddings == "all":
        return embedding_models(files)
    return [embeddings] if isinstance(embeddings, str) else list(embeddings)


def embedding_variable(
    location: Location, files: Files, model: str, names: Names, dim: str, feature: str | None = None
) -> LazyVariable:
    """Return the embeddings of a model as a lazy variable `(dim, feature_{model})`: row i belongs to `names[i]`.

    Names that the file lacks, and rows that it marks as not valid, are NaN. `feature` names the second dim otherwise.

    Raises
    ------
    StimuliNotDownloadedError
        The file of the model is not there.
    UnknownLabelError
        No model has the name.
    FileFormatError
        The file names an image twice, or is not an embeddings file.
    """
    path = layout.embedding_path(model)
    if path not in files:
        there = embedding_models(files)
        if model in layout.EMBEDDING_MODELS:
            raise StimuliNotDownloadedError(
                f"The embeddings of {model} are not there: expected {location.show(path)}; download them first with "
                f"'laion-xr download-embeddings ROOT --model {model}' (here: {', '.join(there) or 'none'})."
            )
        raise UnknownLabelError(did_you_mean("Embedding model", model, there))
    entry = files[path]
    table = read_embedding_table(location, entry)
    index = pd.Index(table.image_ids, dtype=object)
    if not index.is_unique:
        twice = str(index[index.duplicated()][0])
        raise FileFormatError(f"{location.show(path)} names the image {twice!r} more than once; download it again.")
    rows = index.get_indexer(pd.Index(names, dtype=object))
    unknown = rows < 0
    if len(index):
        unknown |= ~table.valid[rows]
    rows = np.where(unknown, len(table.image_ids), rows)
    n_images, n_features = table.shape
    reader = EmbeddingReader(location.uncached, entry, n_images, n_features, table.dtype)
    plan = ReadPlan((reader,), VoxelIds(np.arange(n_features)), rows, name=f"embedding_{model}")
    attrs = {"long_name": f"{model} embedding of the stimulus"}
    return lazy_variable((dim, feature or f"feature_{model}"), planned_array(plan), attrs)


def image_source(location: Location, files: Files, n_stimuli: int, size: Size | None) -> ImageSource:
    """Return what reads the images, for metadata of so many rows.

    Raises
    ------
    StimuliNotDownloadedError
        The images are not there.
    FileFormatError
        The file has not one image a row of the metadata: then no row says which image it is.
    """
    entry = stimulus_entry(location, files, "images")
    info = read_image_info(location, entry)
    if info.n_images != n_stimuli:
        raise FileFormatError(
            f"{location.show(entry.path)} does not hold an image for each row of the metadata: expected {n_stimuli}, "
            f"found {info.n_images}; download both again."
        )
    return ImageSource(location.uncached, entry, size or info.size, size is not None)


def image_variable(
    location: Location, files: Files, stimuli: Names, names: Names, dim: str, size: Size | None = None
) -> LazyVariable:
    """Return images as a lazy variable `(dim, y, x, rgb)` uint8: row i belongs to `names[i]`.

    Parameters
    ----------
    stimuli
        The names in the order of the metadata, which is that of the file.
    size
        Height and width to resize to; None for the size of the first image, which all must have.

    Raises
    ------
    StimuliNotDownloadedError, FileFormatError
        As `image_source`.
    SelectionError
        A name that the metadata do not have: there is no picture for it.
    """
    source = image_source(location, files, len(stimuli), size)
    rows = pd.Index(stimuli, dtype=object).get_indexer(pd.Index(names, dtype=object))
    if (rows < 0).any():
        lost = pd.unique(names[rows < 0])
        raise SelectionError(
            f"{int((rows < 0).sum())} of {len(names)} along {dim!r} show images that the metadata of "
            f"{location.url} do not have ({describe_names(map(repr, lost), 3)}), so that there is no picture of them: "
            f"leave them out, as in ds.isel({dim}=ds.stimulus_index.values >= 0)."
        )
    items = tuple(ImageRow(int(row), str(name)) for row, name in zip(rows, names, strict=True))
    attrs = {"long_name": schema.STIMULUS_FIELDS["image"].long_name}
    return lazy_variable((dim, *schema.IMAGE_DIMS), ItemPlan(source, items, "image").array(), attrs)


def mask_variable(
    location: Location, files: Files, unions: Sequence[tuple[int, ...]], dim: str, size: Size | None = None
) -> LazyVariable:
    """Return unions of masks as a lazy variable `(dim, y, x)` bool: row i is inside any of the masks `unions[i]`.

    Raises
    ------
    StimuliNotDownloadedError
        The masks are not there.
    """
    entry = stimulus_entry(location, files, "segmentations")
    _, *native = read_mask_shape(location, entry)
    source = MaskSource(location.uncached, entry, size or (native[0], native[1]), size is not None)
    array = ItemPlan(source, tuple(unions), "mask").array()
    return lazy_variable((dim, *schema.IMAGE_DIMS[:2]), array, {"long_name": "inside the segmented object"})


def caption_arrays(table: pd.DataFrame, names: Names) -> tuple[Names, Names, npt.NDArray[np.int64]]:
    """Return captions and their sources, `(name, slot)`, and the slots' numbers; `""` where there is none."""
    slots = np.unique(table["caption_idx"].to_numpy(dtype=np.int64))
    distinct = pd.Index(table["image_name"].unique(), dtype=object)
    row = distinct.get_indexer(pd.Index(table["image_name"], dtype=object))
    column = np.searchsorted(slots, table["caption_idx"].to_numpy(dtype=np.int64))
    at = distinct.get_indexer(pd.Index(names, dtype=object))  # -1: the empty row after the last
    found = []
    for what in ("caption", "source"):
        whole = np.full((len(distinct) + 1, len(slots)), "", dtype=object)
        whole[row, column] = table[what].to_numpy(dtype=object)
        found.append(whole[at])
    return found[0], found[1], slots
