"""What was shown: the embeddings, images, captions and masks of each trial, by the image's name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from laion_xr.errors import SelectionError
from laion_xr.lazy.array import plan_of
from laion_xr.lazy.variable import LazyVariable, lazy_variable
from laion_xr.location import Location
from laion_xr.readers.pictures import picture_size
from laion_xr.schema import CAPTION_SLOT, STIMULUS, STIMULUS_FIELDS
from laion_xr.stimuli import ROOT, Stimuli, embedding_variable, load_stimuli, remembered_stimuli, requested_models
from laion_xr.stimuli.table import Names
from laion_xr.stimuli.variables import caption_arrays, image_variable, mask_variable

Obj = xr.Dataset | xr.DataArray
_ONE = "shown"  # the dim of the one image of a single trial, until it is dropped


def stimuli_of(obj: Obj, root: Any = None, storage_options: Mapping[str, Any] | None = None) -> Stimuli:
    """Return the stimuli of the dataset that an object was opened from.

    Parameters
    ----------
    obj
        A Dataset or array of laion_xr: its coordinate `stimulus` keeps the root.
    root
        Where the dataset is, for an object that does not know it, or where it has moved.
    storage_options
        Options of the file system; without them those that the object was opened with, as long as it is lazy.

    Raises
    ------
    SelectionError
        The object does not know its root.
    StimuliNotDownloadedError
        The root that it knows is not there: it was opened elsewhere, or the data moved.

    Examples
    --------
    >>> ds.laion.stimuli.captions.human(name)  # doctest: +SKIP
    """
    if root is not None:
        return load_stimuli(root, storage_options)
    attrs = obj.coords[STIMULUS].attrs if STIMULUS in obj.coords else {}
    options = storage_options_of(obj, str(attrs.get(ROOT))) if storage_options is None else storage_options
    return remembered_stimuli(attrs, options)


def embeddings(
    obj: Obj,
    model: str | Iterable[str],
    *,
    root: Any = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Any:
    """Return the embedding of each trial's image: row i belongs to trial i, whatever was selected or shuffled.

    Parameters
    ----------
    obj
        A Dataset or array with the coordinate `stimulus`, on any dim.
    model
        A model, several, or `"all"` that are there.
    root, storage_options
        See `stimuli_of`.

    Returns
    -------
    xr.DataArray or xr.Dataset
        Of one model `(trial, feature)` float16, lazy; of several a Dataset of `embedding_{model}` `(trial,
        feature_{model})`. Images without a valid embedding are NaN.

    Raises
    ------
    StimuliNotDownloadedError
        The file of the model is not there.
    UnknownLabelError
        No model has the name.
    SelectionError
        There is no coordinate `stimulus`, or the root is not known.

    Examples
    --------
    >>> ds.laion.embeddings("CLIP")  # doctest: +SKIP
    """
    stimuli = stimuli_of(obj, root, storage_options)
    location, files = stimuli.location, stimuli.files
    one = isinstance(model, str) and model != "all"
    models = requested_models(model, files)

    def make(names: Names, dim: str) -> dict[str, LazyVariable]:
        feature = "feature" if one else None
        return {f"embedding_{m}": embedding_variable(location, files, m, names, dim, feature) for m in models}

    found = _along(obj, make)
    return found[f"embedding_{models[0]}"] if one else found


def images(
    obj: Obj, size: Any = None, *, root: Any = None, storage_options: Mapping[str, Any] | None = None
) -> xr.DataArray:
    """Return the image of each trial, decoded when it is computed; an image that repeats is decoded once a chunk.

    Parameters
    ----------
    obj
        A Dataset or array with the coordinate `stimulus`, on any dim.
    size
        Pixels, or (height, width), to resize to; None for the size in the file (1000 x 1000: 3 MB an image).
    root, storage_options
        See `stimuli_of`.

    Returns
    -------
    xr.DataArray
        `(trial, y, x, rgb)` uint8, lazy; a selection decodes what it keeps.

    Raises
    ------
    StimuliNotDownloadedError
        The images, to which access is gated, or the metadata are not there.
    SelectionError
        A trial shows an image that the metadata do not have, or the root is not known.

    Examples
    --------
    >>> ds.laion.images(224).isel(trial=0).plot.imshow()  # doctest: +SKIP
    """
    stimuli, wanted = stimuli_of(obj, root, storage_options), picture_size(size)
    return _along(
        obj,
        lambda names, dim: {
            "image": image_variable(stimuli.location, stimuli.files, stimuli.names, names, dim, wanted)
        },
    )["image"]


def captions(
    obj: Obj, source: str | None = None, *, root: Any = None, storage_options: Mapping[str, Any] | None = None
) -> xr.DataArray:
    """Return the captions of each trial's image.

    Parameters
    ----------
    obj
        A Dataset or array with the coordinate `stimulus`, on any dim.
    source
        `"human"` or `"ai"`; None for both.
    root, storage_options
        See `stimuli_of`.

    Returns
    -------
    xr.DataArray
        `(trial, caption_slot)` str with the coordinate `caption_source`; `""` where an image has no such caption.

    Raises
    ------
    StimuliNotDownloadedError
        The captions are not there.

    Examples
    --------
    >>> ds.laion.captions("human").sel(caption_slot=1)  # doctest: +SKIP
    """
    table = stimuli_of(obj, root, storage_options).captions.get(source=source)

    def make(names: Names, dim: str) -> dict[str, LazyVariable]:
        texts, sources, slots = caption_arrays(table, names)
        found = {
            name: lazy_variable((dim, CAPTION_SLOT), values, STIMULUS_FIELDS[name].attrs)
            for name, values in (("caption", texts), ("caption_source", sources))
        }
        return found | {CAPTION_SLOT: lazy_variable(CAPTION_SLOT, slots, STIMULUS_FIELDS[CAPTION_SLOT].attrs)}

    return _along(obj, make).set_coords(["caption_source", CAPTION_SLOT])["caption"]


def segmentations(
    obj: Obj,
    noun: str | None = None,
    size: Any = None,
    *,
    root: Any = None,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """Return where each trial's image shows an object: the union of its masks.

    Parameters
    ----------
    obj
        A Dataset or array with the coordinate `stimulus`, on any dim.
    noun
        What the masks are of; None for all that are segmented.
    size
        Pixels, or (height, width), to resize to (nearest pixel).
    root, storage_options
        See `stimuli_of`.

    Returns
    -------
    xr.DataArray
        `(trial, y, x)` bool, lazy; False for images that carry no such mask. The coordinate `n_masks` counts those
        that do.

    Raises
    ------
    StimuliNotDownloadedError
        The masks or their table are not there.

    Examples
    --------
    >>> ds.laion.segmentations("person", size=64).mean(("y", "x"))  # doctest: +SKIP
    """
    stimuli, wanted = stimuli_of(obj, root, storage_options), picture_size(size)

    def make(names: Names, dim: str) -> dict[str, LazyVariable]:
        unions = stimuli.segmentations.unions(names, noun)
        counts = np.array([len(rows) for rows in unions], np.int64)
        return {
            "segmentation": mask_variable(stimuli.location, stimuli.files, unions, dim, wanted),
            "n_masks": lazy_variable(dim, counts, STIMULUS_FIELDS["n_masks"].attrs),
        }

    return _along(obj, make).set_coords("n_masks")["segmentation"]


def _along(obj: Obj, make: Callable[[Names, str], Mapping[str, LazyVariable]]) -> xr.Dataset:
    """Return what belongs to the images, with the coordinates along their dim."""
    base, names, dim = _base(obj)
    found = base.assign(make(names, dim or _ONE))
    return found.isel({_ONE: 0}) if dim is None else found


def _base(obj: Obj) -> tuple[xr.Dataset, Names, str | None]:
    """Return the coordinates along the dim of `stimulus` with their indexes, the names, and the dim (None: no dim)."""
    if STIMULUS not in obj.coords:
        raise SelectionError(
            f"Which images were shown is not known: expected a coordinate 'stimulus', found "
            f"{', '.join(map(str, obj.coords)) or 'none'}; keep it, or take the stimuli by name (load_stimuli)."
        )
    stimulus = obj.coords[STIMULUS]
    if stimulus.ndim > 1:
        raise SelectionError(f"The coordinate 'stimulus' lies along one dim: found {stimulus.dims}; stack them first.")
    coords = obj.coords.to_dataset()
    base = coords.drop_dims([d for d in coords.dims if d not in stimulus.dims])
    names = np.array([str(name) for name in np.atleast_1d(stimulus.values)], dtype=object)
    return base, names, str(stimulus.dims[0]) if stimulus.ndim else None


def storage_options_of(obj: Obj, url: str) -> Mapping[str, Any] | None:
    """Return the storage options of the reads that are planned in an object from this root."""
    variables = [obj.variable] if isinstance(obj, xr.DataArray) else list(obj.variables.values())
    for variable in variables:
        plan = plan_of(variable.data) if variable.chunks else None
        for reader in plan.readers if plan else ():
            location = getattr(reader, "location", None)
            if isinstance(location, Location) and location.url == url:
                return location.storage_options
    return None
