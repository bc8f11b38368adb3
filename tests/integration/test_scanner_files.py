"""Files that real scanners and programs wrote (nibabel ships them with its tests), put into the published layout."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from nibabel.testing import data_path

from laion_xr import layout

FILES = ["example4d.nii.gz", "functional.nii", "example_nifti2.nii.gz"]


def put(root: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Make a subject of one session out of a 4-D file; return nibabel's values and a mask."""
    source = Path(data_path) / name
    image = nib.load(source)
    values = np.asanyarray(image.dataobj)
    mask = np.random.default_rng(0).random(values.shape[:3]) < 0.4
    ending = ".nii.gz" if name.endswith(".gz") else ".nii"
    betas = root / layout.session_path("sub-01", "ses-01", "betas", ending)
    betas.parent.mkdir(parents=True)
    shutil.copy(source, betas)
    brain = root / layout.brain_mask_path("sub-01")
    brain.parent.mkdir(parents=True)
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), image.affine), brain)
    n = values.shape[3]
    table = pd.DataFrame(
        {"session": "ses-01", "run": 1, "beta_index": range(n), "label": [f"a{i}.jpg" for i in range(n)]}
    )
    table.to_csv(root / layout.session_path("sub-01", "ses-01", "trials"), sep="\t", index=False)
    return values, mask


@pytest.mark.parametrize("name", FILES)
def test_values_are_those_of_nibabel(tmp_path: Path, name: str) -> None:
    values, mask = put(tmp_path, name)
    expected = values[mask].T.astype(np.float32)  # a boolean mask picks in C order
    ds = xr.open_dataset(tmp_path, engine="laion_fmri")
    np.testing.assert_array_equal(ds.betas.values, expected)
    picked = np.random.default_rng(1).permutation(expected.shape[1])[:50]
    trials = list(range(expected.shape[0]))[::-1]
    np.testing.assert_array_equal(ds.betas.isel(trial=trials, voxel=picked).values, expected[::-1][:, picked])


@pytest.mark.parametrize("name", FILES)
def test_positions_are_those_of_the_affine(tmp_path: Path, name: str) -> None:
    _, mask = put(tmp_path, name)
    ds = xr.open_dataset(tmp_path, engine="laion_fmri")
    affine = nib.load(tmp_path / layout.brain_mask_path("sub-01")).affine
    expected = nib.affines.apply_affine(affine, np.argwhere(mask))
    found = np.stack([ds[axis].values for axis in "xyz"], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-4)
