"""What of a subject lies on trials and voxels: betas, noise ceilings, masks, ROIs, trial tables, as plain arrays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt

from laion_xr import layout
from laion_xr.catalog import SubjectCatalog
from laion_xr.compat import regions
from laion_xr.compat._paths import anatomical_stem, subject_map_stem
from laion_xr.compat.arguments import (
    Session,
    Sessions,
    ceiling_threshold,
    named,
    one_desc,
    one_session,
    stimulus_kind,
    voxel_mask,
)
from laion_xr.compat.files import Mask, SubjectFiles
from laion_xr.compat.regions import Query
from laion_xr.errors import SelectionError
from laion_xr.labels import warn_of_fraction
from laion_xr.masks import VoxelAxis
from laion_xr.readers.volumes import read_mask
from laion_xr.schema import TRIAL, VOXEL

Array = npt.NDArray[Any]
Betas = npt.NDArray[np.float32]


class SubjectArrays:
    """The methods of `Subject` that return arrays and trial tables."""

    _files: SubjectFiles

    def get_sessions(self) -> list[str]:
        """Return the sorted names of the sessions that have a folder."""
        return self._files.sessions()

    def get_brain_mask(self, source: str = "anatomical", res: str | None = "1pt8") -> Mask:
        """Return a brain mask over the whole grid, `(X * Y * Z,)` bool in C order.

        Parameters
        ----------
        source
            `"anatomical"` or `"rsquare"`.
        res
            Of the anatomical mask: `"1pt8"` for the functional grid, None for the full resolution, which does not
            align with betas.

        Raises
        ------
        SelectionError
            No such source (a `ValueError`).
        DataNotDownloadedError
            The mask is not there.
        """
        if source == "anatomical" and res != "1pt8":
            path = anatomical_stem(self._files.subject, "desc-brain_mask", res)
            ids, header = read_mask(self._files.location, self._files.entry(path))
            grid = header.grid
        else:
            axis = self._files.axis(source)
            ids, grid = axis.ids.astype(np.int64), axis.grid
        found = np.zeros(int(np.prod(grid)), dtype=bool)
        found[ids] = True
        return found

    def get_n_voxels(self, source: str = "anatomical", res: str | None = "1pt8") -> int:
        """Return the number of voxels of a brain mask; see `get_brain_mask`."""
        return int(self.get_brain_mask(source, res).sum())

    def get_betas(
        self,
        session: Sessions,
        roi: Query | None = None,
        mask: Array | None = None,
        nc_threshold: float | None = None,
        stimuli: str | None = None,
        streaming: bool = False,
        mask_source: str = "anatomical",
    ) -> Any:
        """Return single-trial betas, `(trial, voxel)` float32 in percent signal change.

        Only the trials and voxels that are asked for are kept while a session is read, from the configured store
        where it has the session.

        Parameters
        ----------
        session
            A session (`"ses-01"`, `"01"`, `"1"` or `1`), or a list or an array of them: then a dict session -> betas,
            by what was given, read side by side.
        roi
            An ROI, a category, `"all"`, or a list of these; what lies in the brain mask.
        mask
            Which voxels of the brain mask to return, `(voxel,)` bool, or 0 and 1; not together with `roi`.
        nc_threshold
            Keep voxels whose noise ceiling within the session is at least this, in percent; NaN is not.
        stimuli
            `"shared"` or `"unique"`: trials whose image's name begins so; one without a name is neither.
        streaming
            Accepted, and of no effect: reading always streams.
        mask_source
            `"anatomical"` or `"rsquare"`.

        Raises
        ------
        ValueError
            No session; `roi` with `mask`; an unknown ROI, `stimuli` or `mask_source`; a mask of another length or of
            other values. It is a `TypeError` too where the type of an argument is wrong.
        DataNotDownloadedError
            The betas, the mask, the trial table or the noise ceiling are not there.
        """
        names, one = named(session, one_session)
        found = self._betas(names, roi, mask, nc_threshold, stimuli, mask_source)
        return next(iter(found.values())) if one else found

    def _betas(
        self,
        names: dict[Session, str],
        roi: Query | None,
        mask: Array | None,
        nc_threshold: float | None,
        stimuli: str | None,
        mask_source: str,
    ) -> dict[Session, Betas]:
        kind, threshold = stimulus_kind(stimuli), ceiling_threshold(nc_threshold)
        if threshold is not None:
            warn_of_fraction(threshold)
        # listed once: a subject has hundreds of files
        catalog = self._files.catalog()
        wanted = self._wanted(roi, mask, mask_source, catalog)
        if not names:
            return {}
        axis = self._files.axis(mask_source, catalog)
        ds = self._files.dataset(mask_source, list(names.values()), catalog)
        labels, images = ds["session"].values, ds["stimulus"].values
        picked = {}
        for given, name in names.items():
            trials = np.flatnonzero(labels == name)
            if kind is not None:
                of_kind = np.array([str(image).startswith(f"{kind}_") for image in images[trials]], dtype=bool)
                if not any(images[trials]):
                    self.get_trial_info(name)  # says what is missing
                trials = trials[of_kind]
            voxels = wanted
            if threshold is not None:
                enough = self._session_ceiling(name, axis) >= threshold
                voxels = enough if wanted is None else wanted & enough
            chosen = ds["betas"].isel({TRIAL: trials})
            picked[given] = (chosen if voxels is None else chosen.isel({VOXEL: np.flatnonzero(voxels)})).data
        (found,) = da.compute(picked)
        return dict(found)

    def _wanted(
        self, roi: Query | None, mask: Array | None, mask_source: str, catalog: SubjectCatalog | None = None
    ) -> Mask | None:
        """Return which voxels of the axis an ROI or a mask names; None for all."""
        if roi is not None and mask is not None:
            raise SelectionError("roi and mask are mutually exclusive: give one of them.")
        if roi is None and mask is None:
            return None
        catalog = self._files.catalog() if catalog is None else catalog
        axis = self._files.axis(mask_source, catalog)
        if roi is not None:
            return regions.roi_mask(catalog, roi, axis)
        return voxel_mask(mask, len(axis.ids), mask_source)

    def get_noise_ceiling(
        self,
        session: Sessions | None = None,
        desc: str | Iterable[str] | None = None,
        roi: Query | None = None,
        mask: Array | None = None,
        mask_source: str = "anatomical",
    ) -> Any:
        """Return a noise ceiling, `(voxel,)` float32 in percent.

        Parameters
        ----------
        session
            The map within a session; a list gives a dict.
        desc
            A map over sessions: `"Noiseceiling12rep"`, `"Noiseceiling4rep"`, `"NoiseceilingAllrep"`; a list gives a
            dict.
        roi, mask, mask_source
            As in `get_betas`.

        Raises
        ------
        ValueError
            Not exactly one of `session` and `desc`; `roi` with `mask`, and what else `get_betas` refuses.
        DataNotDownloadedError
            The map is not there.
        """
        if (session is None) == (desc is None):
            raise SelectionError("Exactly one of `session` or `desc` must be set.")
        names, one = named(desc, one_desc) if session is None else named(session, one_session)
        axis = self._files.axis(mask_source)
        wanted = self._wanted(roi, mask, mask_source)
        found = {}
        for given, name in names.items():
            if session is None:
                values = self._files.values(subject_map_stem(self._files.subject, name), axis)
            else:
                values = self._session_ceiling(name, axis)
            found[given] = values if wanted is None else values[wanted]
        return next(iter(found.values())) if one else found

    def _session_ceiling(self, session: str, axis: VoxelAxis) -> Betas:
        return self._files.values(layout.session_path(self._files.subject, session, "noise_ceiling", ""), axis)

    def get_trial_info(self, session: Sessions) -> Any:
        """Return the trial table of a session as it is in its file, or a dict of them for a list.

        Raises
        ------
        ValueError
            No session.
        DataNotDownloadedError
            It is not there.
        FileFormatError
            It is damaged (a `ValueError`).
        """
        names, one = named(session, one_session)
        found = {given: self._files.trials(name) for given, name in names.items()}
        return next(iter(found.values())) if one else found

    def get_available_rois(self, category: str | None = None) -> list[str]:
        """Return the sorted names of the ROIs, of one category or all; none where the category does not exist."""
        found = regions.rois_by_category(self._files.catalog())
        return sorted({roi for name, rois in found.items() for roi in rois if category in (None, name)})

    def get_available_categories(self) -> list[str]:
        """Return the sorted names of the ROI categories."""
        return list(regions.rois_by_category(self._files.catalog()))

    def get_roi_mask(self, query: Query, mask_source: str = "anatomical") -> Mask:
        """Return the union of ROIs on the voxel axis, `(voxel,)` bool; see `get_betas` for the query."""
        catalog = self._files.catalog()
        return regions.roi_mask(catalog, query, self._files.axis(mask_source, catalog))

    def get_roi_masks(self, queries: Query, mask_source: str = "anatomical") -> dict[str, Mask]:
        """Return one mask a query, by the queries as they are given."""
        return {query: self.get_roi_mask(query, mask_source) for query in regions.queried(queries)}

    def get_roi_data(
        self, query: Query, format: str | None = None, hemi: str | None = None, mask_source: str = "anatomical"
    ) -> dict[str, dict[str, Any]]:
        """Return ROIs in every form that they come in, one entry an ROI.

        Parameters
        ----------
        query
            As in `get_roi_mask`.
        format
            `"all"` (None), `"volume"` or `"nii.gz"`, `"gii"` (both files of the surface), `"func.gii"`, `"label"`.
        hemi
            `"all"` (None), `"L"` or `"R"`.
        mask_source
            The voxels of `"volume"`.

        Returns
        -------
        dict
            `{roi: {"volume": (voxel,) bool, "gii": {"hemi-L": {"func.gii": (vertex,) bool, "label": vertices}, ...}}}`.

        Raises
        ------
        ValueError
            No such ROI, format or hemisphere.
        DataNotDownloadedError
            A file is not there.
        """
        catalog = self._files.catalog()
        axis = self._files.axis(mask_source, catalog) if regions.wants_volume(format) else None
        return regions.roi_data(catalog, query, format, hemi, axis)
