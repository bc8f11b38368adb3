"""ROIs on the surface, against nibabel's reading of the files and the simulator's truth."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from nibabel.freesurfer import read_label

from laion_xr.errors import CorruptFileError, DataNotDownloadedError, SelectionError, UnknownLabelError
from laion_xr.simulate import Truth, simulate
from laion_xr.space import surface_rois, to_surface


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> Truth:
    return simulate(tmp_path_factory.mktemp("rois"), [3], 1, 8, stimuli=False, models=False)


@pytest.fixture(scope="module")
def ds(truth: Truth) -> xr.Dataset:
    return xr.open_dataset(truth.root, engine="laion_fmri")


def path(root: Path, roi: str, hemi: str, ending: str) -> Path:
    return next(root.glob(f"derivatives/rois/sub-03/*/sub-03_hemi-{hemi}_space-fsnative_label-{roi}_mask.{ending}"))


def test_every_roi_as_nibabel_reads_it(ds: xr.Dataset, truth: Truth) -> None:
    found = ds.laion.surface_rois()
    filled = [roi for roi, ids in truth["sub-03"].rois.items() if len(ids)]
    assert set(found.roi.values) == set(filled)
    for roi in filled:
        expected = np.concatenate([nib.load(path(truth.root, roi, h, "func.gii")).darrays[0].data for h in "LR"])
        np.testing.assert_array_equal(found.sel(roi=roi), expected != 0)
    categories = {roi: c for c, names in truth["sub-03"].categories.items() for roi in names}
    assert found.category.values.tolist() == [categories[roi] for roi in found.roi.values]


def test_labels_are_the_same(ds: xr.Dataset, truth: Truth) -> None:
    found = surface_rois(ds, form="label")
    xr.testing.assert_identical(found, surface_rois(ds))
    left = read_label(path(truth.root, "V1v", "L", "label"))
    np.testing.assert_array_equal(np.flatnonzero(found.sel(roi="V1v", hemi="L")), np.sort(left))


def test_grammar(ds: xr.Dataset, truth: Truth) -> None:
    every = surface_rois(ds)
    assert surface_rois(ds, "face").roi.values.tolist() == [
        r for r in every.roi.values if r in truth["sub-03"].categories["face"]
    ]
    both = surface_rois(ds, "V1v | V1d").values[0]
    np.testing.assert_array_equal(both, every.sel(roi="V1v").values | every.sel(roi="V1d").values)
    empty = next(roi for roi, ids in truth["sub-03"].rois.items() if not len(ids))
    assert surface_rois(ds, empty).values.sum() == 0
    with pytest.raises(UnknownLabelError, match="Did you mean 'FFA"):
        surface_rois(ds, "FFA3")


def test_together_with_values(ds: xr.Dataset) -> None:
    surf, masks = to_surface(ds, "noise_ceiling"), surface_rois(ds, ["FFA1", "PPA"])
    np.testing.assert_allclose(
        surf.where(masks).mean("vertex"), [surf.values[row].mean() for row in masks.values], rtol=1e-5
    )


def test_on_fsaverage(ds: xr.Dataset) -> None:
    masks = surface_rois(ds, ["FFA1", "V1"], "fsaverage5")
    marks = surface_rois(ds, "V1").any("roi").values
    # sampled as values are: one where the nearest vertex of the subject is inside
    native = to_surface(ds, "noise_ceiling")
    assert native.size == marks.size
    assert masks.sizes == {"roi": 3, "vertex": 20484}
    share, expected = masks.mean("vertex").values, surface_rois(ds, ["FFA1", "V1"]).mean("vertex").values
    np.testing.assert_allclose(share, expected, rtol=0.2)


@pytest.fixture
def broken(truth: Truth, tmp_path: Path) -> Path:
    for name in ("rois", "freesurfer"):
        shutil.copytree(truth.root / "derivatives" / name, tmp_path / "derivatives" / name)
    return tmp_path


def test_one_hemisphere_is_enough(ds: xr.Dataset, broken: Path) -> None:
    for ending in ("func.gii", "label"):
        path(broken, "FFA1", "R", ending).unlink()
    found = surface_rois(ds, "FFA1", root=broken)
    assert found.sel(hemi="L").any()
    assert not found.sel(hemi="R").any()


def test_labels_alone(ds: xr.Dataset, broken: Path) -> None:
    for file in broken.glob("derivatives/rois/sub-03/*/*.func.gii"):
        file.unlink()
    xr.testing.assert_identical(surface_rois(ds, root=broken), surface_rois(ds))
    with pytest.raises(DataNotDownloadedError, match=r"label-FFA1_mask\.func\.gii in .*rois/sub-03; download"):
        surface_rois(ds, form="gifti", root=broken)
    file = path(broken, "FFA1", "L", "label")
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], "1", "99999 0 0 0 0"]))
    with pytest.raises(CorruptFileError, match="names vertex 99999, and the surface has 642"):
        surface_rois(ds, root=broken)


def test_another_surface(ds: xr.Dataset, broken: Path) -> None:
    array = nib.gifti.GiftiDataArray(np.zeros(7, np.float32), intent="NIFTI_INTENT_SHAPE")
    path(broken, "FFA1", "L", "func.gii").write_bytes(nib.gifti.GiftiImage(darrays=[array]).to_bytes())
    with pytest.raises(CorruptFileError, match="of another surface"):
        surface_rois(ds, root=broken)


@pytest.mark.parametrize("rois", [5, ["FFA1", 5], [None], {"FFA1": 1, 2: 3}, 1.5])
def test_names_that_are_none(ds: xr.Dataset, rois: object) -> None:
    with pytest.raises(SelectionError, match="rois are names of ROIs or categories"):
        ds.laion.surface_rois(rois)
    names = (str(name) for name in ["FFA1", "PPA"])  # an iterator, once
    xr.testing.assert_identical(ds.laion.surface_rois(names), surface_rois(ds, ["FFA1", "PPA"]))


def test_bad_form(ds: xr.Dataset) -> None:
    with pytest.raises(SelectionError, match="There are: gifti, label"):
        surface_rois(ds, form="annot")
