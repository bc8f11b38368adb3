"""The picture of `laion-xr demo`: each ROI's accuracy beside its ceiling, and where in the brain it is."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from laion_xr.errors import SelectionError

Volume = npt.NDArray[np.float64]

SHOWN = 0.2  # r: about what chance exceeds in one voxel of twenty with 100 test images
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bb5566", "#555555")
BAR_MM = 20


class RoiScore(NamedTuple):
    """An ROI: its voxels with a score, their median noise ceiling (%), accuracy and ceiling (r)."""

    roi: str
    category: str
    voxels: int
    noise_ceiling: float
    accuracy: float
    ceiling: float


def check_format(path: Path) -> None:
    """Raise where a picture cannot be saved under this name.

    Raises
    ------
    SelectionError
        With the endings that there are.
    """
    known = FigureCanvasAgg.get_supported_filetypes()
    if path.suffix.removeprefix(".").lower() not in known:
        endings = ", ".join(f".{name}" for name in sorted(known))
        raise SelectionError(
            f"The ending of a picture's name says its format, found {path.name!r}: use one of {endings}."
        )


def draw(scores: Sequence[RoiScore], accuracy: nib.Nifti1Image, anatomy: nib.Nifti1Image, title: str) -> Figure:
    """Draw the picture.

    Parameters
    ----------
    scores
        The ROIs, in the order of their categories, from top to bottom.
    accuracy
        r in the brain, NaN where there is none.
    anatomy
        What lies behind it, on the same grid.
    """
    figure = Figure(figsize=(11, 8.5), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.15, 1))
    _draw_rois(left.subplots(), scores)
    axes = right.subplots(2, 1)
    # stored right to left or left to right: canonical is left to right, back to front, bottom to top
    values, zooms = _canonical(accuracy)
    behind, _ = _canonical(anatomy)
    shown = np.where(values > SHOWN, values, np.nan)
    for axis, place in ((2, axes[0]), (0, axes[1])):
        image = _draw_slice(place, shown, behind, zooms, axis)
    bar = right.colorbar(image, ax=list(axes), shrink=0.7, aspect=30)
    bar.set_label(f"accuracy, Pearson r (voxels of r > {SHOWN:g})")
    figure.suptitle(title, fontsize=12)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Save the picture: written beside its place and renamed, so that nobody sees half of it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix.removeprefix(".").lower(), dpi=150)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(buffer.getvalue())
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def _draw_rois(ax: Axes, scores: Sequence[RoiScore]) -> None:
    categories = list(dict.fromkeys(score.category for score in scores))
    # half a row of air between categories
    rows = [i + 0.8 * categories.index(score.category) for i, score in enumerate(scores)]
    colours = [COLOURS[categories.index(score.category) % len(COLOURS)] for score in scores]
    ax.barh(rows, [s.ceiling for s in scores], height=0.8, color="#dddddd", label="noise ceiling")
    ax.scatter([s.accuracy for s in scores], rows, c=colours, s=22, zorder=3, label="accuracy")
    ax.set_yticks(rows, [f"{s.roi}" for s in scores], fontsize=7.5)
    for tick, colour in zip(ax.get_yticklabels(), colours, strict=True):
        tick.set_color(colour)
    for category in categories:
        own = [row for row, score in zip(rows, scores, strict=True) if score.category == category]
        colour = COLOURS[categories.index(category) % len(COLOURS)]
        ax.text(0.02, float(np.mean(own)), category, color=colour, fontsize=8.5, va="center", weight="bold")
    ax.set_ylim(max(rows) + 0.8, min(rows) - 0.8)
    ax.set_xlim(0, 1)
    ax.set_xlabel("Pearson r over test images (median of the ROI's voxels)")
    ax.set_title("ROIs", fontsize=10)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=2, fontsize=8.5, frameon=False)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)


def _canonical(image: nib.Nifti1Image) -> tuple[Volume, tuple[float, ...]]:
    canonical = nib.as_closest_canonical(image)
    return np.asarray(canonical.get_fdata()), tuple(float(z) for z in canonical.header.get_zooms()[:3])


def _draw_slice(ax: Axes, values: Volume, behind: Volume, zooms: tuple[float, ...], axis: int) -> AxesImage:
    others = tuple(i for i in range(3) if i != axis)
    at = int(np.nansum(values, axis=others).argmax())
    aspect = zooms[others[1]] / zooms[others[0]]
    picks = [np.take(volume, at, axis=axis).T for volume in (behind, values)]
    high = float(np.nanpercentile(behind, 99.5)) or 1.0
    ax.imshow(picks[0], cmap="gray", origin="lower", aspect=aspect, vmin=0, vmax=high * 1.3, interpolation="nearest")
    image = ax.imshow(picks[1], cmap="inferno", origin="lower", aspect=aspect, vmin=0, vmax=1, interpolation="nearest")
    name, ends = {2: ("axial", "LRPA"), 0: ("sagittal", "PAIS"), 1: ("coronal", "LRIS")}[axis]
    ax.set_title(f"{name} slice through the most accurate voxels", fontsize=10)
    for text, (x, y) in zip(ends, ((0.02, 0.5), (0.98, 0.5), (0.5, 0.03), (0.5, 0.97)), strict=True):
        ax.text(x, y, text, transform=ax.transAxes, color="white", ha="center", va="center", fontsize=10)
    start, length = 0.06 * picks[0].shape[1], BAR_MM / zooms[others[0]]
    ax.plot([start, start + length], [0.06 * picks[0].shape[0]] * 2, color="white", linewidth=2)
    ax.text(start + length / 2, 0.09 * picks[0].shape[0], f"{BAR_MM} mm", color="white", ha="center", fontsize=8)
    ax.set_axis_off()
    return image
