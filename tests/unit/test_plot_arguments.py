"""Arguments of the pictures: of the wrong type they are a sentence, of NumPy's types they are as Python's own."""

from __future__ import annotations

import inspect
import math

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from laion_xr import plot
from laion_xr.errors import SelectionError
from laion_xr.plot.arguments import checked, count, distance, limit, one_of

PICTURES = {name: getattr(plot, name) for name in plot.__all__}
JUNK = ["a", [1, 2], np.zeros(2), {"a": 1}, object(), True, 1j]
NO_NUMBER = [*JUNK, math.nan, math.inf, -math.inf]
ON_THE_BRAIN = ("slices", "surface", "view")
WRONG = [
    *((name, "threshold", junk) for name in ON_THE_BRAIN for junk in (*NO_NUMBER, -1)),
    *((name, end, junk) for name in (*ON_THE_BRAIN, "carpet") for end in ("vmin", "vmax") for junk in NO_NUMBER),
    *(("slices", "n", junk) for junk in (*NO_NUMBER, 0, -3, 2.5)),
    *(("plot_stimuli", name, junk) for name in ("n", "columns") for junk in (*NO_NUMBER, 0, 2.5)),
    *(("slices", "figure", junk) for junk in (3, "a", np.zeros(2))),
    *(("slices", "axis", junk) for junk in (2, ["x"], np.zeros(2), None)),
    *(("carpet", "max_pixels", junk) for junk in (5, "ab", (1,), (1, 2, 3), (0, 5), (1.5, 2), (math.nan, 2), None)),
    *(("carpet", "order", junk) for junk in (["roi"], np.zeros(2), None)),
    *((name, "cmap", junk) for name in ON_THE_BRAIN for junk in (3, ["viridis"], np.zeros(2))),
    *((name, "title", junk) for name in PICTURES if name != "plot_stimuli" for junk in (np.zeros(2), object())),
    *((name, "label", junk) for name in ("slices", "surface", "roi_bars") for junk in (np.zeros(2), [])),
    *((name, "background", junk) for name in ("slices", "view") for junk in (3, np.zeros(2), ["T1w"])),
    *(("surface", name, junk) for name in ("views", "hemispheres") for junk in (3, [3], [["L"]], [], True)),
    *(("surface", name, junk) for name in ("mesh", "kind", "engine") for junk in (3, ["pial"], np.zeros(2))),
    *(("roi_bars", "rois", junk) for junk in (5, [5], 1.5, object())),
    *(("roi_bars", name, junk) for name in ("statistic", "error") for junk in (3, ["sem"], np.zeros(2))),
    *(("roi_bars", name, junk) for name in ("points", "sort") for junk in ("yes", None, np.zeros(2), 3)),
    *(("carpet", "zscore", junk) for junk in ("yes", None, np.zeros(2), 3)),
    *(("plot_stimuli", name, junk) for name in ("worst", "captions") for junk in ("yes", None, np.zeros(2))),
    *(("plot_stimuli", "segmentations", junk) for junk in (None, 3, np.zeros(2))),
    *((name, "values", [[1], [1, 2]]) for name in (*ON_THE_BRAIN, "roi_bars")),
    ("roi_bars", "reference", [[1], [1, 2]]),
    *(("split", name, junk) for name in ("features", "method") for junk in (3, ["CLIP"], None)),
]


@pytest.fixture(scope="module")
def ds(dataset_root) -> xr.Dataset:
    return xr.open_dataset(dataset_root, engine="laion_fmri", subject="sub-03")


def call(ds: xr.Dataset, name: str, **options):
    if name == "split":
        return plot.split(ds, ds, **options)
    drawn = {} if name in ("carpet", "plot_stimuli") else {"values": "noise_ceiling"}
    return PICTURES[name](ds, **(drawn | options))


@pytest.mark.parametrize(("name", "argument", "junk"), WRONG, ids=lambda v: v if isinstance(v, str) else repr(v)[:20])
def test_what_means_nothing_is_a_sentence(ds, name, argument, junk):
    with pytest.raises(SelectionError) as caught:
        call(ds, name, **{argument: junk})
    said = str(caught.value)
    assert argument.rstrip("s") in said.lower()
    assert any(words in said for words in ("found", "does not exist", "There is no"))
    assert "\n" not in said
    assert len(said) < 400


@pytest.mark.parametrize("name", sorted(PICTURES))
@pytest.mark.parametrize("first", ["x", 3, None, np.zeros(3)], ids=str)
def test_the_first_is_a_dataset_or_an_array(name, first):
    sides = {"test": xr.DataArray(np.zeros(3))} if name == "split" else {}
    with pytest.raises(SelectionError, match=rf"^{name}: .*Dataset or DataArray.*found"):
        PICTURES[name](first, **sides)


@pytest.mark.parametrize("name", [*ON_THE_BRAIN, "carpet"])
@pytest.mark.parametrize(("vmin", "vmax"), [(5, 5), (3, 1), (np.float32(3), xr.DataArray(1.0))])
def test_ends_of_the_scale_in_order_before_anything_is_read(ds, name, vmin, vmax):
    def never(block):
        raise AssertionError("read")

    lazy = ds.assign(betas=ds.betas.copy(data=da.zeros(ds.betas.shape).map_blocks(never, meta=np.empty((0, 0)))))
    with pytest.raises(SelectionError, match="vmin below vmax"):
        call(lazy, name, vmin=vmin, vmax=vmax)


@pytest.mark.parametrize(
    "kind",
    [np.float32, np.int16, np.array, xr.DataArray, lambda v: xr.DataArray(da.asarray(v)), lambda v: da.asarray(v)],
)
def test_numbers_of_numpy_xarray_and_dask(ds, kind):
    def extent(figure: Figure) -> tuple:
        picture = next(a for a in figure.axes if a.get_title()).get_images()[-1]
        return len([a for a in figure.axes if a.get_title()]), picture.norm.vmin, picture.norm.vmax

    options = {"n": 2, "threshold": 10, "vmin": 5, "vmax": 30}
    given = {name: kind(value) for name, value in options.items()}
    assert extent(plot.slices(ds, "noise_ceiling", **given)) == extent(plot.slices(ds, "noise_ceiling", **options))
    pixels = (kind(12), kind(9))
    picture = plot.carpet(ds, max_pixels=pixels, order="voxel", vmax=kind(2), zscore=np.True_).axes[0].get_images()[0]
    assert picture.get_array().shape <= (12, 9)


def test_the_signature_stays(ds):
    for function in PICTURES.values():
        assert inspect.signature(function).parameters
        assert function.__doc__
        assert function.__module__.startswith("laion_xr.plot.")
    assert list(inspect.signature(plot.slices).parameters)[:5] == ["obj", "values", "axis", "n", "cuts"]
    with pytest.raises(TypeError, match=r"slices\(\) got an unexpected keyword argument 'thresh'"):
        plot.slices(ds, "noise_ceiling", thresh=3)
    with pytest.raises(TypeError, match=r"slices\(\) missing 1 required positional argument: 'obj'"):
        plot.slices()


@given(st.floats() | st.integers() | st.text(max_size=5) | st.none() | st.booleans())
def test_numbers_or_a_sentence(value):
    @checked(n=count("of them"))
    def drawn(*, threshold=None, vmin=None, n=1):
        return threshold, vmin

    is_number = not isinstance(value, (str, bool)) and (value is None or math.isfinite(value))
    for name, ok in (("vmin", is_number), ("threshold", is_number and (value is None or value >= 0))):
        if ok:
            assert value in drawn(**{name: value})
        else:
            with pytest.raises(SelectionError, match=f"drawn: {name} is .*found"):
                drawn(**{name: value})


def test_rules_one_by_one():
    assert limit().take(np.float32(2)) == 2
    assert distance().take(0) == 0
    assert count("x").take(np.float64(3.0)) == 3
    assert one_of("a", "b").take("b") == "b"
    with pytest.raises(ValueError, match="c"):
        one_of("a", "b").take("c")
