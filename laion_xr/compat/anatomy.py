"""What of a subject lies in space: images of voxel values, positions, templates, and the anatomical files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from nibabel.affines import apply_affine

from laion_xr import layout
from laion_xr.analysis.volumes import to_nifti
from laion_xr.compat import _paths, templates
from laion_xr.compat.arguments import Session
from laion_xr.compat.arrays import SubjectArrays
from laion_xr.compat.files import Mask
from laion_xr.compat.regions import Query
from laion_xr.errors import DataNotDownloadedError, SelectionError
from laion_xr.masks import VoxelAxis
from laion_xr.schema import VOXEL

Array = npt.NDArray[Any]


class SubjectAnatomy(SubjectArrays):
    """The methods of `Subject` that write images and return paths."""

    def to_nifti(
        self,
        values: npt.ArrayLike,
        output_path: str | os.PathLike[str],
        roi: Query | None = None,
        mask: Array | None = None,
        mask_source: str = "anatomical",
    ) -> None:
        """Write one value a voxel as a 3-D image, float32, 0 elsewhere.

        Parameters
        ----------
        values
            `(voxel,)`: of the brain mask, or of `roi` or `mask` where one is given.
        output_path
            `.nii.gz` or `.nii`; complete or not there.
        roi, mask, mask_source
            The voxels of the values, as in `get_betas`.

        Raises
        ------
        ValueError
            Another number of values than of voxels; `roi` with `mask`.
        """
        axis, wanted = self._voxels(roi, mask, mask_source)
        frame = self._files.frame(axis)
        chosen = frame if wanted is None else frame.isel({VOXEL: np.flatnonzero(wanted)})
        given = np.asarray(values, dtype=np.float32)
        if given.shape != (chosen.sizes[VOXEL],):
            raise SelectionError(f"Values length mismatch: got {given.shape}, expected {(chosen.sizes[VOXEL],)}.")
        to_nifti(chosen, given, Path(output_path), fill=0)

    def get_voxel_coordinates(
        self, roi: Query | None = None, mask: Array | None = None, mask_source: str = "anatomical"
    ) -> npt.NDArray[np.float64]:
        """Return where the voxels are, `(voxel, 3)` mm of T1w space by the mask's affine; raises as `get_betas`."""
        axis, wanted = self._voxels(roi, mask, mask_source)
        ids = axis.ids if wanted is None else axis.ids[wanted]
        positions = np.stack(np.unravel_index(ids, axis.grid), axis=-1)
        found: npt.NDArray[np.float64] = apply_affine(axis.affine, positions.astype(np.float64))
        return found

    def _voxels(self, roi: Query | None, mask: Array | None, mask_source: str) -> tuple[VoxelAxis, Mask | None]:
        return self._files.axis(mask_source), self._wanted(roi, mask, mask_source)

    def to_template(
        self,
        values: Any,
        target: str,
        *,
        hemi: str | None = None,
        route: str = "auto",
        surface: str = "white",
        fsaverage_density: str = "fsaverage5",
        fslr_density: str = "32k",
        interpolation: str = "linear",
        output_dir: str | os.PathLike[str] | None = None,
        desc: str | None = None,
        session: Session | None = None,
        mask_source: str = "anatomical",
    ) -> Any:
        """Bring values to a template: see `laion_xr.compat.templates.to_template`."""
        return templates.to_template(
            self,
            values,
            target,
            hemi=hemi,
            route=route,
            surface=surface,
            fsaverage_density=fsaverage_density,
            fslr_density=fslr_density,
            interpolation=interpolation,
            output_dir=output_dir,
            desc=desc,
            session=session,
            mask_source=mask_source,
        )

    def volume_to_template(self, values: Any, target: str, **kwargs: Any) -> Any:
        """Bring values of voxels to a template that is a volume (`"MNI305"`); arguments as for `to_template`."""
        return templates.volume_to_template(self, values, target, **kwargs)

    def volume_to_surface(self, values: Any, target: str = "fsaverage", **kwargs: Any) -> Any:
        """Bring values of voxels to a template that is a surface; arguments as for `to_template`."""
        return templates.volume_to_surface(self, values, target, **kwargs)

    def surface_to_template(self, values: Any, target: str = "fsaverage", **kwargs: Any) -> Any:
        """Bring values of the subject's vertices to fsaverage: see `laion_xr.compat.templates`."""
        return templates.surface_to_template(self, values, target, **kwargs)

    def has_anatomical(self) -> bool:
        """Whether the anatomical folder is there."""
        return self._folder(_paths.anatomical_subject_dir).is_dir()

    def get_anatomical_dir(self) -> Path:
        """Return the folder of the anatomical derivatives.

        Raises
        ------
        DataNotDownloadedError
            It is not there.
        """
        return self._existing(self._folder(_paths.anatomical_subject_dir), "anatomical")

    def has_freesurfer(self) -> bool:
        """Whether the folder of the FreeSurfer reconstruction is there."""
        return self._folder(_paths.freesurfer_subject_dir).is_dir()

    def get_freesurfer_dir(self) -> Path:
        """Return the folder of the FreeSurfer reconstruction; raises as `get_anatomical_dir`."""
        return self._existing(self._folder(_paths.freesurfer_subject_dir), "freesurfer")

    def get_t1w(self, *, res: str | None = None) -> Path:
        """Return the path of the T1w image: of full resolution, or `res="1pt8"` on the functional grid.

        Raises
        ------
        DataNotDownloadedError
            It is not there.
        """
        return self._anatomical("T1w", res)

    def get_t2w(self, *, res: str | None = None) -> Path:
        """Return the path of the T2w image, as `get_t1w`."""
        return self._anatomical("T2w", res)

    def get_anatomical_brain_mask(self, *, res: str | None = None) -> Path:
        """Return the path of the anatomical brain mask, as `get_t1w`; `get_brain_mask` returns what is in it."""
        return self._anatomical("desc-brain_mask", res)

    def _anatomical(self, what: str, res: str | None) -> Path:
        stem = _paths.anatomical_stem(self._files.subject, what, res)
        paths = [self._root() / (stem + ending) for ending in layout.NIFTI_ENDINGS]
        return next((path for path in paths if path.is_file()), None) or self._existing(paths[0], "anatomical")

    def _folder(self, of: Any) -> Path:
        return Path(of(self._root(), self._files.subject))

    def _root(self) -> Path:
        if not self._files.location.is_local:
            raise DataNotDownloadedError(
                f"{self._files.location.url} is not a folder of this machine, and a path was asked for: download the "
                "data first."
            )
        return Path(self._files.location.url)

    def _existing(self, path: Path, what: str) -> Path:
        if not path.exists():
            flag = {"anatomical": "anatomical", "freesurfer": "surfaces"}[what]
            raise DataNotDownloadedError(
                f"The {what} data of {self._files.subject} are not there: expected {path}; download them, for example "
                f"with laion_xr.download(subject={self._files.subject!r}, {flag}=True)."
            )
        return path
