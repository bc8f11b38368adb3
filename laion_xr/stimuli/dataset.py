"""The stimulus files -> the Dataset on `stimulus`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from functools import partial

import numpy as np
import numpy.typing as npt
import xarray as xr

from laion_xr import layout
from laion_xr.access.cache import OFFLINE, cache_mode
from laion_xr.catalog import stimulus_files
from laion_xr.errors import DataNotDownloadedError, FileAccessError, FileFormatError, IncompleteDataWarning
from laion_xr.lazy.variable import LazyVariable, lazy_variable
from laion_xr.listing import fingerprint
from laion_xr.location import Location
from laion_xr.readers.pictures import Size, picture_size
from laion_xr.schema import CAPTION_SLOT, STIMULUS, STIMULUS_FIELDS
from laion_xr.stimuli.root import root_attrs
from laion_xr.stimuli.table import Files, Names, name_columns, read_captions, read_masks, read_stimulus_table
from laion_xr.stimuli.variables import caption_arrays, embedding_models, embedding_variable, image_variable
from laion_xr.trials import stimulus_columns


def stimuli_dataset(
    location: Location, *, image_size: object = None, drop_variables: Collection[str] = ()
) -> xr.Dataset:
    """Return the stimulus Dataset: dim `stimulus`, indexed by the image's name, in the order of the metadata.

    Parameters
    ----------
    image_size
        Pixels, or (height, width), that images are resized to; None leaves them as they are.
    drop_variables
        Names of variables to leave out; their files are not touched.

    Returns
    -------
    xr.Dataset
        `embedding_{model}` (stimulus, feature_{model}) and `image` (stimulus, y, x, rgb), lazy; `caption` (stimulus,
        caption_slot) and `n_masks`: of the files that are there. One that cannot be used is left out with an
        `IncompleteDataWarning`.

    Raises
    ------
    StimuliNotDownloadedError
        The metadata are not there; or the images are not, and `image_size` asks for them.
    FileFormatError
        The metadata do not name each image once.
    """
    files = stimulus_files(location)
    size = picture_size(image_size)
    table = read_stimulus_table(location, files)
    names = table["image_name"].to_numpy(dtype=object)
    columns: dict[str, npt.NDArray[np.generic]] = {
        str(column): table[column].to_numpy() for column in table.columns if column != "image_name"
    }
    columns |= stimulus_columns(names, table)
    columns |= name_columns(names)
    columns["stimulus_index"] = np.arange(len(names))
    variables = {
        name: lazy_variable(
            STIMULUS,
            values.astype(object) if values.dtype.kind in "OUS" else values,
            STIMULUS_FIELDS[name].attrs if name in STIMULUS_FIELDS else None,
        )
        for name, values in columns.items()
        if name not in drop_variables
    }
    coordinates = list(variables)
    for name, make in _optional(location, files, names, size).items():
        if name not in drop_variables:
            found = _usable(name, make, location)
            variables |= {key: variable for key, variable in found.items() if key not in drop_variables}
    coordinates += [name for name in ("caption_source", CAPTION_SLOT) if name in variables]
    ds = xr.Dataset(variables).set_coords(coordinates)
    attrs = STIMULUS_FIELDS[STIMULUS].attrs | root_attrs(location)
    ds = ds.assign_coords({STIMULUS: (STIMULUS, names, attrs)})
    ds.attrs = {"fingerprint": fingerprint(files.values())}
    return ds


def _optional(
    location: Location, files: Files, names: Names, size: Size | None
) -> dict[str, Callable[[], Mapping[str, LazyVariable]]]:
    """Return what makes the variables of each file that is there, by the name of the first of them."""
    found: dict[str, Callable[[], Mapping[str, LazyVariable]]] = {
        f"embedding_{model}": partial(_embedding, location, files, model, names) for model in embedding_models(files)
    }
    if size is not None or layout.stimulus_path("images") in files:
        found["image"] = lambda: {"image": image_variable(location, files, names, names, STIMULUS, size)}
    if layout.stimulus_path("captions") in files:
        found["caption"] = partial(_captions, location, files, names)
    if layout.stimulus_path("segmentations_metadata") in files:
        found["n_masks"] = partial(_mask_counts, location, files, names)
    return found


def _usable(
    name: str, make: Callable[[], Mapping[str, LazyVariable]], location: Location
) -> Mapping[str, LazyVariable]:
    """Return what `make` makes; nothing, and a warning, where its file cannot be used."""
    try:
        return make()
    except (FileFormatError, FileAccessError, DataNotDownloadedError) as error:
        if cache_mode(location) == OFFLINE and isinstance(error, DataNotDownloadedError):
            raise  # the file is there: it was not kept, which the message says how to do
        warnings.warn(
            f"{name!r} is left out of the stimuli, the rest was opened: {error} drop_variables={name!r} leaves the "
            "file untouched.",
            IncompleteDataWarning,
            stacklevel=2,
        )
        return {}


def _embedding(location: Location, files: Files, model: str, names: Names) -> dict[str, LazyVariable]:
    return {f"embedding_{model}": embedding_variable(location, files, model, names, STIMULUS)}


def _captions(location: Location, files: Files, names: Names) -> dict[str, LazyVariable]:
    found = caption_arrays(read_captions(location, files), names)
    return {
        n: _of_schema(n, values) for n, values in zip(("caption", "caption_source", CAPTION_SLOT), found, strict=True)
    }


def _mask_counts(location: Location, files: Files, names: Names) -> dict[str, LazyVariable]:
    counts = read_masks(location, files)["image_name"].value_counts()
    return {"n_masks": _of_schema("n_masks", counts.reindex(names, fill_value=0).to_numpy(dtype=np.int64))}


def _of_schema(name: str, values: npt.NDArray[np.generic]) -> LazyVariable:
    return lazy_variable(STIMULUS_FIELDS[name].dims, values, STIMULUS_FIELDS[name].attrs)
