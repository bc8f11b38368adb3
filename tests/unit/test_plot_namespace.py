"""`.laion.plot`, and that nothing of it is imported before something is drawn."""

from __future__ import annotations

import subprocess
import sys

import matplotlib as mpl
import pytest
import xarray as xr
from matplotlib.figure import Figure

from laion_xr import plot
from laion_xr.plot.style import ink


@pytest.fixture(scope="module")
def ds(dataset_root) -> xr.Dataset:
    return xr.open_dataset(dataset_root, engine="laion_fmri", subject="sub-03")


def test_matplotlib_is_imported_where_something_is_drawn():
    code = "import sys, laion_xr; print([m for m in ('matplotlib', 'nilearn') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_methods_are_the_functions(ds):
    for name in plot.__all__:
        if name not in ("plot_stimuli", "view"):
            assert name in dir(ds.laion.plot)
    assert isinstance(ds.laion.plot.stimuli(2, size=16), Figure)
    assert isinstance(ds.laion.plot.roi_bars("noise_ceiling", "face"), Figure)
    assert isinstance(ds.betas.laion.plot.carpet(max_pixels=(20, 20), order="voxel"), Figure)
    assert "roi_bars" in repr(ds.laion.plot)


def test_lines_take_the_colour_of_the_page(ds):
    with mpl.rc_context({"text.color": "white", "axes.facecolor": "black", "figure.facecolor": "black"}):
        figure = plot.roi_bars(ds, "noise_ceiling", "face")
        assert ink() == "white"
    assert figure.axes[0].collections[0].get_edgecolor()[0].tolist() == [1, 1, 1, 1]
