"""Where the files of an object's subject are: its root and its name, as the voxels remember them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import xarray as xr

from laion_xr import layout
from laion_xr.analysis.stimuli import storage_options_of
from laion_xr.analysis.volumes import one_subject, place_of
from laion_xr.errors import SelectionError
from laion_xr.location import Location
from laion_xr.schema import STIMULUS, VOXEL
from laion_xr.stimuli.root import ROOT, remembered_location

Obj = xr.Dataset | xr.DataArray


class Place(NamedTuple):
    """A root, and a subject in it."""

    location: Location
    subject: str

    def freesurfer(self, folder: str, name: str) -> str:
        """Path of a FreeSurfer file of the subject."""
        return layout.freesurfer_path(self.subject, folder, name)


def subject_place(obj: Obj, root: Any = None, storage_options: Mapping[str, Any] | None = None) -> Place:
    """Return the root and the subject of an object.

    Parameters
    ----------
    obj
        A Dataset or array of laion_xr: its coordinates `voxel` and `stimulus` keep the root, `voxel` the subject.
    root
        Where the dataset is, for an object that does not know it, or where it has moved.
    storage_options
        Options of the file system; without them those that the object was opened with, as long as it is lazy.

    Raises
    ------
    SelectionError
        The object does not know its subject or its root, or has voxels of several subjects.
    """
    subject = one_subject(obj)
    if subject is None:
        raise SelectionError(
            "Which subject this is of is not known: expected the attribute 'subject' on the coordinate 'voxel', as "
            "open_dataset sets it; say it, as in obj.assign_attrs(subject='sub-03')."
        )
    if root is not None:
        return Place(Location.of(root, storage_options), subject)
    attrs = [obj.coords[name].attrs for name in (VOXEL, STIMULUS) if name in obj.coords]
    attrs.append(place_of(obj, subject))
    known = next((a for a in attrs if a.get(ROOT) is not None), None)
    if known is None:
        raise SelectionError(
            "Where the files of the subject are is not known: expected the attribute 'root' on the coordinate 'voxel', "
            "as open_dataset sets it, found none; say it with root=..."
        )
    options = storage_options_of(obj, str(known[ROOT])) if storage_options is None else storage_options
    return Place(remembered_location(known, options), subject)
