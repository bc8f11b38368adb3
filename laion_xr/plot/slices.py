"""Values on the brain as slices.

Plain matplotlib: planes are looked up through the affine, voxel by voxel, so that what is drawn is what was computed
(no smoothing, no resampled grid), and no extra is needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from laion_xr.analysis.volumes import to_nifti
from laion_xr.errors import SelectionError
from laion_xr.plot.arguments import checked, count, one_of
from laion_xr.plot.background import Background, background_of
from laion_xr.plot.planes import AXES, FloatArray, Lattice
from laion_xr.plot.style import LARGE, MEDIUM, SMALL, Picture, colour_scale, ink, label_of, plain
from laion_xr.plot.values import voxel_values

# Names of the directions: along -x, +x, -y, ...
_ENDS = (("L", "R"), ("P", "A"), ("I", "S"))
_PANEL, _MOST_COLUMNS, _MARGIN_MM = 2.3, 7, 4.0


@checked(axis=one_of(*AXES), n=count("slices"), columns=count("slices a row"))
def slices(
    obj: xr.Dataset | xr.DataArray,
    values: Any = None,
    *,
    axis: str = "z",
    n: int = 7,
    cuts: Iterable[float] | float | None = None,
    background: Any = "auto",
    threshold: float | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: Any = None,
    label: str | None = None,
    title: str | None = None,
    columns: int = _MOST_COLUMNS,
    width: float | None = None,
    figure: Any = None,
) -> Figure:
    """Draw values on the brain, as slices in T1w space; left is left.

    Each pixel is the voxel that lies there: nothing is smoothed. Slices across an oblique grid are cut along the axes
    of the world, not of the grid.

    Parameters
    ----------
    obj
        Has the voxel coordinate and the grid; where it is the opened Dataset, the background is the subject's.
    values
        A variable's or coordinate's name (`"noise_ceiling"`), a DataArray with the dim `voxel` (its own voxel ids
        count), an array of `obj`'s voxels, or None for `obj` itself where it is an array.
    axis
        `"x"` (sagittal), `"y"` (coronal) or `"z"` (axial): what the slices lie across.
    n
        How many slices at most.
    cuts
        Positions on the axis in mm; left out, `n` positions spread over the voxels that are drawn.
    background
        `"auto"`: the T1w image on the functional grid where it is there (one file is read), else the outline of the
        brain mask, else of the voxels of `obj`. `"T1w"`, `"T2w"`, `"mask"`, a NIfTI image or its path; None.
    threshold
        Draw only voxels whose value is at least this far from 0.
    vmin, vmax
        Ends of the colour scale; left out, 0 and the 99.5th percentile, or centred at 0 where values have both signs.
    cmap
        Colour map; left out, viridis, or RdBu_r where values have both signs.
    label
        Of the colour bar; left out, long name and unit of the values.
    title
        Of the figure.
    columns
        Slices a row at most.
    width
        Of a new figure, in inches; left out, 2.3 a slice.
    figure
        A figure or subfigure to draw into, empty; left out, a new one.

    Returns
    -------
    matplotlib.figure.Figure
        Save it with `.savefig(path)`.

    Raises
    ------
    SelectionError
        No values, no variable of the name, zero voxels, another length, another dim beside `voxel`, nothing above
        `threshold`, or an argument that means nothing: each is checked before anything is read.
    DataNotDownloadedError
        The background that was asked for is not there.

    Examples
    --------
    >>> ds.laion.plot.slices("noise_ceiling").savefig("ceiling.png")  # doctest: +SKIP
    >>> ds.laion.plot.slices(fit.r, axis="x", cuts=[-40, 40], threshold=0.1)  # doctest: +SKIP
    """
    drawn = voxel_values(obj, values, "slices")
    across = AXES.index(axis)
    image = to_nifti(obj, drawn)
    volume, affine = np.asarray(image.dataobj, dtype=np.float64), np.asarray(image.affine)
    shown = np.isfinite(volume) if threshold is None else np.abs(volume) >= threshold
    if threshold is not None and not shown.any():
        raise SelectionError(
            f"No value is at least {threshold:g} from 0: the values are {_range(drawn.values)}; lower threshold=."
        )
    scale = colour_scale(np.where(shown, volume, np.nan), vmin, vmax, cmap)
    behind = background_of(obj, background)
    there = _positions(shown if shown.any() else _members(obj, drawn), affine)
    places = _cuts(cuts, there[:, across], n)
    window = Lattice.of(affine, volume.shape).within(*_box(there, behind))
    columns = min(len(places), columns)
    rows = math.ceil(len(places) / columns)
    u, v = (a for a in range(3) if a != across)
    tall = float(window.size[v] * window.step[v] / (window.size[u] * window.step[u]))
    new = figure is None
    if new:
        wide = max(columns * _PANEL, 3.4) if width is None else width
        panel_inches = _PANEL if width is None else width / columns
        figure = Picture(
            figsize=(wide, rows * (panel_inches * min(max(tall, 0.5), 2) + 0.3) + (1.2 if title else 0.8)),
            layout="constrained",
        )
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for panel in grid.ravel()[len(places) :]:
        panel.set_axis_off()
    masked = np.where(shown, volume, np.nan)
    for panel, cut in zip(grid.ravel(), places, strict=False):
        if behind is not None:
            _draw_background(panel, behind, across, cut, window)
        picture, extent = window.plane(masked, affine, across, cut)
        mesh = panel.imshow(
            picture, extent=extent, origin="lower", cmap=scale.cmap, norm=scale.norm, interpolation="nearest", zorder=2
        )
        dark = behind is not None and not behind.is_outline
        _label_panel(panel, across, cut, "white" if dark else ink(), extent)
    for row in range(rows):
        grid[row, 0].set_ylabel(f"{AXES[v]} (mm)", fontsize=SMALL)
    for column in range(columns):
        lowest = [grid[row, column] for row in range(rows) if row * columns + column < len(places)][-1]
        lowest.set_xlabel(f"{AXES[u]} (mm)", fontsize=SMALL)
        lowest.tick_params(labelbottom=True)
    bar = figure.colorbar(
        mesh,
        ax=grid.tolist()[0] if rows == 1 else list(grid.ravel()),
        location="bottom",
        extend=scale.extend,
        shrink=min(1.0, 3.2 / (columns * _PANEL)) if columns > 1 else 1.0,
        aspect=25,
        pad=0.03,
    )
    nothing = "" if shown.any() else ": all NaN"
    bar.set_label(label_of(drawn, label, threshold) + nothing, fontsize=MEDIUM)
    bar.ax.tick_params(labelsize=SMALL)
    if title:
        figure.suptitle(plain(title), fontsize=LARGE)
    return figure.figure if isinstance(figure, SubFigure) else figure


def _range(values: FloatArray) -> str:
    finite = values[np.isfinite(values)]
    return f"{finite.min():.4g} to {finite.max():.4g}" if len(finite) else "all NaN"


def _members(obj: xr.Dataset | xr.DataArray, drawn: xr.DataArray) -> npt.NDArray[np.bool_]:
    everywhere = to_nifti(obj, xr.ones_like(drawn), fill=0)
    return np.asarray(np.asarray(everywhere.dataobj) != 0, dtype=np.bool_)


def _positions(inside: npt.NDArray[np.bool_], affine: FloatArray) -> FloatArray:
    return np.asarray(np.argwhere(inside) @ affine[:3, :3].T + affine[:3, 3])


def _cuts(cuts: Iterable[float] | float | None, there: FloatArray, n: int) -> list[float]:
    if cuts is None:
        # at voxels, so that each slice shows some; as many below the first as between two
        return sorted({*np.quantile(there, (np.arange(n) + 0.5) / n, method="nearest").round(3).tolist()})
    try:
        places = [float(cut) for cut in (cuts if isinstance(cuts, Iterable) else [cuts])]
    except (TypeError, ValueError):
        places = []
    if not places or not np.isfinite(places).all():
        raise SelectionError(f"cuts are positions in mm, one or more numbers; found {cuts!r}.")
    return places


def _box(there: FloatArray, behind: Background | None) -> tuple[FloatArray, FloatArray]:
    # of all that is drawn: the background's own margin of nothing is left out
    corners = [there.min(0), there.max(0)]
    if behind is not None and behind.volume.any():
        bright = behind.volume > (0 if behind.is_outline else 0.1 * float(np.percentile(behind.volume, 99)))
        if bright.any():
            found = _positions(bright, behind.affine)
            corners += [found.min(0), found.max(0)]
    stacked = np.stack(corners)
    # room for the letters beside the brain
    margin = np.maximum(_MARGIN_MM, 0.09 * (stacked.max(0) - stacked.min(0)))
    return stacked.min(0) - margin, stacked.max(0) + margin


def _draw_background(panel: Axes, behind: Background, across: int, cut: float, window: Lattice) -> None:
    low, high = window.start, window.start + (window.size - 1) * window.step
    # on its own grid: it may be finer than that of the values
    lattice = Lattice.of(behind.affine, behind.volume.shape).within(low, high)
    picture, extent = lattice.plane(behind.volume, behind.affine, across, cut)
    if not behind.is_outline:
        top = float(np.percentile(behind.volume, 99.5)) or 1.0
        panel.imshow(picture, extent=extent, origin="lower", cmap="gray", vmin=0, vmax=1.2 * top, zorder=0)
        panel.set_facecolor("black")
    elif np.nanmax(picture, initial=0) > 0:
        u, v = (a for a in range(3) if a != across)
        x, y = (lattice.start[a] + np.arange(lattice.size[a]) * lattice.step[a] for a in (u, v))
        if min(picture.shape) > 1:
            panel.contour(x, y, np.nan_to_num(picture), levels=[0.5], colors="#555555", linewidths=0.8, zorder=3)


def _label_panel(panel: Axes, across: int, cut: float, colour: str, extent: tuple[float, float, float, float]) -> None:
    u, v = (a for a in range(3) if a != across)
    panel.set_title(f"{AXES[across]} = {cut:.0f} mm", fontsize=MEDIUM)
    for text, (x, y) in zip((*_ENDS[u], *_ENDS[v]), ((0.03, 0.5), (0.97, 0.5), (0.5, 0.03), (0.5, 0.97)), strict=True):
        panel.text(
            x,
            y,
            text,
            transform=panel.transAxes,
            color=colour,
            fontsize=MEDIUM,
            zorder=4,
            ha={0.03: "left", 0.97: "right"}.get(x, "center"),
            va={0.03: "bottom", 0.97: "top"}.get(y, "center"),
        )
    panel.set_xlim(extent[:2])
    panel.set_ylim(extent[2:])
    panel.set_aspect("equal")
    panel.tick_params(labelsize=SMALL - 1, length=2)
    panel.locator_params(nbins=4)
