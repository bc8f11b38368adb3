"""The shape of a simulated brain: two bumpy half brains in the grid, and where a point lies in them. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from laion_xr.simulate.streams import stream

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

VOXEL_MM = 1.778
CORTEX_MM = 3.2  # depth of the grey matter, where the brain is large enough for it
HEMISPHERES = ("L", "R")


@dataclass(frozen=True, eq=False)
class Brain:
    """The geometry of one subject's brain.

    Each hemisphere is a ball, stretched along the grid's axes, with bumps: a point's depth is its distance from
    the hemisphere's centre as a share of the distance of the pial surface in that direction (1 on the surface,
    less inside, more outside).

    Attributes
    ----------
    grid : tuple of int
        Voxels along each axis.
    affine : ndarray of float64, shape (4, 4)
        Voxel indices to millimetres of T1w space (left to right, posterior to anterior, inferior to superior).
        The first axis of the grid runs from right to left.
    centres : ndarray, shape (2, 3)
        Centres of the left and the right hemisphere, in voxels.
    axes : ndarray, shape (3,)
        Half axes of a hemisphere, in voxels.
    phases : ndarray, shape (4,)
        What makes the bumps this subject's own, radians.
    inner : float
        Depth at which white matter ends and grey matter begins.
    """

    grid: tuple[int, int, int]
    affine: FloatArray
    centres: FloatArray
    axes: FloatArray
    phases: FloatArray
    inner: float

    def pial_radius(self, directions: FloatArray) -> FloatArray:
        """Return how far the pial surface lies in each direction (point, 3), in half axes: about 1."""
        d, (a, b, c, e) = directions, self.phases
        bumps = np.sin(5 * d[:, 1] + a) * np.cos(4 * d[:, 2] + b) + np.sin(6 * d[:, 2] + 3 * d[:, 0] + c)
        radius: FloatArray = 1 + 0.02 * bumps + 0.02 * np.sin(3 * d[:, 1] + e)
        return radius

    def locate(self, points: FloatArray) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int8]]:
        """Return where points (in voxels) lie: depth, anatomical direction, hemisphere (0 left, 1 right).

        Parameters
        ----------
        points : ndarray, shape (point, 3)
            Positions in voxels.

        Returns
        -------
        depth : ndarray, shape (point,)
        directions : ndarray, shape (point, 3)
            Unit vectors from the hemisphere's centre: lateral, anterior, superior.
        hemisphere : ndarray of int8, shape (point,)
        """
        both = []
        for centre in self.centres:
            p = (points - centre) / self.axes
            distance = np.linalg.norm(p, axis=1)
            d = p / np.maximum(distance, 1e-12)[:, None]
            both.append((distance / self.pial_radius(d), d))
        hemisphere = (both[1][0] < both[0][0]).astype(np.int8)
        right = hemisphere.astype(bool)
        depth = np.where(right, both[1][0], both[0][0])
        directions = np.where(right[:, None], both[1][1], both[0][1])
        # lateral is towards larger first indices on the left, smaller ones on the right
        directions[right, 0] *= -1
        return depth, directions, hemisphere

    def surface(self, directions: FloatArray, hemisphere: int, depth: float) -> FloatArray:
        """Return the points in voxels at a depth along anatomical directions (point, 3) of a hemisphere."""
        d = np.array(directions)
        if hemisphere:
            d[:, 0] *= -1
        points: FloatArray = self.centres[hemisphere] + depth * self.pial_radius(d)[:, None] * d * self.axes
        return points

    def to_mm(self, points: FloatArray) -> FloatArray:
        """Return points in voxels as millimetres of T1w space."""
        mm: FloatArray = points @ self.affine[:3, :3].T + self.affine[:3, 3]
        return mm

    def slab_points(self, start: int, stop: int) -> FloatArray:
        """Return the positions of the voxels of some planes `start <= i < stop`, C order, (voxel, 3)."""
        points: FloatArray = np.indices((stop - start, *self.grid[1:])).reshape(3, -1).T.astype(np.float64)
        points[:, 0] += start
        return points


def make_brain(seed: int, subject: str, grid: tuple[int, int, int], brain_fraction: float) -> Brain:
    """Return a subject's brain: about `brain_fraction` of the grid, of a size, place and shape of its own."""
    rng = stream(seed, subject, "brain")
    half = np.array(grid) / 2
    # share of each half side; a hemisphere takes half of the brain's width
    axes = np.array([0.36, 0.80, 0.70]) * (brain_fraction / 0.21) ** (1 / 3)
    axes = axes * rng.uniform(0.985, 1.015, 3) * half
    middle = (np.array(grid) - 1) / 2 + rng.uniform(-0.3, 0.3, 3)
    apart = np.array([axes[0] * 1.04, 0, 0])
    inner = float(np.clip(1 - CORTEX_MM / (VOXEL_MM * axes.mean()), 0.6, 0.95))

    # a pitch of the head as scanned, and the first axis from right to left
    angle = np.deg2rad(rng.uniform(4, 9))
    pitch = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = pitch @ np.diag([-VOXEL_MM, VOXEL_MM, VOXEL_MM])
    affine[:3, 3] = np.array([0.6, -17.2, 11.9]) + rng.uniform(-3, 3, 3) - affine[:3, :3] @ middle
    # a NIfTI header holds float32: what is known is what a reader gets
    affine = affine.astype(np.float32).astype(np.float64)
    return Brain(grid, affine, np.stack([middle + apart, middle - apart]), axes, rng.uniform(0, 2 * np.pi, 4), inner)
