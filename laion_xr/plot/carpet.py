"""All betas at once: trials x voxels as one picture, reduced to pixels while it is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from laion_xr.analysis.features import betas_of
from laion_xr.analysis.regions import roi_masks
from laion_xr.analysis.standardize import zscore as standardised
from laion_xr.errors import SelectionError
from laion_xr.indexes import roi_categories
from laion_xr.plot.arguments import checked, flag, one_of, pixels
from laion_xr.plot.pixels import bins, pixel_means
from laion_xr.plot.style import (
    LARGE,
    MEDIUM,
    NOTHING,
    SMALL,
    Picture,
    category_colours,
    colour_scale,
    label_of,
    plain,
)
from laion_xr.schema import ROI_SEPARATOR, TRIAL, VOXEL

ORDERS = ("roi", "voxel", "noise_ceiling")
_ROBUST = 98
_REST_SHARE = 0.35  # of the picture, for voxels of no ROI where they are more than that


class Group(NamedTuple):
    """Voxels that stand together: the name and category of their ROI (`""` for none), positions on the axis."""

    name: str
    category: str
    voxels: npt.NDArray[np.int64]


@checked(max_pixels=pixels(), zscore=flag(), order=one_of(*ORDERS))
def carpet(
    obj: xr.Dataset | xr.DataArray,
    *,
    max_pixels: tuple[int, int] = (600, 1000),
    zscore: bool = True,
    order: str = "roi",
    vmin: float | None = None,
    vmax: float | None = None,
    title: str | None = None,
) -> Figure:
    """Draw betas as a picture: trials to the right, voxels downwards, each pixel the mean of a block of them.

    What is unlike the rest stands out: a bad run, a session that is off, voxels without data (grey).

    **What it reads**: all betas of `obj`, each session once. A session is reduced to pixels as soon as it is read, so
    memory is that of the sessions that Dask reads at once, never of the subject: select trials or an ROI first for
    less. On a full subject from `.nii.gz` this is minutes, from a store seconds a session.

    Parameters
    ----------
    obj
        With betas `(trial, voxel)`, or `(stimulus, voxel)` after repeats were averaged; trials of a session that lie
        apart are drawn together.
    max_pixels
        Of the picture, at most: (voxels, trials). No pixel reaches over two sessions or, in `order="roi"`, two ROIs.
    zscore
        Z-score each voxel within sessions first (over all trials here where sessions are not known): betas of voxels
        differ in size far more than those of trials.
    order
        Of the voxels, from the top. `"roi"`: by category and ROI, each voxel in the smallest ROI that holds it, those
        of no ROI last, and by noise ceiling within each; where most voxels are of no ROI they get a third of the
        picture, as the label beside it says. `"voxel"`: as in `obj`. `"noise_ceiling"`: highest first, NaN last.
    vmin, vmax
        Ends of the colour scale; left out, centred at 0 and 98 % of the pixels.
    title
        Of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        Save it with `.savefig(path)`.

    Raises
    ------
    SelectionError
        No betas, zero trials or voxels, an order without its coordinate, or an argument that means nothing: each is
        checked before anything is read.

    Examples
    --------
    >>> ds.sel(roi="all").laion.plot.carpet().savefig("carpet.png")  # doctest: +SKIP
    """
    betas, row = betas_of(obj, "carpet")
    if not betas.size:
        raise SelectionError(f"carpet: there is nothing to draw, found {dict(betas.sizes)}; select others.")
    betas, sessions = _by_session(betas, row)
    groups = _groups(obj, betas, order)
    if zscore:
        betas = _standardised(betas, row)
    trial_pixel, columns = bins([n for _, n in sessions], max_pixels[1])
    voxel_pixel, rows = _voxel_pixels(groups, betas.sizes[VOXEL], max_pixels[0])
    means = pixel_means(betas.data, trial_pixel, voxel_pixel, (int(columns.sum()), int(rows.sum()))).T
    scale = colour_scale(means, vmin, vmax, robust=_ROBUST)
    figure = Picture(figsize=(10, 6.4), layout="constrained")
    strip_there = order == "roi"
    axes = figure.subplots(1, 2 if strip_there else 1, squeeze=False, width_ratios=[1, 30] if strip_there else None)[0]
    main = axes[-1]
    cmap = scale.cmap.with_extremes(bad=NOTHING)
    mesh = main.imshow(means, cmap=cmap, norm=scale.norm, aspect="auto", interpolation="nearest")
    _label_sessions(main, [name for name, _ in sessions], columns)
    n_rows, n_voxels = betas.shape
    shown = "trial" if row == TRIAL else "image"
    a_pixel = n_rows / columns.sum(), n_voxels / rows.sum()
    main.set_xlabel(f"{n_rows:,} {shown}{'s' * (n_rows > 1)}{_each(a_pixel[0])}", fontsize=MEDIUM)
    main.set_yticks([])
    voxels = f"{n_voxels:,} voxel{'s' * (n_voxels > 1)}"
    if strip_there:
        _draw_strip(axes[0], groups, rows, category_colours([g.category for g in groups], roi_categories(obj)))
        figure.supylabel(f"{voxels}, by ROI{_densities(groups, rows)}", fontsize=MEDIUM)
    else:
        by = {"voxel": "as they lie in the grid", "noise_ceiling": "highest noise ceiling on top"}[order]
        main.set_ylabel(f"{voxels}, {by}{_each(a_pixel[1])}", fontsize=MEDIUM)
    bar = figure.colorbar(mesh, ax=main, extend=scale.extend, shrink=0.7, aspect=30, pad=0.01)
    units = "standard deviations of the voxel in the session" if zscore else label_of(betas)
    bar.set_label(f"{units}, mean of a pixel", fontsize=MEDIUM)
    bar.ax.tick_params(labelsize=SMALL)
    if np.isnan(means).any():
        main.annotate(
            "grey: NaN",
            (1, 1),
            (0, 3),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="right",
            fontsize=SMALL,
        )
    if title:
        figure.suptitle(plain(title), fontsize=LARGE)
    return figure


def _each(n: float) -> str:
    return "" if n <= 1 else f" ({_count(n)} a pixel)"


def _count(n: float) -> str:
    return f"{n:,.0f}" if n >= 100 else f"{n:.3g}"


def _densities(groups: Sequence[Group], rows: npt.NDArray[np.integer]) -> str:
    sizes = np.array([len(group.voxels) for group in groups])
    rest = np.array([not group.name for group in groups])
    if rest.all() or not rest.any():
        return _each(sizes.sum() / rows.sum())
    inside, outside = (sizes[of].sum() / rows[of].sum() for of in (~rest, rest))
    return "" if outside <= 1 else f" ({_count(inside)} a pixel, of no ROI {_count(outside)})"


def _by_session(betas: xr.DataArray, row: str) -> tuple[xr.DataArray, list[tuple[str, int]]]:
    if "session" not in betas.coords or betas.coords["session"].dims != (row,):
        return betas, [("", betas.sizes[row])]
    codes, names = pd.factorize(betas.coords["session"].values)
    if (np.diff(codes) < 0).any():  # read each session once, and draw it in one piece
        at = np.argsort(codes, kind="stable")
        betas, codes = betas.isel({row: at}), codes[at]
    return betas, [(str(name), int(n)) for name, n in zip(names, np.bincount(codes), strict=True)]


def _standardised(betas: xr.DataArray, row: str) -> xr.DataArray:
    if row != TRIAL:
        betas = betas.rename({row: TRIAL}) if row not in betas.coords else betas.drop_vars(row).rename({row: TRIAL})
    if "session" not in betas.coords:
        betas = betas.assign_coords(session=(TRIAL, np.full(betas.sizes[TRIAL], "all", dtype=object)))
    return standardised(betas)


def _groups(obj: xr.Dataset | xr.DataArray, betas: xr.DataArray, order: str) -> list[Group]:
    n_voxels = betas.sizes[VOXEL]
    if order == "voxel":
        return [Group("", "", np.arange(n_voxels))]
    ceiling = betas.coords["noise_ceiling"].values if "noise_ceiling" in betas.coords else None
    if order == "noise_ceiling":
        if ceiling is None:
            raise SelectionError("order='noise_ceiling' needs the coordinate 'noise_ceiling' on 'voxel': keep it.")
        return [Group("", "", np.argsort(-ceiling, kind="stable"))]
    masks = roi_masks(betas if "roi_categories" in betas.coords.get("roi", betas).attrs else obj)
    inside, names = masks.values, masks["roi"].values
    size = np.where(inside, inside.sum(1)[:, None], n_voxels + 1)
    smallest = size.argmin(0) if len(names) else np.zeros(n_voxels, np.intp)
    smallest = np.where(inside.any(0), smallest, len(names)) if len(names) else smallest
    found = []
    for i, name in enumerate([*names, ""]):
        voxels = np.flatnonzero(smallest == i)
        if ceiling is not None:
            voxels = voxels[np.argsort(-ceiling[voxels], kind="stable")]
        category = str(masks["category"].values[i]).split(ROI_SEPARATOR)[0] if name else ""
        if len(voxels):
            found.append(Group(str(name), category, voxels))
    return found


def _voxel_pixels(
    groups: Sequence[Group], n_voxels: int, most: int
) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]:
    lengths = [len(group.voxels) for group in groups]
    rest = lengths[-1] if not groups[-1].name else 0
    if len(groups) > 1 and rest > _REST_SHARE * n_voxels and n_voxels > most:
        of_rest = max(1, min(rest, int(_REST_SHARE * most)))
        first, rows = bins(lengths[:-1], max(most - of_rest, 1))
        last, more = bins(lengths[-1:], of_rest)
        pixel, rows = np.concatenate([first, last + rows.sum()]), np.concatenate([rows, more])
    else:
        pixel, rows = bins(lengths, most)
    found = np.empty(n_voxels, np.int64)
    found[np.concatenate([group.voxels for group in groups])] = pixel
    return found, rows


def _label_sessions(axes: Axes, names: Sequence[str], columns: npt.NDArray[np.integer]) -> None:
    ends = np.cumsum(columns)
    for end in ends[:-1]:
        axes.axvline(end - 0.5, color="black", linewidth=0.8)
    middles = ends - columns / 2 - 0.5
    # as many names as have room
    step = -(-len(names) // 16)
    axes.set_xticks(middles[::step], [plain(name) for name in names[::step]], fontsize=SMALL)
    axes.tick_params(axis="x", length=0, labelrotation=0 if len(names) <= 10 else 45)


def _draw_strip(axes: Axes, groups: Sequence[Group], rows: npt.NDArray[np.integer], colours: dict[str, str]) -> None:
    of_row = [to_rgb(colours[group.category]) for group, n in zip(groups, rows, strict=True) for _ in range(n)]
    axes.imshow(
        np.array(of_row)[:, None], aspect="auto", interpolation="nearest", extent=(0, 1, rows.sum() - 0.5, -0.5)
    )
    ends = np.cumsum(rows)
    axes.hlines(ends[:-1] - 0.5, 0, 1, color="white", linewidth=0.7)
    middles = ends - rows / 2 - 0.5
    texts = [f"{plain(g.name) or 'no ROI'} ({len(g.voxels):,})" for g in groups]
    # names of small ROIs are moved apart, and a line leads to where they belong
    places = _apart(middles, min(rows.sum() / 50, rows.sum() / max(len(groups), 1)))
    for text, middle, place in zip(texts, middles, places, strict=True):
        axes.annotate(
            text,
            (0, middle),
            (-0.9, place),
            ha="right",
            va="center",
            fontsize=SMALL - 1,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": "#888888",
                "linewidth": 0.5,
                "shrinkA": 1,
                "shrinkB": 0,
                "relpos": (1, 0.5),
            },
        )
    axes.set_axis_on()
    axes.set(xticks=[], yticks=[], xlim=(0, 1))
    axes.spines[:].set_visible(False)


def _apart(middles: npt.NDArray[np.floating], least: float) -> npt.NDArray[np.floating]:
    """Return places at least so far from each other, in order and within the ends, near the middles."""
    n = len(middles)
    steps = np.arange(n) * least
    # isotonic regression of what is left once the steps are taken out: pool neighbours that are out of order
    pools: list[list[float]] = []
    for value in middles - steps:
        pools.append([float(value), 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            value, weight = pools.pop()
            last = pools[-1]
            last[0] = (last[0] * last[1] + value * weight) / (last[1] + weight)
            last[1] += weight
    levels = np.concatenate([np.full(int(weight), value) for value, weight in pools])
    top = middles[-1] + least / 2
    return np.asarray(np.clip(levels, 0, max(top - steps[-1], 0)) + steps)
