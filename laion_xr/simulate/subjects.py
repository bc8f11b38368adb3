"""Writes what belongs to a subject but to no session: maps, masks, anatomical images, ROI volumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from laion_xr import layout
from laion_xr.simulate.brain import Brain
from laion_xr.simulate.files import write_json, write_map
from laion_xr.simulate.maps import SUBJECT_DESCRIPTIONS, subject_maps
from laion_xr.simulate.streams import stream
from laion_xr.simulate.truth import SubjectTruth

ANATOMICAL_MM = 0.9  # voxel size of the images at full anatomical resolution
# tissue -> intensity (depth up to the white surface, to the pial surface, to the skull)
TISSUES = {"T1w": (1000, 700, 250), "T2w": (350, 500, 1100)}
_SKULL = 1.1


def write_subject(root: Path, subject: SubjectTruth) -> None:
    """Write the maps, masks, anatomical images and ROI volumes of a subject."""
    for kind, values in subject_maps(subject).items():
        path = root / layout.subject_path(subject.name, kind)
        write_map(path, subject.volume(values), subject.affine, SUBJECT_DESCRIPTIONS[kind])
    summary = {"subject": subject.name, "sessions": list(subject.sessions)}
    write_json(root / layout.summary_path(subject.name), summary)
    _write_anatomy(root, subject)
    for category, names in subject.categories.items():
        for name in names:
            path = root / layout.roi_path(subject.name, category, name)
            write_map(path, subject.roi_mask(name).astype(np.uint8), subject.affine)


def _write_anatomy(root: Path, subject: SubjectTruth) -> None:
    write_map(root / layout.brain_mask_path(subject.name), subject.mask.astype(np.uint8), subject.affine)
    affine, shape = full_grid(subject.brain, ANATOMICAL_MM)
    fine = tissue_depth(subject.brain, affine, shape)
    coarse = tissue_depth(subject.brain, subject.affine, subject.brain.grid)
    write_map(root / layout.full_brain_mask_path(subject.name), (fine <= 1).astype(np.uint8), affine)
    for image in TISSUES:
        for functional, depth, to_mm in ((False, fine, affine), (True, coarse, subject.affine)):
            volume = tissue_image(subject, depth, image).astype(np.int16)
            write_map(root / layout.anatomical_path(subject.name, image, functional), volume, to_mm)


def full_grid(brain: Brain, size_mm: float) -> tuple[npt.NDArray[np.float64], tuple[int, int, int]]:
    """Return affine and shape of an upright grid of the given voxel size that covers the functional one."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in brain.grid], indexing="ij")).reshape(3, -1).T
    mm = brain.to_mm(corners.astype(np.float64))
    low = np.floor(mm.min(axis=0))
    nx, ny, nz = (int(n) for n in np.ceil((mm.max(axis=0) - low) / size_mm) + 1)
    affine = np.diag([size_mm] * 3 + [1.0])
    affine[:3, 3] = low
    return affine.astype(np.float32).astype(np.float64), (nx, ny, nz)


def tissue_depth(brain: Brain, affine: npt.NDArray[np.float64], shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Return the depth in the brain, see `Brain`, of every voxel of a grid, a plane at a time."""
    to_voxel = np.linalg.inv(brain.affine) @ affine
    depth = np.empty(shape, np.float32)
    plane = np.indices(shape[1:]).reshape(2, -1).T.astype(np.float64)
    for i in range(shape[0]):
        points = np.column_stack([np.full(len(plane), float(i)), plane]) @ to_voxel[:3, :3].T + to_voxel[:3, 3]
        depth[i] = brain.locate(points)[0].reshape(shape[1:])
    return depth


def tissue_image(subject: SubjectTruth, depth: npt.NDArray[np.float32], image: str) -> npt.NDArray[np.float32]:
    """Return an anatomical image of given depths: white matter, grey matter, fluid, nothing; float32 of at least 0."""
    steps = np.array([subject.brain.inner, 1, _SKULL], np.float32)
    out: npt.NDArray[np.float32] = np.array([*TISSUES[image], 0], np.float32)[np.searchsorted(steps, depth)]
    rng = stream(subject.seed, subject.name, "anatomy", image)
    out += rng.standard_normal(depth.shape, np.float32) * np.float32(20)
    return np.maximum(out, 0, out=out)
