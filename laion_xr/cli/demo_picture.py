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
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from laion_xr.errors import FileAccessError, SelectionError

Volume = npt.NDArray[np.float64]

SHOWN = 0.3  # r: what chance exceeds in about one voxel of a thousand, with 100 test images
COLOURS = ("#4477aa", "#cc5566", "#228833", "#997700", "#2299bb", "#aa3377", "#994455", "#444444")
BAR_MM = 20
FORMATS = (".png", ".pdf", ".svg", ".jpg")


class RoiScore(NamedTuple):
    """An ROI: its voxels with a score, their median noise ceiling (%), accuracy and ceiling (r)."""

    roi: str
    category: str
    voxels: int
    noise_ceiling: float
    accuracy: float
    ceiling: float


def check_place(path: Path) -> None:
    """Make sure that a picture can be saved under this name, before the work begins; makes its folder.

    Raises
    ------
    SelectionError
        The ending is of no format, or the name is that of a folder.
    FileAccessError
        Nothing may be written there.
    """
    if path.suffix.lower() not in FORMATS:
        endings = ", ".join(FORMATS)
        raise SelectionError(f"The ending of a picture's name says its format, found {path.name!r}: use {endings}.")
    if path.is_dir():
        raise SelectionError(f"{path} is a folder: give the name of the picture.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileAccessError(f"The folder {path.parent} cannot be made ({error.strerror}): give another.") from None
    if not os.access(path.parent, os.W_OK):
        raise FileAccessError(f"Nothing may be written to {path.parent}: give another place for the picture.")


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
    left, right = figure.subfigures(1, 2, width_ratios=(1.15, 1), squeeze=False)[0]
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
    colour = {category: COLOURS[i % len(COLOURS)] for i, category in enumerate(categories)}
    # above each category a row for its name
    rows = [i + 1.2 * (categories.index(score.category) + 1) for i, score in enumerate(scores)]
    ax.barh(rows, [s.ceiling for s in scores], height=0.8, color="#dddddd", label="noise ceiling")
    ax.scatter([s.accuracy for s in scores], rows, c=[colour[s.category] for s in scores], s=24, zorder=3)
    ax.scatter([], [], c="#555555", s=24, label="accuracy of the prediction")
    ax.set_yticks(rows, [s.roi for s in scores], fontsize=7.5)
    for category in categories:
        first = min(row for row, score in zip(rows, scores, strict=True) if score.category == category)
        ax.text(0, first - 0.55, category, color=colour[category], fontsize=8.5, va="bottom", weight="bold")
    ax.set_ylim(max(rows) + 0.7, min(rows) - 1.5)
    ax.set_xlim(0, 1)
    ax.set_xlabel("Pearson r over test images (median of the ROI's voxels)")
    ax.set_title("accuracy against the noise ceiling", fontsize=10)
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
