"""The report's own pictures: histograms, counts by session, how ROIs overlap. Plain figures, without pyplot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from typing import Literal

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

FloatArray = npt.NDArray[np.float64]
_BINS = 50
_WIDTH, _WIDE = 4.5, 10.0  # inches, of a picture half as wide as the page and of a wide one
_FEW_NAMES, _MANY_NAMES = 10, 24  # at most, below the bars of a narrow picture and of another
_MANY = 14  # bars that need a wide one
# Kinds of trials, from the bottom of a bar up
KINDS = {"unique": "C0", "shared": "C1", "out of distribution": "C2"}


def histogram(groups: Mapping[str, FloatArray], label: str, noun: str = "voxels") -> Figure:
    """Return one histogram a group over the same bins, as shares where there are several, with their medians."""
    figure, axes = _figure(2.9)
    finite = {name: values[np.isfinite(values)] for name, values in groups.items()}
    finite = {name: values for name, values in finite.items() if values.size}
    low, high = min(v.min() for v in finite.values()), max(v.max() for v in finite.values())
    bins = np.linspace(low, high if high > low else low + 1, _BINS + 1).tolist()
    for (name, values), colour in zip(finite.items(), ("C0", "C1", "C2"), strict=False):
        weights = np.full(values.size, 100 / values.size) if len(finite) > 1 else None
        median = float(np.median(values))
        axes.hist(
            values, bins, weights=weights, histtype="stepfilled", color=colour, alpha=0.45, edgecolor=colour,
            label=f"{name}: median {median:.1f}",
        )  # fmt: skip
        axes.axvline(median, color=colour, linestyle="--", linewidth=1.2)
    axes.set(xlabel=label, ylabel=noun if len(finite) == 1 else f"share of the {noun} (%)")
    _legend(axes)
    return figure


def stacked(table: pd.DataFrame, label: str, unit: str, width: float | None = None) -> Figure:
    """Return stacked bars: a row of the table a bar, a column a part of it. `width` is that of a narrow picture."""
    figure, axes = _figure(2.9, is_many(table.index), width)
    at, below = np.arange(len(table)), np.zeros(len(table))
    for name in table:
        values = table[name].to_numpy(dtype=np.float64)
        if values.any():
            axes.bar(at, values, 0.8, below, color=KINDS.get(str(name), "C0"), label=str(name), linewidth=0)
        below += values
    _tick_names(axes, [str(name) for name in table.index], _MANY_NAMES if width is None else _FEW_NAMES)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.set(xlabel=label, ylabel=unit, xlim=(-0.6, len(table) - 0.4), ylim=(0, max(1, below.max()) * 1.03))
    _legend(axes, 3 if width is None else 2)
    return figure


def over_sessions(sessions: Sequence[str], groups: Mapping[str, FloatArray], width: float | None = None) -> Figure:
    """Return the median and the quartiles over voxels of maps `(ses, voxel)`, session by session."""
    figure, axes = _figure(2.9, is_many(sessions), width)
    at = np.arange(len(sessions))
    for shift, ((name, values), colour) in enumerate(zip(groups.items(), ("C0", "C1"), strict=False)):
        low, middle, high = quartiles(values)
        x = at + (shift - (len(groups) - 1) / 2) * 0.18
        axes.errorbar(
            x, middle, [middle - low, high - middle], fmt="o", color=colour, markersize=5, elinewidth=1.4, label=name
        )
    _tick_names(axes, sessions, _MANY_NAMES if width is None else _FEW_NAMES)
    axes.set(xlabel="session", ylabel="median and quartiles (%)", xlim=(-0.6, len(sessions) - 0.4))
    _legend(axes, 3 if width is None else 2)
    axes.yaxis.grid(True, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure


def overlap(names: Sequence[str], shares: FloatArray, width: float | None = None) -> Figure:
    """Return how ROIs overlap: the share (%) of the row's voxels that are in the column's ROI too.

    Of a `width` that has no room for the names of columns, only the rows have theirs: the columns are in their order.
    """
    side = min(7.0, 2.2 + 0.16 * len(names))
    narrow = width is not None and width < side
    size = (width, 1.1 + 0.15 * len(names)) if width is not None and narrow else (side + 0.9, side)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    shown = shares.copy()
    np.fill_diagonal(shown, np.nan)  # an ROI lies in itself: the scale is for the others
    colours = mpl.colormaps["cividis"].with_extremes(bad=mpl.rcParams["axes.facecolor"])
    shape: Literal["auto", "equal"] = "auto" if narrow else "equal"
    image = axes.imshow(shown, cmap=colours, vmin=0, vmax=100, interpolation="nearest", aspect=shape)
    font = 8 if narrow or len(names) <= 25 else 6.5
    axes.set_yticks(range(len(names)), names, fontsize=font)
    axes.set_ylabel("share of this ROI's voxels ...")
    if narrow:
        axes.set_xticks([])
        axes.set_xlabel("... that are in these ROIs too,\nin the order of the rows")
    else:
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=font)
        axes.set_xlabel("... that are in this ROI too")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if narrow:
        figure.colorbar(image, ax=axes, label="%", location="bottom", aspect=25, pad=0.02)
    else:
        figure.colorbar(image, ax=axes, label="%", shrink=0.7)
    return figure


def quartiles(values: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the quartiles over voxels of `(ses, voxel)`; NaN for a session of NaN."""
    found = np.full((3, len(values)), np.nan)
    for n, row in enumerate(values):
        finite = row[np.isfinite(row)]
        if finite.size:
            found[:, n] = np.percentile(finite, (25, 50, 75))
    return found[0], found[1], found[2]


def is_many(names: Sized) -> bool:
    """Whether a bar for each needs a wide picture."""
    return len(names) > _MANY


def _figure(height: float, wide: bool = False, width: float | None = None) -> tuple[Figure, Axes]:
    inches = width if width is not None else _WIDE if wide else _WIDTH
    figure = Figure(figsize=(inches, height), layout="constrained")
    return figure, figure.subplots()


def _legend(axes: Axes, columns: int = 3) -> None:
    # above the axes, where no data can be
    axes.legend(frameon=False, ncols=columns, loc="lower left", bbox_to_anchor=(-0.02, 0.98), borderaxespad=0,
                fontsize=9, handlelength=1.2, columnspacing=1.2)  # fmt: skip


def _tick_names(axes: Axes, names: Sequence[str], most: int) -> None:
    """Name every bar, or every few where there are many."""
    step = -(-len(names) // most)
    at = list(range(0, len(names), step))
    shown = [names[n].replace("$", r"\$") for n in at]  # a dollar sign begins a formula in matplotlib
    axes.set_xticks(at, shown, rotation=0 if max(map(len, names)) * len(at) <= 56 * most / _MANY_NAMES else 90)
