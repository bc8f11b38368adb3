"""Planes through volumes: the voxel that lies at a place, whatever the affine."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from nibabel.processing import resample_from_to

from laion_xr.plot.planes import Lattice

ALIGNED = [
    np.diag([2.0, 3.0, 1.5, 1]),
    np.array([[-2.0, 0, 0, 30], [0, 0, 1.5, -20], [0, 3.0, 0, 5], [0, 0, 0, 1]]),  # right to left, axes changed
]
OBLIQUE = np.array([[-1.75, 0.125, 0, 10], [0.25, 1.5, 0, -20], [0, 0.5, 2, -30], [0, 0, 0, 1]])


@pytest.mark.parametrize("affine", ALIGNED)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_aligned_grid_is_its_canonical_slices(affine, axis):
    volume = np.random.default_rng(0).normal(size=(6, 7, 5))
    canonical = nib.as_closest_canonical(nib.Nifti1Image(volume, affine))
    values = canonical.get_fdata()
    lattice = Lattice.of(affine, volume.shape)
    assert lattice.size.tolist() == list(values.shape)
    for at in range(values.shape[axis]):
        cut = canonical.affine[axis, 3] + at * canonical.affine[axis, axis]
        plane = lattice.plane(volume, affine, axis, cut)
        np.testing.assert_array_equal(plane.values, np.take(values, at, axis).T)
        u, v = (a for a in range(3) if a != axis)
        edges = [(canonical.affine @ [*corner, 1])[[u, v]] for corner in ([-0.5] * 3, np.array(values.shape) - 0.5)]
        np.testing.assert_allclose(plane.extent, np.ravel(edges, "F"))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_oblique_grid_is_resampled_to_the_nearest_voxel(axis):
    volume = np.random.default_rng(1).normal(size=(6, 7, 5))
    lattice = Lattice.of(OBLIQUE, volume.shape)
    cut = lattice.start[axis] + 0.37 * lattice.size[axis] * lattice.step[axis]
    plane = lattice.plane(volume, OBLIQUE, axis, cut)
    target = np.diag([*lattice.step, 1])
    target[:3, 3] = lattice.start
    target[axis, 3] = cut
    shape = lattice.size.copy()
    shape[axis] = 1
    image = nib.Nifti1Image(volume, OBLIQUE)
    expected = resample_from_to(image, (tuple(shape), target), order=0, mode="constant", cval=np.nan).get_fdata()
    both = np.isfinite(plane.values) & np.isfinite(expected.squeeze(axis).T)
    assert both.sum() > 10
    np.testing.assert_array_equal(plane.values[both], expected.squeeze(axis).T[both])
    # SciPy gives nothing beyond the outermost centres; half a voxel more belongs to the volume
    assert np.isfinite(plane.values)[np.isfinite(expected.squeeze(axis).T)].all()


def test_outside_the_volume_is_nan():
    lattice = Lattice.of(ALIGNED[0], (2, 2, 2))
    assert np.isnan(lattice.plane(np.ones((2, 2, 2)), ALIGNED[0], 2, 100.0).values).all()


def test_within_keeps_the_lattice_and_one_point_at_least():
    lattice = Lattice.of(ALIGNED[0], (10, 10, 10))
    part = lattice.within(np.array([3.0, 3.0, 3.0]), np.array([9.0, 3.5, 3.0]))
    np.testing.assert_allclose(part.start, [2, 3, 3])
    assert part.size.tolist() == [5, 2, 1]
