"""The FreeSurfer-like files of a simulated dataset, read with nibabel, against the volumes and the truth."""

from __future__ import annotations

import warnings

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine
from nibabel.freesurfer import read_annot, read_geometry, read_label, read_morph_data

from laion_xr import layout
from laion_xr.simulate import SubjectTruth, Truth, simulate
from laion_xr.simulate.icosphere import icosphere

HEMISPHERES = ("l", "r")


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> Truth:
    return simulate(tmp_path_factory.mktemp("surfaces"), 2, 1, 12, stimuli=False, models=False)


@pytest.fixture(params=["sub-01", "sub-03"])
def subject(truth, request) -> SubjectTruth:
    return truth[request.param]


def surface(truth: Truth, subject: SubjectTruth, name: str) -> tuple[np.ndarray, np.ndarray]:
    return read_geometry(truth.root / layout.freesurfer_path(subject.name, "surf", name))


@pytest.mark.parametrize("order", [0, 1, 3])
def test_icosphere(order):
    vertices, triangles = icosphere(order)
    assert (len(vertices), len(triangles)) == (10 * 4**order + 2, 20 * 4**order)
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 1)
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()
    np.testing.assert_array_equal(icosphere(order + 1)[0][: len(vertices)], vertices)


@pytest.mark.parametrize("hemi", HEMISPHERES)
@pytest.mark.parametrize("name", ["white", "pial", "inflated", "sphere", "sphere.reg"])
def test_surfaces_are_closed_and_face_outward(truth, subject, hemi, name):
    points, triangles = surface(truth, subject, f"{hemi}h.{name}")
    _, same = surface(truth, subject, f"{hemi}h.white")
    np.testing.assert_array_equal(triangles, same)
    a, b, c = (points[triangles[:, i]] for i in range(3))
    volume = np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6
    assert volume > 0


def test_surface_coordinates_are_those_of_the_volume(truth, subject):
    for name in ("orig", "T1", "brainmask"):
        image = nib.load(truth.root / layout.freesurfer_path(subject.name, "mri", f"{name}.mgz"))
        shift = image.affine @ np.linalg.inv(image.header.get_vox2ras_tkr())
        np.testing.assert_allclose(shift[:3, 3], subject.c_ras, atol=1e-4)
        np.testing.assert_allclose(shift[:3, :3], np.eye(3), atol=1e-6)
    path = truth.root / layout.freesurfer_path(subject.name, "surf", "lh.white")
    np.testing.assert_allclose(read_geometry(path, read_metadata=True)[2]["cras"], subject.c_ras)


@pytest.mark.parametrize("hemi", HEMISPHERES)
def test_the_pial_surface_is_the_outline_of_the_brain(truth, subject, hemi):
    pial, triangles = surface(truth, subject, f"{hemi}h.pial")
    white, _ = surface(truth, subject, f"{hemi}h.white")
    to_voxel = np.linalg.inv(subject.affine)

    def in_mask(points: np.ndarray) -> np.ndarray:
        ijk = np.rint(apply_affine(to_voxel, points + subject.c_ras)).astype(int)
        return np.pad(subject.mask, 8)[tuple(ijk.T + 8)]

    assert in_mask((pial + white) / 2).mean() > 0.98
    centre = pial.mean(axis=0)
    assert in_mask(centre + 1.25 * (pial - centre))[np.abs(pial[:, 0]) > np.abs(centre[0])].mean() < 0.05
    side = np.sign(centre[0])
    assert side == {"l": -1, "r": 1}[hemi]
    a, b, c = (pial[triangles[:, i]] for i in range(3))
    volume = np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6
    np.testing.assert_allclose(2 * volume, subject.mask.sum() * 1.778**3, rtol=0.06)
    thickness = read_morph_data(truth.root / layout.freesurfer_path(subject.name, "surf", f"{hemi}h.thickness"))
    np.testing.assert_allclose(thickness, np.linalg.norm(pial - white, axis=1), rtol=1e-4)


@pytest.mark.parametrize("hemi", HEMISPHERES)
def test_rois_on_the_surface_are_those_of_the_volume(truth, subject, hemi):
    pial, _ = surface(truth, subject, f"{hemi}h.pial")
    white, _ = surface(truth, subject, f"{hemi}h.white")
    middle = (pial + white) / 2 + subject.c_ras
    ijk = np.rint(apply_affine(np.linalg.inv(subject.affine), middle)).astype(int)
    sizes = {}
    for category, names in subject.categories.items():
        for roi in names:
            expected = np.flatnonzero(subject.roi_mask(roi)[tuple(ijk.T)])
            image = nib.load(truth.root / layout.roi_path(subject.name, category, roi, "gifti", hemi.upper()))
            assert image.darrays[0].data.shape == (len(pial),)
            # points on the border of two voxels may fall to either after the files' rounding
            assert len(np.setxor1d(np.flatnonzero(image.darrays[0].data), expected)) <= 1
            path = truth.root / layout.roi_path(subject.name, category, roi, "label", hemi.upper())
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # numpy warns of an empty label
                label = read_label(path).ravel()
            np.testing.assert_array_equal(label, np.flatnonzero(image.darrays[0].data))
            assert path.read_text().splitlines()[1] == str(len(label))
            sizes[roi] = len(label)
    assert {roi for roi, size in sizes.items() if not size} == {
        roi for roi, ids in subject.rois.items() if not len(ids)
    }


def test_labels_hold_positions_on_the_white_surface(truth, subject):
    white, _ = surface(truth, subject, "lh.white")
    path = truth.root / layout.roi_path(subject.name, "face", "FFA1", "label", "L")
    rows = np.loadtxt(path, skiprows=2)
    np.testing.assert_allclose(rows[:, 1:4], white[rows[:, 0].astype(int)], atol=6e-4)


def test_spheres_share_directions_with_the_brain(truth, subject):
    for hemi, side in (("l", -1), ("r", 1)):
        sphere, _ = surface(truth, subject, f"{hemi}h.sphere")
        np.testing.assert_allclose(np.linalg.norm(sphere, axis=1), 100, rtol=1e-5)
        pial, _ = surface(truth, subject, f"{hemi}h.pial")
        for axis in range(3):
            assert np.corrcoef(sphere[:, axis], pial[:, axis])[0, 1] > 0.95
        label = np.loadtxt(
            truth.root / layout.roi_path(subject.name, "motion", "MT", "label", hemi.upper()), skiprows=2
        )
        assert (np.sign(sphere[label[:, 0].astype(int), 0]) == side).all()  # MT is lateral
        assert (sphere[label[:, 0].astype(int), 1] < 0).all()  # and posterior


def test_annotation(truth, subject):
    labels, _, names = read_annot(truth.root / layout.freesurfer_path(subject.name, "label", "lh.simulated.annot"))
    assert names[0] == b"unknown"
    assert set(labels) == set(range(len(names)))


def test_transforms_to_mni305(truth, subject):
    text = (truth.root / layout.freesurfer_path(subject.name, "mri/transforms", "talairach.xfm")).read_text()
    rows = text.partition("Linear_Transform =\n")[2].rstrip().rstrip(";").splitlines()
    np.testing.assert_array_equal(np.array([row.split() for row in rows], float), subject.mni305[:3])
    text = (truth.root / layout.freesurfer_path(subject.name, "mri/transforms", "talairach.lta")).read_text()
    rows = text.partition("1 4 4\n")[2].splitlines()[:4]
    np.testing.assert_allclose(np.array([row.split() for row in rows], float), subject.mni305, atol=1e-12)
    assert text.count("cras ") == 2
    mm = apply_affine(subject.affine, np.argwhere(subject.mask))
    mni = apply_affine(subject.mni305, mm)
    np.testing.assert_allclose(np.ptp(mni, axis=0), [140, 176, 124], rtol=0.15)
    np.testing.assert_allclose((mni.max(axis=0) + mni.min(axis=0)) / 2, [0, -19, 9], atol=8)


def test_without_surfaces(tmp_path):
    simulate(tmp_path, [1], 1, 4, 8, stimuli=False, surfaces=False, models=False)
    assert not (tmp_path / layout.FREESURFER_DIR).exists()
    assert not list(tmp_path.rglob("*fsnative*"))
