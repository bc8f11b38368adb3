"""Sections on voxels: noise ceiling, variance explained, ROIs, and a picture of the betas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from laion_xr.errors import SelectionError
from laion_xr.indexes import roi_categories
from laion_xr.plot import carpet, roi_bars, slices
from laion_xr.report import figures
from laion_xr.report.page import Block, Column, Items, Note, Table, count, count_cell, number_cell, text_cell
from laion_xr.report.pictures import NARROW, picture
from laion_xr.report.subject import FloatArray, Source
from laion_xr.schema import VOXEL

_MOST_PAIRS, _SLICES = 40, 5
# on a narrow page
_FEW_SLICES, _CARPET_INCHES = 4, 6.4


class RoiRow(NamedTuple):
    """An ROI: voxels here (None: not known), medians in percent (NaN: not known)."""

    roi: str
    category: str
    voxels: int | None
    ceiling: float = np.nan
    high: float = np.nan  # the ceiling that a tenth of the voxels reach
    r2: float = np.nan


def ceiling_histogram(source: Source) -> Iterator[Block]:
    """Return how the noise ceilings spread, over all voxels and over those of ROIs."""
    yield from _histogram(source, "noise_ceiling", _ceiling_values(source), f"noise ceiling, {source.ceiling} (%)")


def ceiling_bars(source: Source) -> Iterator[Block]:
    """Return the noise ceiling of each ROI."""
    values = _ceiling_values(source)
    rows = [row for row in roi_rows(source) if row.voxels and np.isfinite(row.ceiling)]
    if not rows:
        raise SelectionError("the noise ceiling by ROI, as no ROI here has a voxel with one.")
    best = sorted(rows, key=lambda row: -row.ceiling)[:3]
    ds = source.opened.drop_vars(list(source.opened.data_vars))
    array = source.opened["noise_ceiling"].copy(data=values)
    yield picture(
        lambda: roi_bars(ds, array),
        f"Mean noise ceiling of {count(len(rows), 'ROI')}; highest medians: "
        + ", ".join(f"{row.roi} {row.ceiling:.1f} %" for row in best)
        + ".",
        f"Mean noise ceiling ({source.ceiling}) of each ROI, with its standard error over voxels.",
        wide=True,
        narrow=lambda: roi_bars(ds, array, width=NARROW),
    )


def ceiling_slices(source: Source) -> Iterator[Block]:
    """Return the noise ceiling on slices of the brain."""
    yield from _slices(source, "noise_ceiling", _ceiling_values(source), "noise ceiling")


def r2_histogram(source: Source) -> Iterator[Block]:
    """Return how the variance explained spreads."""
    yield from _histogram(source, "r2_mean", _r2_values(source), "R², mean over sessions (%)")


def r2_slices(source: Source) -> Iterator[Block]:
    """Return the variance explained on slices of the brain."""
    yield from _slices(source, "r2_mean", _r2_values(source), "variance explained")


def roi_rows(source: Source) -> list[RoiRow]:
    """Return a row an ROI: from the Dataset, or from the files where there is none."""
    if source.ds is None or "roi" not in source.ds.coords:
        found = source.files.rois if source.files is not None else []
        return [
            RoiRow(roi.roi, roi.category, roi.voxels, np.nan if roi.noise_ceiling is None else roi.noise_ceiling)
            for roi in found
        ]
    masks, ceiling, r2 = source.masks, source.values("noise_ceiling"), source.values("r2_mean")
    of: dict[str, list[str]] = {}
    for category, names in roi_categories(source.ds).items():
        for name in names:
            of.setdefault(name, []).append(category)
    for name in masks:
        of.setdefault(name, [])
    rows = []
    for name, categories in of.items():
        inside = masks.get(name)
        voxels = 0 if inside is None else int(inside.sum())
        label = "+".join(categories)
        rows.append(
            RoiRow(
                name,
                label,
                voxels,
                _percentile(ceiling, inside, 50),
                _percentile(ceiling, inside, 90),
                _percentile(r2, inside, 50),
            )
        )
    return rows


def roi_table(source: Source) -> Iterator[Block]:
    """Return the ROIs with their voxels, ceilings and variance explained."""
    rows = roi_rows(source)
    if not rows:
        raise SelectionError("no ROI is here: their masks belong under derivatives/rois.")
    yield Table(
        "rois-table",
        f"{count(len(rows), 'ROI')} of {source.name}",
        [
            Column("ROI", False),
            Column("Category", False),
            *map(Column, ("Voxels", "Ceiling, median (%)", "Ceiling, 90th percentile (%)", "R², median (%)")),
        ],
        [
            [
                text_cell(row.roi), text_cell(row.category), count_cell(row.voxels),
                number_cell(row.ceiling), number_cell(row.high), number_cell(row.r2),
            ]
            for row in rows
        ],
        filter="Filter ROIs by name or category",
    )  # fmt: skip


def roi_overlap(source: Source) -> Iterator[Block]:
    """Return which ROIs share voxels."""
    if source.ds is None or "roi" not in source.ds.coords:
        return
    masks = source.masks
    if len(masks) < 2:
        return
    names = list(masks)
    inside = np.array([masks[name] for name in names], dtype=np.float32)  # float: a product of whole numbers is slow
    both = (inside @ inside.T).astype(np.float64)
    shares = 100 * both / np.diag(both)[:, None]
    pairs = [(int(both[a, b]), names[a], names[b]) for a in range(len(names)) for b in range(a) if both[a, b]]
    pairs.sort(key=lambda pair: (-pair[0], pair[1:]))
    if not pairs:
        yield Note("No two ROIs share a voxel.")
        return
    largest = pairs[0]
    yield picture(
        lambda: figures.overlap(names, shares),
        f"Overlap of {count(len(names), 'ROI')}: {count(len(pairs), 'pair')} share voxels; most, {largest[0]:,}: "
        f"{largest[1]} and {largest[2]}.",
        "Share of the voxels of the ROI in a row that also lie in the ROI of a column.",
        wide=True,
        narrow=lambda: figures.overlap(names, shares, NARROW),
    )
    more = f" (the first {_MOST_PAIRS})" if len(pairs) > _MOST_PAIRS else ""
    yield Items(
        f"{count(len(pairs), 'pair')} of ROIs that share voxels{more}",
        [f"{b} and {a}: {count(n, 'voxel')}" for n, a, b in pairs[:_MOST_PAIRS]],
    )


def betas_carpet(source: Source) -> Iterator[Block]:
    """Return the betas as a picture, trials by voxels: this reads them."""
    ds = source.opened
    if "betas" not in ds:
        raise SelectionError("the Dataset has no betas.")
    drawn: list[Figure] = []

    def draw() -> Figure:
        drawn.append(carpet(ds))
        return drawn[0]

    def smaller() -> Figure:
        # the same figure: the betas are read once
        drawn[0].set_size_inches(NARROW, _CARPET_INCHES)
        return drawn[0]

    yield picture(
        draw,
        f"Betas of {count(ds.sizes['trial'], 'trial')} and {count(ds.sizes[VOXEL], 'voxel')}, as an image.",
        "Betas, z-scored: a row a group of voxels, ROI by ROI, a column a group of trials, in their order.",
        form="png",
        wide=True,
        once=True,
        narrow=smaller,
    )


def _histogram(source: Source, name: str, values: FloatArray, label: str) -> Iterator[Block]:
    finite = values[np.isfinite(values)]
    groups = {"all voxels": values}
    if source.masks:
        inside = np.any(list(source.masks.values()), axis=0)
        if np.isfinite(values[inside]).any():
            groups["voxels of ROIs"] = values[inside]
    low, middle, high = np.percentile(finite, (10, 50, 90))
    yield picture(
        lambda: figures.histogram(groups, label),
        f"Histogram of {label} over {count(finite.size, 'voxel')}: median {middle:.1f}, a tenth "
        f"below {low:.1f}, a tenth above {high:.1f}.",
        f"{source.opened[name].attrs.get('long_name', name).capitalize()} of voxels; dashed: medians."
        + (f" {count(values.size - finite.size, 'voxel')} without a value." if finite.size < values.size else ""),
    )


def _slices(source: Source, name: str, values: FloatArray, noun: str) -> Iterator[Block]:
    array = source.opened[name].copy(data=values)
    yield picture(
        lambda: slices(source.opened, array, n=_SLICES),
        f"Axial slices of the brain, from below upwards, coloured by {noun}.",
        f"{noun.capitalize()} on axial slices, in T1w space.",
        form="png",
        wide=True,
        narrow=lambda: slices(source.opened, array, n=_FEW_SLICES, columns=2, width=NARROW),
    )


def _ceiling_values(source: Source) -> FloatArray:
    values = None if source.ds is None else source.values("noise_ceiling")
    if values is None:
        raise SelectionError(_needs(source, "a map of noise ceilings"))
    return values


def _r2_values(source: Source) -> FloatArray:
    values = None if source.ds is None else source.values("r2_mean")
    if values is None:
        raise SelectionError(_needs(source, "the map of R² over sessions"))
    return values


def _needs(source: Source, what: str) -> str:
    if source.ds is None:
        return "this needs the subject as a Dataset; what keeps it from opening stands in the overview."
    return f"this needs {what}, which is not here; the missing files stand below."


def _percentile(values: FloatArray | None, inside: np.ndarray | None, q: float) -> float:
    if values is None or inside is None:
        return float("nan")
    here = values[inside]
    here = here[np.isfinite(here)]
    return float(np.percentile(here, q)) if here.size else float("nan")
