"""Values on the surface: against nibabel's geometry, nilearn's `vol_to_surf`, SciPy, and the simulator's truth."""

from __future__ import annotations

import pickle
import re
import shutil
import sys
from pathlib import Path

import dask.array as da
import fsspec
import nibabel as nib
import nilearn.datasets
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from distributed import Client
from nibabel.affines import apply_affine
from nibabel.freesurfer import read_geometry, write_geometry
from nilearn.surface import InMemoryMesh, load_surf_mesh, vol_to_surf
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from laion_xr.errors import (
    CorruptFileError,
    DataNotDownloadedError,
    FileFormatError,
    MissingExtraError,
    SelectionError,
)
from laion_xr.simulate import SubjectTruth, Truth, simulate
from laion_xr.space import nearest_vertices, surface_mesh, to_surface

SIDES = {"L": "lh", "R": "rh"}


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> Truth:
    return simulate(tmp_path_factory.mktemp("space"), [3, 1], 2, 12, stimuli=["metadata"], models=False)


@pytest.fixture(scope="module")
def subject(truth: Truth) -> SubjectTruth:
    return truth["sub-03"]


@pytest.fixture(scope="module")
def ds(truth: Truth) -> xr.Dataset:
    return xr.open_dataset(truth.root, engine="laion_fmri", subject="sub-03")


def file(truth: Truth, name: str, subject: str = "sub-03") -> Path:
    return truth.root / "derivatives" / "freesurfer" / subject / "surf" / name


def scanner(truth: Truth, subject: SubjectTruth, name: str) -> np.ndarray:
    """The vertices of both hemispheres in mm of T1w space, as nibabel and the truth's c_ras have them."""
    return np.concatenate([read_geometry(file(truth, f"{side}.{name}"))[0] for side in SIDES.values()]) + subject.c_ras


def volume_of(ds: xr.Dataset, values: np.ndarray, outside: float = 0) -> np.ndarray:
    volume = np.full(np.prod(ds.attrs["grid_shape"]), outside, np.float64)
    volume[ds.voxel.values] = values
    return volume.reshape(ds.attrs["grid_shape"])


def smooth(ds: xr.Dataset) -> np.ndarray:
    return np.asarray(3 + 0.2 * ds.x - 0.1 * ds.y + 0.3 * ds.z, np.float64)


def test_a_linear_field_is_its_value_at_the_vertex(ds: xr.Dataset, truth: Truth, subject: SubjectTruth) -> None:
    """Trilinear interpolation is exact for it, where all eight voxels are there."""
    white, pial = (scanner(truth, subject, name) for name in ("white", "pial"))
    found = to_surface(ds, smooth(ds), depths=0.25)
    at = white + 0.25 * (pial - white)
    base = np.floor(apply_affine(np.linalg.inv(subject.affine), at)).astype(int)
    corners = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1]), -1).reshape(-1, 3)
    whole = subject.mask[tuple(np.moveaxis(base[:, None] + corners, -1, 0))].all(axis=1)
    assert whole.mean() > 0.7
    np.testing.assert_allclose(found[whole], 3 + at[whole] @ [0.2, -0.1, 0.3], atol=2e-5)
    np.testing.assert_allclose(np.stack([found.x, found.y, found.z], 1), (white + pial) / 2, atol=1e-4)


def test_nearest_is_the_voxel_that_nibabel_finds(ds: xr.Dataset, truth: Truth, subject: SubjectTruth) -> None:
    values = np.random.default_rng(0).random(ds.sizes["voxel"])
    white, pial = (scanner(truth, subject, name) for name in ("white", "pial"))
    samples = []
    for depth in (0.25, 0.5, 0.75):
        ijk = np.rint(apply_affine(np.linalg.inv(subject.affine), white + depth * (pial - white))).astype(int)
        samples.append(volume_of(ds, values, np.nan)[tuple(ijk.T)])
    np.testing.assert_allclose(to_surface(ds, values, interpolation="nearest"), np.nanmean(samples, axis=0), rtol=1e-12)


@pytest.mark.parametrize("depths", [(0.5,), (0.2, 0.4, 0.6)])
def test_as_nilearn_samples_between_surfaces(ds: xr.Dataset, truth: Truth, subject: SubjectTruth, depths) -> None:
    values = np.random.default_rng(1).random(ds.sizes["voxel"])
    # the whole grid has values: nilearn takes what lies outside a mask as zero
    everywhere = xr.DataArray(
        np.arange(subject.mask.size),
        dims="voxel",
        coords={"voxel": ("voxel", np.arange(subject.mask.size), ds.voxel.attrs)},
    )
    image = nib.Nifti1Image(volume_of(ds, values), subject.affine)
    found = to_surface(everywhere, image.get_fdata().ravel(), depths=depths)
    for side, prefix in SIDES.items():
        (pial, faces), (white, _) = (read_geometry(file(truth, f"{prefix}.{n}")) for n in ("pial", "white"))
        outer, inner = (InMemoryMesh(coords + subject.c_ras, faces) for coords in (pial, white))
        depth = [1 - d for d in depths]  # nilearn counts from the outer mesh
        expected = vol_to_surf(image, outer, inner_mesh=inner, kind="depth", depth=depth, interpolation="linear")
        np.testing.assert_allclose(found.sel(hemi=side), expected, atol=1e-5)


def test_as_scipy_interpolates(ds: xr.Dataset, truth: Truth, subject: SubjectTruth) -> None:
    values = np.random.default_rng(2).random(ds.sizes["voxel"])
    white, pial = (scanner(truth, subject, name) for name in ("white", "pial"))
    ijk = apply_affine(np.linalg.inv(subject.affine), (white + pial) / 2).T
    total = map_coordinates(volume_of(ds, values), ijk, order=1)
    weight = map_coordinates(volume_of(ds, np.ones(len(values))), ijk, order=1)
    found = to_surface(ds, values, depths=0.5)
    inside = np.isfinite(found)
    assert inside.mean() > 0.98
    np.testing.assert_allclose(found[inside], (total / weight)[inside], rtol=1e-6)


def test_an_roi_of_the_volume_lights_up_on_the_surface(ds: xr.Dataset, truth: Truth, subject: SubjectTruth) -> None:
    for roi in ("FFA1", "V1v", "PPA"):
        found = ds.laion.to_surface(np.isin(ds.voxel, subject.rois[roi]), depths=0.5, interpolation="nearest")
        files = [
            truth.root.glob(f"derivatives/rois/sub-03/*/sub-03_hemi-{h}_*_label-{roi}_mask.func.gii") for h in "LR"
        ]
        expected = np.concatenate([nib.load(next(f)).darrays[0].data for f in files])
        assert expected.sum() > 5
        # points on the border of two voxels may fall to either after the files' rounding
        assert np.abs(np.nan_to_num(found) - expected).sum() <= 1


def test_lazy_and_reads_only_what_lies_at_the_cortex(ds: xr.Dataset, reads) -> None:
    surf = ds.laion.to_surface("betas")
    assert isinstance(surf.data, da.Array)
    assert reads.betas == []
    assert surf.dims == ("trial", "vertex")
    part = surf.isel(trial=slice(0, 3))
    found = part.compute()
    assert {r.session for r in reads.betas} == {"ses-01"}
    asked = set(reads.betas[0].voxels)
    assert 0 < len(asked) < 0.8 * ds.sizes["voxel"]
    reads.clear()
    for trial in range(3):
        np.testing.assert_allclose(
            found[trial], to_surface(ds, ds.betas[trial].values).values, rtol=1e-5, atol=1e-6, equal_nan=True
        )
    np.testing.assert_array_equal(found.stimulus, ds.stimulus[:3])
    assert set(part.session.values) == {"ses-01"}
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(part)).compute(), found)
    assert surf.groupby("session").mean().sizes["session"] == 2


def test_chunks_along_the_voxels(ds: xr.Dataset) -> None:
    chunked = xr.DataArray(
        da.from_array(smooth(ds), chunks=100),
        dims="voxel",
        coords={"voxel": ("voxel", ds.voxel.values, ds.voxel.attrs)},
    )
    np.testing.assert_allclose(chunked.laion.to_surface().compute(), to_surface(ds, smooth(ds)), rtol=1e-12)


def test_missing_values_are_left_out(ds: xr.Dataset) -> None:
    values = np.ones(ds.sizes["voxel"], np.float32)
    values[::3] = np.nan
    found = to_surface(ds, values)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[np.isfinite(found)], 1, rtol=1e-6)
    assert np.isfinite(found).mean() > 0.99
    assert np.isnan(to_surface(ds, values * np.nan)).all()
    part = ds.sel(roi="FFA1")
    lit = np.isfinite(part.laion.to_surface("noise_ceiling"))
    assert 0 < lit.sum() < 0.2 * lit.size
    alone = to_surface(part, np.full(part.sizes["voxel"], 7.0))
    np.testing.assert_allclose(alone[lit.values], 7)


def test_hemispheres_and_files(ds: xr.Dataset, tmp_path: Path) -> None:
    found = ds.laion.to_surface("noise_ceiling")
    assert found.attrs["units"] == "%"
    assert found.vertex.attrs["mesh"] == "fsnative"
    left, right = found.sel(hemi="L"), found.sel(hemi="R")
    assert float(left.x.max()) < float(right.x.min()) + 10
    np.testing.assert_array_equal(left.vertex_index, np.arange(left.size))
    np.testing.assert_array_equal(right.vertex, np.arange(left.size, found.size))
    found.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    back = xr.load_dataarray(tmp_path / "x.nc", engine="h5netcdf")
    np.testing.assert_array_equal(back, found)


def test_results_know_their_place(ds: xr.Dataset, tmp_path: Path) -> None:
    expected = ds.laion.to_surface("noise_ceiling")
    for step in (
        ds.noise_ceiling.drop_attrs(deep=False),
        (ds.noise_ceiling * 1.0).rename("x"),
        pickle.loads(pickle.dumps(ds.noise_ceiling)),
    ):
        np.testing.assert_array_equal(step.laion.to_surface(), expected)
    ds[["noise_ceiling_12rep"]].drop_vars("betas", errors="ignore").to_zarr(tmp_path / "x.zarr")
    back = xr.open_zarr(tmp_path / "x.zarr")
    np.testing.assert_array_equal(back.laion.to_surface("noise_ceiling_12rep"), expected)
    assert ds.betas.mean("trial").laion.to_surface().shape == expected.shape


def test_several_subjects(truth: Truth, ds: xr.Dataset) -> None:
    both = xr.open_datatree(truth.root, engine="laion_fmri").laion.shared()
    with pytest.raises(SelectionError, match=r"voxels of 2 subjects \(sub-01, sub-03\).*\.sel\(subject='sub-01'\)"):
        both.betas.laion.to_surface()
    one = both.sel(subject="sub-03").noise_ceiling
    np.testing.assert_array_equal(one.laion.to_surface(), ds.laion.to_surface("noise_ceiling"))
    np.testing.assert_array_equal(
        one.laion.to_nifti().get_fdata(), ds.laion.to_nifti(ds.noise_ceiling.values).get_fdata()
    )
    other = xr.open_dataset(truth.root, engine="laion_fmri", subject="sub-01")
    with pytest.raises(SelectionError, match="values are of another subject"):
        ds.laion.to_surface(other.noise_ceiling)


def test_meshes(ds: xr.Dataset, truth: Truth, subject: SubjectTruth) -> None:
    for name in ("white", "pial"):
        found = ds.laion.surface_mesh(name)
        np.testing.assert_allclose(
            np.concatenate([coords for coords, _ in found.values()]), scanner(truth, subject, name), atol=1e-4
        )
        np.testing.assert_array_equal(found["L"][1], read_geometry(file(truth, "lh.white"))[1])
    middle = np.concatenate([c for c, _ in surface_mesh(ds, "midthickness").values()])
    expected = (scanner(truth, subject, "white") + scanner(truth, subject, "pial")) / 2
    np.testing.assert_allclose(middle, expected, atol=1e-4)
    for name in ("inflated", "sphere", "sphere.reg"):
        np.testing.assert_array_equal(surface_mesh(ds, name)["R"][0], read_geometry(file(truth, f"rh.{name}"))[0])
    for name, theirs in (("inflated", "infl"), ("sphere.reg", "sphere"), ("white", "white")):
        path = nilearn.datasets.fetch_surf_fsaverage("fsaverage5")[f"{theirs}_left"]
        np.testing.assert_array_equal(surface_mesh(ds, name, "fsaverage5")["L"][0], load_surf_mesh(path).coordinates)


def test_fsaverage_takes_the_nearest_of_the_registered_sphere(ds: xr.Dataset, truth: Truth) -> None:
    """The target is finer than the source here: nearest neighbours, forward only."""
    native, found = (to_surface(ds, "noise_ceiling", mesh) for mesh in ("fsnative", "fsaverage5"))
    assert found.sizes["vertex"] == 2 * 10242
    for side, prefix in SIDES.items():
        own = read_geometry(file(truth, f"{prefix}.sphere.reg"))[0]
        path = nilearn.datasets.fetch_surf_fsaverage("fsaverage5")[f"sphere_{'left' if side == 'L' else 'right'}"]
        there = load_surf_mesh(path).coordinates.astype(float)
        nearest = cKDTree(own / np.linalg.norm(own, axis=1)[:, None]).query(
            there / np.linalg.norm(there, axis=1)[:, None]
        )[1]
        assert len(np.unique(nearest)) == len(own)
        np.testing.assert_allclose(found.sel(hemi=side), native.sel(hemi=side)[nearest], rtol=1e-5)
        np.testing.assert_array_equal(found.sel(hemi=side).x, native.sel(hemi=side).x[nearest])


def test_fsaverage_of_the_root_and_vertices_that_none_took(ds: xr.Dataset, truth: Truth, tmp_path: Path) -> None:
    """The target is coarser: what no vertex took is averaged into its nearest."""
    root = tmp_path / "root"
    shutil.copytree(truth.root / "derivatives" / "freesurfer", root / "derivatives" / "freesurfer")
    folder = root / "derivatives" / "freesurfer" / "fsaverage" / "surf"
    folder.mkdir(parents=True)
    octahedron = 100 * np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1.0]])
    faces = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])
    for prefix in SIDES.values():
        write_geometry(folder / f"{prefix}.sphere", octahedron, faces)
    native, found = (ds.laion.to_surface("noise_ceiling", mesh, root=root) for mesh in ("fsnative", "fsaverage"))
    for side, prefix in SIDES.items():
        own = read_geometry(file(truth, f"{prefix}.sphere.reg"))[0]
        own /= np.linalg.norm(own, axis=1)[:, None]
        owner = (own @ octahedron.T).argmax(axis=1)
        expected = [native.sel(hemi=side).values[owner == i].mean() for i in range(6)]
        # vertices just between two may be taken forward by one and belong to the other
        np.testing.assert_allclose(found.sel(hemi=side), expected, rtol=0.02)


def test_nearest_vertices(ds: xr.Dataset, truth: Truth, subject: SubjectTruth) -> None:
    middle = (scanner(truth, subject, "white") + scanner(truth, subject, "pial")) / 2
    picks = np.array([5, 700, 1200])
    found = nearest_vertices(ds, middle[picks] + 0.01)
    np.testing.assert_array_equal(found, picks)
    np.testing.assert_array_equal(found.hemi, ["L", "R", "R"])
    np.testing.assert_allclose(found.distance, 0.01 * np.sqrt(3), atol=1e-3)
    of_voxels = ds.sel(roi="FFA1").laion.nearest_vertices()
    mm = np.stack([ds.sel(roi="FFA1")[n] for n in "xyz"], 1)
    distance = np.linalg.norm(mm[:, None] - middle[None], axis=2)
    np.testing.assert_allclose(of_voxels.distance, distance.min(axis=1), atol=1e-4)
    white = nearest_vertices(ds, scanner(truth, subject, "white")[7], surface="white")
    assert white.values.tolist() == [7]


def test_a_root_in_memory(truth: Truth, ds: xr.Dataset) -> None:
    fs = fsspec.filesystem("memory")
    fs.put(str(truth.root / "derivatives" / "freesurfer"), "/space-test/derivatives/freesurfer", recursive=True)
    try:
        found = ds.laion.to_surface("noise_ceiling", root="memory://space-test")
    finally:
        fs.rm("/space-test", recursive=True)
    np.testing.assert_array_equal(found, ds.laion.to_surface("noise_ceiling"))


@pytest.fixture
def broken(truth: Truth, tmp_path: Path) -> Path:
    shutil.copytree(truth.root / "derivatives" / "freesurfer", tmp_path / "derivatives" / "freesurfer")
    return tmp_path


def test_a_surface_without_the_volume_takes_it_from_orig(ds: xr.Dataset, broken: Path) -> None:
    surf = broken / "derivatives" / "freesurfer" / "sub-03" / "surf"
    for prefix in SIDES.values():
        for name in ("white", "pial"):
            write_geometry(surf / f"{prefix}.{name}", *read_geometry(surf / f"{prefix}.{name}"))
    expected = ds.laion.to_surface("noise_ceiling")
    np.testing.assert_allclose(ds.laion.to_surface("noise_ceiling", root=broken), expected, rtol=1e-4)
    (surf.parent / "mri" / "orig.mgz").unlink()
    with pytest.raises(DataNotDownloadedError, match=r"mri/orig\.mgz is not there: download it"):
        ds.laion.to_surface("noise_ceiling", root=broken)


def test_files_that_are_missing_or_broken(ds: xr.Dataset, broken: Path) -> None:
    path = broken / "derivatives" / "freesurfer" / "sub-03" / "surf" / "rh.pial"
    whole = path.read_bytes()
    path.unlink()
    with pytest.raises(DataNotDownloadedError, match=re.escape(f"{path} is not there: download it")):
        ds.laion.to_surface("noise_ceiling", root=broken)
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(CorruptFileError, match=r"rh\.pial is truncated or damaged"):
        ds.laion.to_surface("noise_ceiling", root=broken)
    path.write_bytes(b"not a surface at all")
    with pytest.raises(FileFormatError, match=r"rh\.pial is not a FreeSurfer surface"):
        ds.laion.to_surface("noise_ceiling", root=broken)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(FileFormatError, match="git-LFS pointer"):
        ds.laion.to_surface("noise_ceiling", root=broken)
    write_geometry(path, np.eye(3), np.array([[0, 1, 2]]))
    with pytest.raises(SelectionError, match="of different reconstructions"):
        ds.laion.to_surface("noise_ceiling", root=broken)


def test_fsaverage_that_is_nowhere(ds: xr.Dataset, truth: Truth, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(mesh: str) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(nilearn.datasets, "fetch_surf_fsaverage", offline)
    with pytest.raises(DataNotDownloadedError, match=r"no network.*derivatives/freesurfer/fsaverage, or .*fsaverage5"):
        ds.laion.to_surface("noise_ceiling", "fsaverage")
    monkeypatch.setitem(sys.modules, "nilearn.datasets", None)
    with pytest.raises(MissingExtraError, match=r"laion-xr\[template\]"):
        ds.laion.to_surface("noise_ceiling", "fsaverage5")


def ids_of(ds: xr.Dataset) -> pd.Index:
    return pd.Index(ds.voxel.values, name="voxel")


@pytest.mark.parametrize("kind", ["array", "series", "without attributes", "variable"])
def test_labels_decide_where_a_value_goes(ds: xr.Dataset, kind: str) -> None:
    values = ds.r2_mean.isel(voxel=np.random.default_rng(0).permutation(ds.sizes["voxel"])).load()
    given = {
        "array": values,
        "series": pd.Series(values.values, ids_of(values.to_dataset())),
        "without attributes": xr.DataArray(values.values, dims="voxel", coords={"voxel": np.asarray(values.voxel)}),
        "variable": xr.concat([ds.r2_mean.drop_vars("voxel")] * 2, "map", coords="minimal").T.variable,
    }[kind]
    expected = to_surface(ds, ds.r2_mean.values)
    found = to_surface(ds, given)
    np.testing.assert_allclose(found if found.ndim == 1 else found[1], expected, rtol=1e-6)


@pytest.mark.parametrize("depths", [np.float32(0.5), np.array(0.5), np.float64(0.5), {0.5: 1}, (d for d in [0.5])])
def test_numpys_numbers_as_depths(ds: xr.Dataset, depths: object) -> None:
    np.testing.assert_array_equal(to_surface(ds, "r2_mean", depths=depths), to_surface(ds, "r2_mean", depths=0.5))


def test_labels_are_exact(ds: xr.Dataset) -> None:
    for dtype in ("int32", "uint32", "int64"):
        labels = (2**24 + 1 + 2 * np.arange(ds.sizes["voxel"])).astype(dtype)
        found = to_surface(ds, labels, depths=0.5, interpolation="nearest")
        assert found.dtype == np.float64
        assert np.isin(found.values[np.isfinite(found.values)], labels).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds: ds.laion.to_surface(), "Which values"),
        (lambda ds: ds.laion.to_surface(np.zeros(3)), r"found shape \(3,\)"),
        (lambda ds: ds.laion.to_surface("roi"), "Expected numbers, found object"),
        (lambda ds: ds.laion.to_surface(ds.laion.to_nifti("r2_mean")), "found an image"),
        (lambda ds: ds.laion.to_surface("r2_mean", "fsaverge"), "Did you mean 'fsaverage'"),
        (lambda ds: ds.laion.to_surface("r2_mean", interpolation="cubic"), "There are: linear, nearest"),
        (lambda ds: ds.laion.to_surface("r2_mean", depths=[]), "depths are numbers from 0"),
        (lambda ds: ds.laion.to_surface("r2_mean", depths="half"), "depths are numbers from 0"),
        (lambda ds: ds.laion.to_surface("r2_mean", depths="05"), "depths are numbers from 0"),
        (lambda ds: ds.laion.to_surface("r2_mean", depths=[[0.5], [0.1, 0.2]]), "depths are numbers from 0"),
        (lambda ds: ds.laion.to_surface("r2_mean", depths=None), "depths are numbers from 0"),
        (lambda ds: ds.laion.to_surface(1j * ds.r2_mean), "real numbers, found complex"),
        (lambda ds: ds.laion.to_surface(ds.r2_mean[[0, 1, 0]]), "is there twice"),
        (lambda ds: ds.sel(roi="FFA1").laion.to_surface(pd.Series(ds.r2_mean, ids_of(ds))), "that are not here"),
        (lambda ds: ds.laion.to_surface([ds.r2_mean, ds.r2_mean]), "list of labelled arrays"),
        (lambda ds: ds.isel(voxel=[]).laion.to_surface("r2_mean"), "0 voxels"),
        (lambda ds: ds.laion.surface_mesh("grey"), "Surface 'grey' does not exist"),
        (lambda ds: ds.laion.nearest_vertices([1, 2]), r"places \(x, y, z\)"),
        (lambda ds: ds.laion.nearest_vertices([1, 2, np.nan]), "without NaN"),
        (lambda ds: ds.laion.nearest_vertices([1, 2, 3], surface="inflated"), "Surface 'inflated'"),
    ],
)
def test_bad_input(ds: xr.Dataset, call, message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        call(ds)


def test_values_of_another_grid(ds: xr.Dataset) -> None:
    attrs = ds.voxel.attrs | {"grid_shape": [30, 30, 30]}
    other = xr.DataArray(smooth(ds), dims="voxel", coords={"voxel": ("voxel", ds.voxel.values, attrs)})
    with pytest.raises(SelectionError, match="values are of another grid"):
        ds.laion.to_surface(other)


def test_an_object_that_does_not_know_its_root(ds: xr.Dataset, truth: Truth) -> None:
    attrs = {k: ds.voxel.attrs[k] for k in ("grid_shape", "affine")}
    lost = xr.DataArray(smooth(ds), dims="voxel", coords={"voxel": ("voxel", ds.voxel.values, attrs)})
    with pytest.raises(SelectionError, match="Which subject this is of is not known"):
        lost.laion.to_surface()
    lost.attrs["subject"] = "sub-03"
    with pytest.raises(SelectionError, match="say it with root="):
        lost.laion.to_surface()
    assert lost.laion.to_surface(root=truth.root).sizes == {"vertex": 1284}


def test_on_a_cluster(ds: xr.Dataset, two_processes) -> None:
    surf = ds.laion.to_surface("betas")
    expected = surf.compute(scheduler="synchronous")
    with Client(two_processes):
        np.testing.assert_array_equal(surf.compute(), expected)


def test_one_voxel_and_none(ds: xr.Dataset) -> None:
    one = ds.isel(voxel=1400)
    assert one.laion.nearest_vertices().shape == (1,)
    assert one.laion.to_surface("r2_mean").shape == (1284,)
    assert ds.isel(voxel=[]).laion.nearest_vertices().shape == (0,)
    assert ds.isel(voxel=[]).laion.template_points().shape == (0, 3)
