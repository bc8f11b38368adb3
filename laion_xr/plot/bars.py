"""A value in every ROI, as bars: where it is high, how sure that is, and of how many voxels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from laion_xr.analysis.regions import roi_masks
from laion_xr.errors import SelectionError
from laion_xr.indexes import roi_categories
from laion_xr.plot.arguments import checked, flag, names, one_of
from laion_xr.plot.style import LARGE, MEDIUM, SMALL, Picture, category_colours, ink, label_of, paper, plain, wrapped
from laion_xr.plot.values import voxel_values
from laion_xr.schema import ROI_SEPARATOR, VOXEL

STATISTICS: dict[str, Callable[[Any], Any]] = {"mean": np.mean, "median": np.median}
ERRORS = {
    "sem": "standard error over voxels",
    "sd": "standard deviation over voxels",
    "ci": "95 % interval, bootstrap over voxels",
}
_RESAMPLES, _MOST_POINTS = 1000, 300
_EDGE = 0.6  # points
_WIDTH, _NARROW = 7.2, 5.0  # inches


class Bar(NamedTuple):
    """A bar: its ROI and category, the values of its voxels that are not NaN, and the statistic with its error."""

    roi: str
    category: str
    values: npt.NDArray[np.float64]
    n_voxels: int
    height: float
    low: float
    high: float
    reference: float


@checked(
    rois=names("['face', 'V1']", optional=True),
    statistic=one_of(*STATISTICS),
    error=one_of(*ERRORS, optional=True),
    points=flag(),
    sort=flag(),
)
def roi_bars(
    obj: xr.Dataset | xr.DataArray,
    values: Any = None,
    rois: str | Iterable[str] | None = None,
    *,
    statistic: str = "mean",
    error: str | None = "sem",
    points: bool = False,
    sort: bool = False,
    reference: Any = None,
    label: str | None = None,
    title: str | None = None,
    width: float | None = None,
) -> Figure:
    """Draw a bar an ROI, coloured by its category; the number of its voxels stands beside its name.

    Bars lie, so that names are read without turning the head; the first ROI is on top. ROIs overlap: a voxel counts in
    each that holds it. NaN does not count; an ROI without a value has no bar.

    Parameters
    ----------
    obj
        Has the coordinate `roi` on `voxel`.
    values
        A variable's or coordinate's name, a DataArray with the dim `voxel` (its own voxel ids count), an array of
        `obj`'s voxels, or None for `obj` itself where it is an array.
    rois
        As in `laion_xr.analysis.roi_masks`: every ROI, a category, names, expressions.
    statistic
        `"mean"` or `"median"` over the voxels.
    error
        `"sem"`, `"sd"`, `"ci"` (95 %, 1000 bootstrap samples of the voxels, always the same), or None. Neighbouring
        voxels are not independent: an error over voxels is too small to test with.
    points
        Draw the voxels as points too, at most 300 an ROI.
    sort
        Largest on top, in place of the order of the categories.
    reference
        Other values, given as `values`, drawn as a mark on each bar (a noise ceiling beside an accuracy).
    label
        Of the value axis; left out, statistic, long name and unit of the values.
    title
        Of the figure.
    width
        Of the figure, in inches; left out, 7.2. Below 5, the legend stands below the bars in place of beside them.

    Returns
    -------
    matplotlib.figure.Figure
        Save it with `.savefig(path)`.

    Raises
    ------
    SelectionError
        No values, no variable of the name, zero voxels, no ROI with a voxel, another length, or an argument that means
        nothing.
    UnknownLabelError
        No ROI has the name.

    Examples
    --------
    >>> ds.laion.plot.roi_bars("noise_ceiling", "face").savefig("faces.png")  # doctest: +SKIP
    >>> ds.laion.plot.roi_bars(fit.r2, reference=fit.ceiling, sort=True)  # doctest: +SKIP
    """
    drawn = voxel_values(obj, values, "roi_bars")
    beside = None if reference is None else voxel_values(obj, reference, "roi_bars")
    masks = _masks(obj, drawn, rois)
    other = None if beside is None else _aligned(beside, drawn)
    bars = [_bar(masks, row, drawn.values, other, statistic, error) for row in range(masks.sizes["roi"])]
    if not any(bar.n_voxels for bar in bars):
        raise SelectionError("roi_bars: no ROI has a voxel here; select other voxels, or other rois=.")
    if sort:
        bars.sort(key=lambda bar: (np.isnan(bar.height), -bar.height))
    colours = category_colours([bar.category for bar in bars], roi_categories(obj))
    legend = list(dict.fromkeys(bar.category for bar in bars))
    inches = _WIDTH if width is None else width
    beneath = inches < _NARROW
    lines = 0.17 * (len(legend) + 3)
    height = (0.26 * len(bars) + lines / 2 if beneath else max(0.26 * len(bars), lines)) + 0.9
    figure = Picture(figsize=(inches, height + (0.3 if title else 0)), layout="constrained")
    axes = figure.subplots()
    _draw(axes, bars, colours, error, points)
    axes.set_xlabel(plain(label) if label is not None else f"{statistic} {label_of(drawn)}", fontsize=MEDIUM)
    handles: list[Any] = [
        Patch(facecolor=colours[c], edgecolor=ink(), linewidth=_EDGE, label=plain(c) or "no category") for c in legend
    ]
    if error is not None:
        handles.append(Line2D([], [], color=ink(), linewidth=1, label=wrapped(ERRORS[error])))
    if beside is not None:
        handles.append(
            Line2D(
                [],
                [],
                color=ink(),
                marker="|",
                markersize=9,
                linewidth=0,
                markeredgewidth=2,
                label=wrapped(label_of(beside)),
            )
        )
    place: Literal["outside lower center", "outside right upper"]
    place = "outside lower center" if beneath else "outside right upper"
    figure.legend(handles=handles, loc=place, ncols=2 if beneath else 1, fontsize=SMALL, frameon=False)
    if title:
        figure.suptitle(plain(title), fontsize=LARGE)
    return figure


def _masks(obj: xr.Dataset | xr.DataArray, drawn: xr.DataArray, rois: Any) -> xr.DataArray:
    # the values' own voxels, where they know their ROIs; else those of obj
    source = drawn if "roi" in drawn.coords and drawn.coords["roi"].dims == (VOXEL,) else obj
    masks = roi_masks(source, rois)
    if np.array_equal(masks[VOXEL].values, drawn[VOXEL].values):
        return masks
    aligned: xr.DataArray = _aligned(masks, drawn)
    return aligned


def _aligned(values: xr.DataArray, like: xr.DataArray) -> Any:
    if np.array_equal(values[VOXEL].values, like[VOXEL].values):
        return values
    ids = np.atleast_1d(values[VOXEL].values)
    position = {int(v): i for i, v in enumerate(ids)}
    if len(position) < len(ids) or len(np.unique(like[VOXEL].values)) < like.sizes[VOXEL]:
        raise SelectionError(
            "roi_bars: voxels of several subjects are on one axis, and their ids do not say which value is whose: "
            "select one subject, as in .sel(subject='sub-03')."
        )
    picks = np.array([position.get(int(v), -1) for v in like[VOXEL].values])
    if (picks < 0).any():
        raise SelectionError(
            f"roi_bars: {(picks < 0).sum()} of the {len(picks)} voxels of the values are not among the "
            f"{len(position)} voxels of {values.name}; give values of the same voxels."
        )
    return values.isel({VOXEL: picks})


def _bar(
    masks: xr.DataArray, row: int, values: Any, other: xr.DataArray | None, statistic: str, error: str | None
) -> Bar:
    inside = masks.values[row]
    mine = values[inside]
    mine = mine[np.isfinite(mine)]
    beside = np.zeros(0) if other is None else other.values[inside]
    beside = beside[np.isfinite(beside)]
    height = float(STATISTICS[statistic](mine)) if len(mine) else np.nan
    low, high = _interval(mine, height, statistic, error)
    category = str(masks["category"].values[row]).split(ROI_SEPARATOR)[0]
    mark = float(STATISTICS[statistic](beside)) if len(beside) else np.nan
    return Bar(str(masks["roi"].values[row]), category, mine, int(inside.sum()), height, low, high, mark)


def _interval(values: Any, height: float, statistic: str, error: str | None) -> tuple[float, float]:
    if error is None or len(values) < 2:
        return np.nan, np.nan
    if error == "ci":
        rng = np.random.default_rng(0)
        kind = STATISTICS[statistic]
        samples = [kind(values[rng.integers(0, len(values), len(values))]) for _ in range(_RESAMPLES)]
        low, high = np.percentile(samples, [2.5, 97.5])
        return float(low), float(high)
    spread = float(values.std(ddof=1)) / (np.sqrt(len(values)) if error == "sem" else 1.0)
    return height - spread, height + spread


def _draw(axes: Axes, bars: list[Bar], colours: dict[str, str], error: str | None, points: bool) -> None:
    # so that lines are seen on any bar
    halo = [withStroke(linewidth=2.5, foreground=paper())]
    rows = np.arange(len(bars))
    heights = np.array([bar.height for bar in bars])
    shown = [colours[bar.category] for bar in bars]
    # an edge, so that pale colours stand out from white and dark ones from black
    faces = [to_rgba(colour, 0.55 if points else 1.0) for colour in shown]
    axes.barh(rows, np.nan_to_num(heights), height=0.75, color=faces, edgecolor=ink(), linewidth=_EDGE, zorder=1)
    if error is not None:
        lows, highs = np.array([bar.low for bar in bars]), np.array([bar.high for bar in bars])
        axes.hlines(rows, lows, highs, color=ink(), linewidth=1, zorder=3, path_effects=halo)
    if points:
        rng = np.random.default_rng(0)
        for row, bar in enumerate(bars):
            some = (
                bar.values if len(bar.values) <= _MOST_POINTS else rng.choice(bar.values, _MOST_POINTS, replace=False)
            )
            up = row + rng.uniform(-0.3, 0.3, len(some))
            axes.scatter(some, up, s=5, color=colours[bar.category], edgecolors=ink(), linewidths=0.2, zorder=2)
    marks = np.array([bar.reference for bar in bars])
    if np.isfinite(marks).any():
        axes.scatter(marks, rows, marker="|", s=90, linewidths=2, color=ink(), zorder=4, path_effects=halo)
    axes.set_yticks(rows, [f"{plain(bar.roi)}  ({bar.n_voxels:,})" for bar in bars], fontsize=SMALL)
    for row, bar in enumerate(bars):
        if np.isnan(bar.height):
            said = "no voxel" if not bar.n_voxels else "all NaN"
            axes.text(0.01, row, said, transform=axes.get_yaxis_transform(), va="center", fontsize=SMALL, color=ink())
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_ylabel("ROI (voxels)", fontsize=MEDIUM)
    axes.axvline(0, color=ink(), linewidth=0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=SMALL)
    axes.grid(axis="x", alpha=0.3, linewidth=0.6)
    axes.set_axisbelow(True)
