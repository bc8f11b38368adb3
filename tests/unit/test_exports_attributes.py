"""What every export has in common: no folder of the machine that made it; names of any language, NaN."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from laion_xr.errors import SelectionError
from laion_xr.exports import from_assembly, read_numpy, to_nifti_folder, to_numpy
from laion_xr.exports.attributes import without_local_root


@pytest.fixture
def ds(tiny: Any) -> xr.Dataset:
    return xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")


def as_netcdf(source: Any, folder: Path) -> None:
    source.laion.to_assembly().to_netcdf(folder / "a.nc")


def as_numpy(source: Any, folder: Path) -> None:
    to_numpy(source, folder / "x")


def as_nifti(source: Any, folder: Path) -> None:
    to_nifti_folder(source, folder / "x")


def as_rsatoolbox(source: Any, folder: Path) -> None:
    pytest.importorskip("rsatoolbox", reason="needs rsatoolbox")
    source.laion.to_rsatoolbox().save(str(folder / "x.h5"), file_type="hdf5")


@pytest.mark.parametrize("write", [as_netcdf, as_numpy, as_nifti, as_rsatoolbox])
@pytest.mark.parametrize("kind", ["dataset", "array", "averaged", "two subjects"])
def test_no_export_holds_the_folder(
    tiny: Any, tmp_path: Path, write: Callable[[Any, Path], None], kind: str, ds: xr.Dataset
) -> None:
    if kind == "two subjects":
        source: Any = xr.open_datatree(tiny.root, engine="laion_fmri").laion.shared()
        if write is as_nifti:  # of one subject
            source = source.sel(subject="sub-03")
    else:
        few = ds[["betas"]].isel(trial=slice(3))
        source = {"dataset": few, "array": few.betas, "averaged": few.laion.average_repeats()}[kind]
    write(source, tmp_path)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written
    for path in written:
        assert str(tiny.root).encode() not in path.read_bytes(), path.name
    # what is in memory goes on to know where its images are
    assert source.coords["stimulus"].attrs["root"] == str(tiny.root)


def test_what_came_back_says_to_give_the_root(tiny: Any, ds: xr.Dataset, tmp_path: Path) -> None:
    to_numpy(ds[["betas"]], tmp_path / "x")
    for found in (read_numpy(tmp_path / "x"), from_assembly(ds.laion.to_assembly())):
        with pytest.raises(SelectionError, match="root="):
            found.laion.embeddings("CLIP")
        with pytest.raises(SelectionError, match="root="):
            found.laion.to_surface(found.betas[0])
        theirs = found.laion.embeddings("CLIP", root=tiny.root)
        np.testing.assert_array_equal(theirs, ds.laion.embeddings("CLIP"))


def test_addresses_stay_and_chains_end_where_the_data_are() -> None:
    kept = {"root": "s3://bucket/data", "root_cache": "kept", "units": "1"}
    assert without_local_root(kept) == kept
    for root in ("/home/me/data", "C:\\data", "file:///home/me/data", "zip://data::/home/me/a.zip"):
        assert without_local_root(kept | {"root": root}) == {"units": "1"}
    assert without_local_root(kept | {"root": "zip://data::s3://bucket/a.zip"})["root"].endswith("a.zip")


def test_names_of_any_language_and_nan_come_back(ds: xr.Dataset, tmp_path: Path) -> None:
    pytest.importorskip("rsatoolbox", reason="needs rsatoolbox")
    few = ds[["betas"]].isel(trial=slice(4)).load()
    names = ["Straße.jpg", "写真 1.jpg", "Straße.jpg", "🐈/chat.png"]
    labels = np.array(names, dtype=object)
    source = xr.Dataset(
        {"betas": (("trial", "voxel"), few.betas.values)},
        {
            "trial": few.trial.values,
            "voxel": ("voxel", few.voxel.values, few.voxel.attrs),
            "stimulus": ("trial", labels),
        },
        few.attrs,
    )
    assert np.isnan(source.betas.values).any()
    source.laion.to_assembly().to_netcdf(tmp_path / "a.nc")
    with xr.open_dataarray(tmp_path / "a.nc") as opened:
        found = [from_assembly(opened).load(), read_numpy(to_numpy(source, tmp_path / "x")).load()]
    for result in found:
        assert result.stimulus.values.tolist() == names
        np.testing.assert_array_equal(result.betas, source.betas)
    assert source.laion.to_rsatoolbox().obs_descriptors["stimulus"].tolist() == names
    index = pd.read_csv(to_nifti_folder(source, tmp_path / "n", average=False) / "index.tsv", sep="\t")
    assert index.stimulus.tolist() == names
    for file, betas in zip(index.file, source.betas.values, strict=True):
        assert file.isascii()
        image = np.asarray(nib.load(tmp_path / "n" / file).dataobj)
        np.testing.assert_array_equal(image.ravel()[source.voxel.values], betas)
