"""What a report is about: the files of a subject, its Dataset, and why there is none."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from laion_xr.access.configuration import data_dir
from laion_xr.analysis.regions import roi_masks
from laion_xr.analysis.stimuli import stimuli_of
from laion_xr.backend import locate
from laion_xr.catalog import Catalog
from laion_xr.errors import LaionXRError, SelectionError
from laion_xr.inventory import RootReport, SubjectReport, root_report
from laion_xr.location import Location
from laion_xr.schema import SUBJECT, VOXEL

FloatArray = npt.NDArray[np.float64]
_DEFAULT_CEILING = "12rep"
# user:password@ of an address, and what follows a ? (a signature, a token)
_CREDENTIALS, _QUERY = re.compile(r"(?<=//)[^/@\s]*@"), re.compile(r"\?\S*")


@dataclass
class Source:
    """What a report is about.

    Attributes
    ----------
    name
        The subject.
    location
        The root, or None where a Dataset does not know it.
    found
        What is there of files; None where the root is not there.
    ds
        The Dataset; None where the subject cannot be opened.
    why
        Sentences on what is None.
    notes
        What was said when it was opened.
    betas
        Whether betas may be read.
    """

    name: str
    location: Location | None
    found: RootReport | None
    ds: xr.Dataset | None
    why: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    betas: bool = False
    _maps: dict[str, FloatArray] = field(default_factory=dict)

    @property
    def files(self) -> SubjectReport | None:
        """What is there of the subject's files."""
        return self.found.subjects[0] if self.found is not None else None

    @property
    def opened(self) -> xr.Dataset:
        """The Dataset.

        Raises
        ------
        SelectionError
            There is none.
        """
        if self.ds is None:
            raise SelectionError("This needs the subject as a Dataset, which could not be opened.")
        return self.ds

    @property
    def ceiling(self) -> str:
        """Which map is the coordinate `noise_ceiling`."""
        attrs = self.opened.coords["noise_ceiling"].attrs if "noise_ceiling" in self.opened.coords else {}
        return str(attrs.get("map", _DEFAULT_CEILING))

    def values(self, name: str) -> FloatArray | None:
        """Return a map as numbers, `(voxel,)` or `(ses, voxel)`, read once; None where it is not there or empty."""
        if name not in self._maps:
            if name not in self.opened.variables or VOXEL not in self.opened[name].dims:
                return None
            self._maps[name] = np.asarray(self.opened[name].values, dtype=np.float64)
        found = self._maps[name]
        return found if np.isfinite(found).any() else None

    @cached_property
    def masks(self) -> dict[str, npt.NDArray[np.bool_]]:
        """ROI -> which voxels `(voxel,)` are in it, for those that have some."""
        if self.ds is None or "roi" not in self.ds.coords or VOXEL not in self.ds.dims:
            return {}
        found = roi_masks(self.ds)
        return dict(zip(map(str, found["roi"].values), found.values, strict=True))

    @property
    def root_name(self) -> str:
        """The root as it may be shown: a folder's name without the way to it, an address without credentials."""
        if self.location is None:
            return "not known"
        if self.location.is_local:
            return self.location.url.rpartition("/")[2] or "/"
        return _QUERY.sub("", _CREDENTIALS.sub("", self.location.url))

    def public(self, text: str) -> str:
        """Return a sentence without the way to the root, and without credentials."""
        if self.location is not None:
            text = text.replace(self.location.url, self.root_name)
        return _QUERY.sub("?", _CREDENTIALS.sub("", text)) if "://" in text else text


def source_of(
    obj: Any,
    subject: str | int | None = None,
    store: Any = None,
    storage_options: Mapping[str, Any] | None = None,
    betas: bool = False,
) -> Source:
    """Look at a root, or take a Dataset as it is.

    Raises
    ------
    NotALaionDatasetError, SubjectNotFoundError, SelectionError
        There is no such dataset or subject; several subjects and no choice.
    """
    if isinstance(obj, xr.Dataset):
        return _of_dataset(obj, subject, store, storage_options, betas)
    if isinstance(obj, (xr.DataArray, xr.DataTree)):
        raise SelectionError(
            f"A report is of a root, or of a Dataset as open_dataset returns it: found a {type(obj).__name__}."
        )
    location, implied = locate(data_dir() if obj is None else obj, storage_options)
    name = Catalog.scan(location).subject(implied if subject is None else subject).subject
    if implied is not None and implied != name:
        raise SelectionError(f"{obj} is the subject {implied}, and subject= another one ({name}): give one of the two.")
    found = root_report(location, name)
    source = Source(name, location, found, None, betas=betas)
    files = found.subjects[0]
    options = {
        "mask_source": files.mask_source or "anatomical",
        "noise_ceiling": files.noise_ceiling or _DEFAULT_CEILING,
        "store": store,
        "storage_options": storage_options,
    }
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            # a location, and not its address: what was given may bring options of its own
            place: Any = location
            source.ds = xr.open_dataset(place, engine="laion_fmri", subject=name, **options)
        except (LaionXRError, OSError) as error:
            source.why.append(f"{name} cannot be opened as a Dataset. {error}")
    for warning in said:
        if not warning.category.__module__.startswith("laion_xr"):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        elif str(warning.message) not in source.notes:
            source.notes.append(str(warning.message))
    return source


def _of_dataset(
    ds: xr.Dataset, subject: str | int | None, store: Any, storage_options: Mapping[str, Any] | None, betas: bool
) -> Source:
    given = {"subject": subject, "store": store}
    for name, value in given.items():
        if value is not None:
            raise SelectionError(f"A Dataset is opened already: {name}={value!r} goes with a root.")
    if SUBJECT not in ds.attrs:
        raise SelectionError(
            "A report is of one subject: expected a Dataset with the attribute 'subject', as open_dataset returns it, "
            f"found {list(map(str, ds.attrs)) or 'no attributes'}."
        )
    source = Source(str(ds.attrs[SUBJECT]), None, None, ds, betas=betas)
    try:
        source.location = stimuli_of(ds, storage_options=storage_options).location
        source.found = root_report(source.location, source.name)
    except (LaionXRError, OSError) as error:
        source.why.append(f"The files are not known, as the Dataset's root cannot be looked at. {error}")
    return source
