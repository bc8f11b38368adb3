"""The files of one subject as the drop-in layer reads them: what is there, the voxel axis, the lazy betas."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from laion_xr import layout, schema
from laion_xr.access.configuration import store_dir
from laion_xr.catalog import SubjectCatalog, scan_subject
from laion_xr.compat.tables import published_table
from laion_xr.dataset import subject_dataset
from laion_xr.errors import DataNotDownloadedError, LaionXRError, SelectionError
from laion_xr.location import FileEntry, Location
from laion_xr.masks import MASKS, VoxelAxis, voxel_axis
from laion_xr.readers.volumes import read_volume
from laion_xr.stimuli.root import root_attrs

Mask = npt.NDArray[np.bool_]

# The betas and their trials are all that is taken from the Dataset: what is not asked for is not read
_UNUSED = ("roi", "noise_ceiling", *schema.SUBJECT_MAP_VARIABLES, *schema.SESSION_MAP_FILES)


@dataclass
class SubjectFiles:
    """One subject's files. The opened Dataset is kept, and opened anew when the files have changed.

    Attributes
    ----------
    location
        The root of the dataset.
    subject
        `"sub-03"`.
    """

    location: Location
    subject: str
    _axes: dict[tuple[str, FileEntry], VoxelAxis] = field(default_factory=dict, repr=False)
    _datasets: dict[str, tuple[str, xr.Dataset]] = field(default_factory=dict, repr=False)

    def catalog(self) -> SubjectCatalog:
        """List what is there now: files come while a script runs."""
        return scan_subject(self.location, self.subject)

    def sessions(self) -> list[str]:
        """Return the sorted names of the sessions' folders."""
        names = self.location.folders(layout.subject_dir(self.subject))
        return sorted(name for name in names if layout.is_session(name))

    def axis(self, source: str, catalog: SubjectCatalog | None = None) -> VoxelAxis:
        """Return the voxels of a brain mask on the functional grid.

        Raises
        ------
        SelectionError
            `source` is neither `"anatomical"` nor `"rsquare"`.
        DataNotDownloadedError
            Its file is not there; another mask never stands in.
        """
        if source not in list(MASKS):
            raise SelectionError(f"source must be 'anatomical' or 'rsquare', found {source!r}.")
        catalog = self.catalog() if catalog is None else catalog
        entry = catalog.maps.get(MASKS[source])
        if entry is None:
            path = (
                layout.brain_mask_path(self.subject)
                if source == "anatomical"
                else layout.subject_path(self.subject, "r2_mean")
            )
            other = "rsquare" if source == "anatomical" else "anatomical"
            raise DataNotDownloadedError(
                f"The brain mask of {self.subject} is not there: expected {self.location.show(path)}; download it, or "
                f"use mask_source={other!r} everywhere."
            )
        if (source, entry) not in self._axes:
            self._axes[source, entry] = voxel_axis(catalog, source)
        return self._axes[source, entry]

    def dataset(self, mask_source: str, sessions: Sequence[str], catalog: SubjectCatalog | None = None) -> xr.Dataset:
        """Return the lazy betas, from the configured store where it has them; these sessions are among its trials.

        Raises
        ------
        DataNotDownloadedError
            The betas of one of the sessions, or the mask, are not there.
        """
        catalog = self.catalog() if catalog is None else catalog
        self.axis(mask_source, catalog)
        store = store_dir()
        state = f"{catalog.fingerprint} {store}"
        if self._datasets.get(mask_source, ("", None))[0] != state:
            try:
                opened = self._open(catalog, mask_source, store, None)
            except LaionXRError:
                # a file of another session may be broken: these sessions alone
                return self._holding(self._open(catalog, mask_source, store, sessions), sessions)
            self._datasets[mask_source] = state, opened
        return self._holding(self._datasets[mask_source][1], sessions)

    def frame(self, axis: VoxelAxis) -> xr.Dataset:
        """Return the voxels of an axis alone, as a Dataset that knows its grid, its subject and its root."""
        attrs = {
            "grid_shape": [int(n) for n in axis.grid],
            "affine": [float(a) for a in axis.affine.ravel()],
            schema.SUBJECT: self.subject,
        }
        return xr.Dataset(coords={schema.VOXEL: (schema.VOXEL, axis.ids, attrs | root_attrs(self.location))})

    def _open(
        self, catalog: SubjectCatalog, mask_source: str, store: str | None, sessions: Iterable[str] | None
    ) -> xr.Dataset:
        if sessions is not None:
            known = [s.session for s in catalog.sessions]
            missing = next((name for name in sessions if name not in known), None)
            if missing is not None:
                raise self._no_betas(missing)
        return subject_dataset(
            catalog,
            sessions=sessions,
            mask_source=mask_source,
            store=None if store is None else Location.of(store),
            label_index=False,
            drop_variables=_UNUSED,
        )

    def _holding(self, ds: xr.Dataset, sessions: Iterable[str]) -> xr.Dataset:
        there = set(ds["session"].values.tolist())
        for name in sessions:
            if name not in there:
                raise self._no_betas(name)
        return ds

    def _no_betas(self, session: str) -> DataNotDownloadedError:
        path = self.location.show(layout.session_path(self.subject, session, "betas"))
        return DataNotDownloadedError(
            f"The single-trial betas of {self.subject} {session} are not there: expected {path}; download them, for "
            f"example with laion_xr.download(subject={self.subject!r}, session={session!r})."
        )

    def entry(self, stem: str) -> FileEntry:
        """Return a NIfTI file by its path without the ending.

        Raises
        ------
        DataNotDownloadedError
            It is not there.
        """
        there = {entry.path: entry for entry in self.location.files(stem.rpartition("/")[0])}
        for ending in layout.NIFTI_ENDINGS:
            if stem + ending in there:
                return there[stem + ending]
        raise DataNotDownloadedError(
            f"The file {self.location.show(stem + layout.NIFTI_ENDINGS[0])} is not there: download it first."
        )

    def values(self, stem: str, axis: VoxelAxis) -> npt.NDArray[np.float32]:
        """Return a map's values on the voxel axis, `(voxel,)` float32; raises as `entry` and `read_volume`."""
        volume, _ = read_volume(self.location, self.entry(stem), axis.grid)
        return volume[np.unravel_index(axis.ids, axis.grid)].astype(np.float32)

    def trials(self, session: str) -> pd.DataFrame:
        """Return the trial table of a session just as pandas reads it; raises as `published_table`."""
        path = layout.session_path(self.subject, session, "trials")
        return published_table(self.location, path, "the trials", sep="\t")
