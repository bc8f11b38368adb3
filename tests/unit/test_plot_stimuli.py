"""The grid of stimuli: which images, in which order, with which captions."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from laion_xr.errors import SelectionError, UnknownLabelError


@pytest.fixture(scope="module")
def ds(dataset_root) -> xr.Dataset:
    return xr.open_dataset(dataset_root, engine="laion_fmri", subject="sub-03")


def shown(figure) -> list[np.ndarray]:
    return [axes.get_images()[0].get_array() for axes in figure.axes if axes.get_images()]


def check_order(figure, ds, names) -> None:
    pictures = shown(figure)
    assert len(pictures) == len(names)
    for picture, name in zip(pictures, names, strict=True):
        np.testing.assert_array_equal(picture, ds.laion.stimuli.images.array(name, 32))


def test_the_first_of_a_selection_each_once(ds):
    few = ds.isel(trial=[4, 9, 4, 30, 9, 2])
    figure = few.laion.plot_stimuli(3, size=32, columns=2)
    check_order(figure, ds, ds.stimulus.values[[4, 9, 30]])
    assert len(figure.axes) == 4
    text = figure.axes[0].texts[0].get_text().replace("\n", " ")
    captions = few.laion.stimuli.captions
    name = few.stimulus.values[0]
    assert text in [" ".join(t.split()) for t in (captions.ai(name) or captions.human(name))]


@pytest.mark.parametrize("worst", [False, True])
def test_the_best_of_an_roi(ds, worst):
    values = ds.betas.sel(roi="FFA1").values.mean(axis=1, dtype=float)
    means = pd.Series(values).groupby(ds.stimulus.values).mean().sort_values(ascending=worst)
    figure = ds.laion.plot_stimuli(5, roi="FFA1", worst=worst, size=32)
    check_order(figure, ds, means.index[:5])
    assert [axes.get_title() for axes in figure.axes[:5]] == [f"{m:.2f} %" for m in means[:5]]
    assert "FFA1" in figure.get_suptitle()


def test_masks_change_the_pictures(ds, tmp_path):
    name = ds.laion.stimuli.segmentations.names[0]
    few = ds.isel(trial=np.flatnonzero(ds.stimulus.values == name))
    (bare,), (painted,) = (shown(few.laion.plot_stimuli(size=32, segmentations=s)) for s in (False, True))
    assert (bare != painted).any()
    noun = ds.laion.stimuli.segmentations.nouns(name)[0]
    np.testing.assert_array_equal(shown(few.laion.plot_stimuli(size=32, segmentations=noun))[0], painted)
    few.laion.plot_stimuli(size=32, segmentations=True).savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_without_captions(dataset_root, tmp_path):
    for part in ("stimuli", "derivatives/glmsingle-tedana/sub-03", "derivatives/anatomical/sub-03"):
        shutil.copytree(dataset_root / part, tmp_path / part)
    (tmp_path / "stimuli" / "task-images_desc-captions.csv").unlink()
    figure = xr.open_dataset(tmp_path, engine="laion_fmri").laion.plot_stimuli(2)
    assert not figure.axes[0].texts


def test_what_cannot_be_drawn(ds):
    with pytest.raises(SelectionError, match="the selection holds no stimulus"):
        ds.isel(trial=[]).laion.plot_stimuli()
    with pytest.raises(SelectionError, match=r"n is a whole number above 0.*found 0"):
        ds.laion.plot_stimuli(0)
    with pytest.raises(SelectionError, match=r"roi= orders by betas \(trial, voxel\)"):
        ds.betas.isel(voxel=0).laion.plot_stimuli(roi="FFA1")
    with pytest.raises(UnknownLabelError, match="FFA9"):
        ds.laion.plot_stimuli(roi="FFA9")
