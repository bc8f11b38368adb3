"""Which voxels a subject has: the mask behind the voxel axis, and the ROIs."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from laion_xr import layout
from laion_xr.catalog import SubjectCatalog
from laion_xr.errors import DataNotDownloadedError, IncompleteDataWarning, SelectionError, did_you_mean
from laion_xr.readers.base import IntArray
from laion_xr.readers.volumes import read_mask, read_masks_ids

MASKS = {"anatomical": "brain_mask", "rsquare": "r2_mean"}

Grid = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class VoxelAxis:
    """The voxels of a subject: C-order flat ids of a mask in a grid."""

    ids: IntArray
    grid: Grid
    affine: npt.NDArray[np.float64]
    mask_source: str


def voxel_axis(catalog: SubjectCatalog, mask_source: str) -> VoxelAxis:
    """Read the mask that the voxel axis is made of.

    Where the anatomical mask is not there, the R2 map serves, with a warning.

    Raises
    ------
    SelectionError
        `mask_source` is neither `"anatomical"` nor `"rsquare"`.
    DataNotDownloadedError
        The mask is not there, and nothing that could serve for it.
    """
    if mask_source not in MASKS:
        raise SelectionError(did_you_mean("mask_source", mask_source, MASKS))
    if MASKS[mask_source] not in catalog.maps:
        where = catalog.location.show
        paths = {
            "anatomical": layout.brain_mask_path(catalog.subject),
            "rsquare": layout.subject_path(catalog.subject, "r2_mean"),
        }
        if mask_source == "anatomical" and MASKS["rsquare"] in catalog.maps:
            warnings.warn(
                f"The brain mask {where(paths['anatomical'])} is not there: the voxels are those of the R2 map instead "
                "(mask_source='rsquare'); download the mask for the usual voxel axis.",
                IncompleteDataWarning,
                stacklevel=2,
            )
            mask_source = "rsquare"
        else:
            other = "rsquare" if mask_source == "anatomical" else "anatomical"
            hint = f", or open with mask_source={other!r}" if MASKS[other] in catalog.maps else ""
            raise DataNotDownloadedError(
                f"No mask says which voxels {catalog.subject} has: expected {where(paths[mask_source])}; "
                f"download it{hint}."
            )
    entry = catalog.maps[MASKS[mask_source]]
    ids, header = read_mask(catalog.location, entry)
    return VoxelAxis(ids, header.grid, header.affine, mask_source)


def read_rois(catalog: SubjectCatalog, grid: Grid) -> dict[str, IntArray]:
    """Return the C-order flat grid ids of each ROI, voxels outside the brain mask included."""
    ids = read_masks_ids(catalog.location, catalog.rois.values(), grid)
    return {roi: ids[entry.path] for (_, roi), entry in catalog.rois.items()}
