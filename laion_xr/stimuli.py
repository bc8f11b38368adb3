"""The stimuli: metadata table, the Dataset on `stimulus`, embeddings by trial."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from laion_xr import layout
from laion_xr.catalog import fingerprint, stimulus_files
from laion_xr.errors import FileFormatError, StimuliNotDownloadedError, UnknownLabelError, did_you_mean
from laion_xr.lazy.array import ReadPlan, VoxelIds, planned_array
from laion_xr.lazy.variable import LazyVariable, lazy_variable
from laion_xr.location import FileEntry, Location
from laion_xr.readers.embeddings import EmbeddingReader, read_embedding_table
from laion_xr.readers.tables import parse_table
from laion_xr.trials import stimulus_columns

Files = Mapping[str, FileEntry]


def read_metadata(location: Location, files: Files) -> pd.DataFrame | None:
    """Return the stimulus metadata, a row a stimulus; None where the file is not there.

    Raises
    ------
    FileFormatError
        It has no column `image_name`.
    """
    path = layout.stimulus_path("metadata")
    if path not in files:
        return None
    table = parse_table(location.read_bytes(files[path]), location.show(path), sep=",")
    if "image_name" not in table:
        raise FileFormatError(
            f"{location.show(path)} is not the stimulus metadata: expected a column 'image_name', found "
            f"{', '.join(map(str, table.columns))}; download it again."
        )
    return table


def embedding_models(files: Files) -> list[str]:
    """Return the models whose embeddings are on disk."""
    return sorted(model for path in files if (model := layout.embedding_model(path)))


def stimuli_dataset(location: Location) -> xr.Dataset:
    """Return the stimulus Dataset: dim `stimulus`, indexed by the image's name, in the order of the metadata.

    Raises
    ------
    StimuliNotDownloadedError
        The metadata are not there.
    """
    files = stimulus_files(location)
    table = read_metadata(location, files)
    if table is None:
        raise StimuliNotDownloadedError(
            f"The stimulus metadata are not there: expected {location.show(layout.stimulus_path('metadata'))}; "
            "download them first."
        )
    names = table["image_name"].to_numpy(dtype=object)
    columns: dict[str, npt.NDArray[np.generic]] = {
        str(column): table[column].to_numpy() for column in table.columns if column != "image_name"
    }
    columns |= stimulus_columns(names, table)
    columns["stimulus_index"] = np.arange(len(names))
    variables = {
        name: lazy_variable("stimulus", values.astype(object) if values.dtype.kind in "OUS" else values)
        for name, values in columns.items()
    }
    ds = xr.Dataset(variables).set_coords(list(columns)).assign_coords(stimulus=("stimulus", names))
    for model in embedding_models(files):
        ds[f"embedding_{model}"] = embedding_variable(location, files, model, names, "stimulus")
    ds.attrs = {"fingerprint": fingerprint(files.values())}
    return ds


def embedding_variable(
    location: Location, files: Files, model: str, names: npt.NDArray[np.object_], dim: str
) -> LazyVariable:
    """Return the embeddings of a model as a lazy variable `(dim, feature_{model})`: row i belongs to `names[i]`.

    Names that the file lacks, and rows that it marks as not valid, are NaN.

    Raises
    ------
    StimuliNotDownloadedError
        The file of the model is not there.
    UnknownLabelError
        No model has the name.
    """
    path = layout.embedding_path(model)
    if path not in files:
        there = embedding_models(files)
        if model in layout.EMBEDDING_MODELS:
            raise StimuliNotDownloadedError(
                f"The embeddings of {model} are not there: expected {location.show(path)}; download them first "
                f"(here: {', '.join(there) or 'none'})."
            )
        raise UnknownLabelError(did_you_mean("Embedding model", model, there))
    entry = files[path]
    table = read_embedding_table(location, entry)
    index = pd.Index(table.image_ids, dtype=object)
    if not index.is_unique:
        twice = str(index[index.duplicated()][0])
        raise FileFormatError(f"{location.show(path)} names the image {twice!r} more than once; download it again.")
    rows = index.get_indexer(pd.Index(names, dtype=object))
    rows = np.where((rows < 0) | ~table.valid[rows], len(table.image_ids), rows)
    n_images, n_features = table.shape
    reader = EmbeddingReader(location.uncached, entry, n_images, n_features, table.dtype)
    plan = ReadPlan((reader,), VoxelIds(np.arange(n_features)), rows, name=f"embedding_{model}")
    attrs = {"long_name": f"{model} embedding of the stimulus"}
    return lazy_variable((dim, f"feature_{model}"), planned_array(plan), attrs)


def requested_models(embeddings: str | Iterable[str] | None, files: Files) -> list[str]:
    """Return the models that `embeddings=` names: one, several, or `"all"` on disk."""
    if embeddings is None:
        return []
    if embeddings == "all":
        return embedding_models(files)
    return [embeddings] if isinstance(embeddings, str) else list(embeddings)
