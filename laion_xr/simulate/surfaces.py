"""FreeSurfer-like surfaces that lie on the simulated brain, and which vertices an ROI holds. numpy only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from laion_xr.simulate.brain import HEMISPHERES
from laion_xr.simulate.icosphere import icosphere
from laion_xr.simulate.truth import SubjectTruth

Points = npt.NDArray[np.float64]


class Hemisphere(NamedTuple):
    """The meshes of one hemisphere; all have the same vertices and triangles.

    white, midthickness, pial, inflated : (vertex, 3), millimetres of T1w space; sphere, sphere_reg : (vertex, 3), a
    sphere of radius 100 about the origin; triangles : (triangle, 3), counter-clockwise from outside.
    """

    name: str  # "L" or "R"
    white: Points
    midthickness: Points
    pial: Points
    inflated: Points
    sphere: Points
    sphere_reg: Points
    triangles: npt.NDArray[np.int32]


def hemispheres(subject: SubjectTruth) -> tuple[Hemisphere, Hemisphere]:
    """Return the surfaces of a subject, left and right."""
    brain = subject.brain
    # vertices closer than voxels: about 1.5 mm apart in a small brain, 2 mm in one of full size
    order = 3 if brain.axes.mean() < 14 else 5
    unit, triangles = icosphere(order)
    made = []
    for side, name in enumerate(HEMISPHERES):
        white, middle, pial = (
            brain.to_mm(brain.surface(unit, side, depth)) for depth in (brain.inner, (1 + brain.inner) / 2, 1.0)
        )
        # without bumps, about as large, each hemisphere about its own centre
        inflated = brain.to_mm(brain.centres[side] + (_mirror(unit) if side else unit) * brain.axes.mean())
        # a sphere in T1w directions: x to the right, so that lateral is -x on the left
        sphere = 100 * (unit if side else _mirror(unit))
        turn = np.deg2rad(3)
        registered = sphere @ np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]).T
        # `unit` is (lateral, anterior, superior): a mirror image of the left hemisphere, so its triangles turn round
        turned = triangles if side else triangles[:, ::-1]
        made.append(Hemisphere(name, white, middle, pial, inflated, sphere, registered, np.ascontiguousarray(turned)))
    return made[0], made[1]


def nearest_voxels(subject: SubjectTruth, points: Points) -> npt.NDArray[np.int64]:
    """Return the C-order id of the voxel that holds each point (point, 3) of T1w space, -1 off the grid."""
    inverse = np.linalg.inv(subject.affine)
    ijk = np.rint(points @ inverse[:3, :3].T + inverse[:3, 3]).astype(np.int64)
    on_grid = ((ijk >= 0) & (ijk < subject.mask.shape)).all(axis=1)
    out = np.full(len(points), -1, np.int64)
    out[on_grid] = np.ravel_multi_index(tuple(ijk[on_grid].T), subject.mask.shape)
    return out


def roi_vertices(subject: SubjectTruth, hemisphere: Hemisphere, roi: str) -> npt.NDArray[np.intp]:
    """Return the vertices of an ROI: those whose point at mid-thickness lies in a voxel of it."""
    return np.flatnonzero(np.isin(nearest_voxels(subject, hemisphere.midthickness), subject.rois[roi]))


def _mirror(points: Points) -> Points:
    out: Points = points * np.array([-1.0, 1.0, 1.0])
    return out
