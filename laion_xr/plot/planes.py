"""Planes through a volume in millimetres, whatever its affine: nearest voxels on a lattice of world coordinates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
AXES = "xyz"


class Plane(NamedTuple):
    """A picture of a plane.

    Attributes
    ----------
    values
        float (row, column): the second in-plane axis upwards, the first to the right. NaN outside the volume.
    extent
        Edges of the picture in mm: left, right, bottom, top.
    """

    values: FloatArray
    extent: tuple[float, float, float, float]


class Lattice(NamedTuple):
    """World coordinates, mm, at which a volume is looked up: a regular series along each axis."""

    start: FloatArray
    step: FloatArray
    size: npt.NDArray[np.int64]

    @classmethod
    def of(cls, affine: FloatArray, shape: tuple[int, ...]) -> Lattice:
        """Return the lattice that covers a volume.

        Where the axes of the grid are those of the world its points are the voxels' centres, and each pixel is a
        voxel. Else its step is the smallest side of a voxel.
        """
        linear = np.asarray(affine, dtype=np.float64)[:3, :3]
        ends = np.stack([np.zeros(3), np.asarray(shape[:3]) - 1.0])
        corners = np.stack(np.meshgrid(*ends.T, indexing="ij"), -1).reshape(-1, 3) @ linear.T + affine[:3, 3]
        low, high = corners.min(0), corners.max(0)
        zooms = np.linalg.norm(linear, axis=0)
        far = np.abs(linear) > 1e-4 * zooms.max()  # less turns a whole brain by less than a tenth of a voxel
        aligned = (far.sum(0) == 1).all() and (far.sum(1) == 1).all()
        step = np.abs(linear).max(1) if aligned else np.full(3, zooms.min())
        return cls(low, step, np.floor((high - low) / step + 1 + 1e-6).astype(np.int64))

    def within(self, low: FloatArray, high: FloatArray) -> Lattice:
        """Return the part of the lattice between two corners of a box, mm."""
        first = np.clip(np.floor((low - self.start) / self.step + 1e-6), 0, self.size - 1).astype(np.int64)
        last = np.clip(np.ceil((high - self.start) / self.step - 1e-6), first, self.size - 1).astype(np.int64)
        return Lattice(self.start + first * self.step, self.step, last - first + 1)

    def plane(self, volume: npt.NDArray[np.generic], affine: FloatArray, axis: int, cut: float) -> Plane:
        """Return the plane across one world axis at `cut` mm."""
        u, v = (a for a in range(3) if a != axis)
        series = [self.start[a] + np.arange(self.size[a]) * self.step[a] for a in (u, v)]
        world = np.empty((self.size[v], self.size[u], 3))
        world[..., u], world[..., v], world[..., axis] = series[0], series[1][:, None], cut
        inverse = np.linalg.inv(affine)
        index = np.rint(world @ inverse[:3, :3].T + inverse[:3, 3]).astype(np.int64)
        inside = ((index >= 0) & (index < volume.shape[:3])).all(-1)
        values = np.full(inside.shape, np.nan)
        values[inside] = volume[tuple(index[inside].T)]
        half = self.step / 2
        edges = [(s[0] - half[a], s[-1] + half[a]) for s, a in zip(series, (u, v), strict=True)]
        return Plane(values, (*map(float, edges[0]), *map(float, edges[1])))  # type: ignore[arg-type]
