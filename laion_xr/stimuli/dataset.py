"""The stimulus files -> the Dataset on `stimulus`."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import xarray as xr

from laion_xr import layout
from laion_xr.catalog import fingerprint, stimulus_files
from laion_xr.lazy.variable import LazyVariable, lazy_variable
from laion_xr.location import Location
from laion_xr.readers.pictures import picture_size
from laion_xr.schema import CAPTION_SLOT, STIMULUS, STIMULUS_FIELDS
from laion_xr.stimuli.table import Files, Names, name_columns, read_captions, read_masks, read_stimulus_table
from laion_xr.stimuli.variables import caption_arrays, embedding_models, embedding_variable, image_variable
from laion_xr.trials import stimulus_columns

ROOT = "root"  # attribute of the coordinate `stimulus`: where its files are


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
        caption_slot) and `n_masks`: of the files that are there.

    Raises
    ------
    StimuliNotDownloadedError
        The metadata are not there; or the images are not, and `image_size` asks for them.
    FileFormatError
        A file does not hold what its place promises.
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
    for model in embedding_models(files):
        if (name := f"embedding_{model}") not in drop_variables:
            variables[name] = embedding_variable(location, files, model, names, STIMULUS)
    if (size is not None or layout.stimulus_path("images") in files) and "image" not in drop_variables:
        variables["image"] = image_variable(location, files, names, names, STIMULUS, size)
    annotations = _annotations(location, files, names, drop_variables)
    variables |= annotations
    coordinates += [name for name in ("caption_source", CAPTION_SLOT) if name in annotations]
    ds = xr.Dataset(variables).set_coords(coordinates)
    attrs = STIMULUS_FIELDS[STIMULUS].attrs | {ROOT: location.url}
    ds = ds.assign_coords({STIMULUS: (STIMULUS, names, attrs)})
    ds.attrs = {"fingerprint": fingerprint(files.values())}
    return ds


def _annotations(
    location: Location, files: Files, names: Names, drop_variables: Collection[str]
) -> dict[str, LazyVariable]:
    found: dict[str, npt.NDArray[np.generic]] = {}
    if layout.stimulus_path("captions") in files and "caption" not in drop_variables:
        found["caption"], found["caption_source"], found[CAPTION_SLOT] = caption_arrays(
            read_captions(location, files), names
        )
    if layout.stimulus_path("segmentations_metadata") in files and "n_masks" not in drop_variables:
        counts = read_masks(location, files)["image_name"].value_counts()
        found["n_masks"] = counts.reindex(names, fill_value=0).to_numpy(dtype=np.int64)
    return {
        name: lazy_variable(STIMULUS_FIELDS[name].dims, values, STIMULUS_FIELDS[name].attrs)
        for name, values in found.items()
        if name not in drop_variables
    }
