"""The viewer: one page that asks the network for nothing, with the values where they are."""

from __future__ import annotations

import base64
import html
import io
import re
import sys

import numpy as np
import pytest
import xarray as xr
from matplotlib import colormaps
from PIL import Image

from laion_xr import plot
from laion_xr.errors import MissingExtraError, SelectionError

pytest.importorskip("nilearn", reason="needs nilearn (extra plot)")


@pytest.fixture(scope="module")
def ds(dataset_root) -> xr.Dataset:
    return xr.open_dataset(dataset_root, engine="laion_fmri", subject="sub-03")


def test_one_page_without_the_network(ds, tmp_path):
    page = ds.laion.view("noise_ceiling", threshold=20)
    page.save_as_html(tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text("utf-8")
    assert not re.findall(r"(?:src|href)=(?:&quot;|\"|')(?:https?:)?//", text)
    assert "noise ceiling (%)" in text
    assert "iframe" in page._repr_html_()


def test_each_voxel_is_a_pixel_of_its_colour(ds):
    """The page holds all slices as one picture: an ROI's voxels are in it, also those that are 0, and no others."""
    inside = ds.laion.roi_masks("FFA1").isel(roi=0, drop=True)
    of_colour, opaque = {}, {}
    for value in (7.0, 0.0, -3.0):
        text = html.unescape(html.unescape(plot.view(ds, xr.where(inside, value, np.nan), vmin=-10, vmax=10).html))
        sprites = [base64.b64decode(code) for code in re.findall(r"base64,([A-Za-z0-9+/=]{50,})", text)]
        overlay = np.array(Image.open(io.BytesIO(sprites[-1])).convert("RGBA")).astype(int)
        colour = np.round(255 * np.array(colormaps["viridis"]((value + 10) / 20)))
        of_colour[value] = (np.abs(overlay - colour) <= 4).all(axis=2).sum()
        opaque[value] = (overlay[..., 3] > 0).sum()
    n_voxels = inside.values.sum()
    # the part of the picture that is no slice has the colour of 0
    rest = opaque[7.0] - n_voxels
    assert of_colour == {7.0: n_voxels, 0.0: n_voxels + rest, -3.0: n_voxels}
    assert len({*opaque.values()}) == 1


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (None, {}, "which values"),
        ("noise_ceiling", {"threshold": 1000}, "nothing to see"),
        (np.zeros(3), {}, "found shape"),
    ],
)
def test_what_cannot_be_shown(ds, values, options, message):
    with pytest.raises(SelectionError, match=message):
        plot.view(ds, values, **options)
    with pytest.raises(SelectionError, match="nothing to see"):
        plot.view(ds, ds.noise_ceiling * np.nan)


def test_says_which_extra_is_missing(ds, monkeypatch):
    monkeypatch.setitem(sys.modules, "nilearn.plotting", None)
    with pytest.raises(MissingExtraError, match=r"view needs the package 'nilearn'.*laion-xr\[plot\]"):
        plot.view(ds, "noise_ceiling")
