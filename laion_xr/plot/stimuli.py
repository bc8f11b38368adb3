"""A grid of stimuli with their captions: those of a selection, or those that an ROI answers most to."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from laion_xr import layout
from laion_xr.analysis.select import select
from laion_xr.analysis.stimuli import stimuli_of
from laion_xr.errors import SelectionError
from laion_xr.plot.arguments import checked, count, flag, flag_or_name
from laion_xr.plot.style import Picture
from laion_xr.schema import STIMULUS, TRIAL, VOXEL
from laion_xr.stimuli import Stimuli

# A picture, and a caption of four lines, in inches; characters of a line
_INCHES, _CAPTION_INCHES, _LINE = 2.2, 0.55, 30


@checked(n=count("images"), columns=count("images a row"), worst=flag(), captions=flag(), segmentations=flag_or_name())
def plot_stimuli(
    obj: xr.Dataset | xr.DataArray,
    n: int = 12,
    *,
    roi: Any = None,
    worst: bool = False,
    captions: bool = True,
    segmentations: bool | str = False,
    columns: int = 4,
    size: Any = 224,
    root: Any = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Figure:
    """Draw stimuli of a selection, each once, with a caption: the first `n`, or the best `n` of an ROI.

    Parameters
    ----------
    obj
        A Dataset or array with the coordinate `stimulus`; for `roi` with betas `(trial, voxel)`.
    n
        How many images at most.
    roi
        Order the images by the response of an ROI (its grammar as in `.sel`): the mean over its voxels and over the
        repeats of an image, largest first. This reads the betas of the ROI.
    worst
        Smallest response first.
    captions
        A caption below each image: the model's, else the first that a person wrote; none where the file is not there.
    segmentations
        True paints the segmented objects, a noun those of this name.
    columns
        Images a row.
    size
        Pixels, or (height, width), of an image.
    root, storage_options
        Where the stimuli are, see `laion_xr.analysis.stimuli_of`.

    Returns
    -------
    matplotlib.figure.Figure
        Save it with `.savefig(path)`.

    Raises
    ------
    StimuliNotDownloadedError
        The images, to which access is gated, are not there.
    SelectionError
        Nothing is selected; `n` or `columns` is not above 0; `roi` without betas.

    Examples
    --------
    >>> ds.laion.plot_stimuli(8, roi="FFA1").savefig("ffa.png")  # doctest: +SKIP
    """
    stimuli = stimuli_of(obj, root, storage_options)
    response = _response(obj, roi, worst)
    names = _distinct(obj) if response is None else [str(name) for name in response.index]
    if not names:
        raise SelectionError("There is nothing to draw: the selection holds no stimulus; select other trials.")
    names = names[:n]
    with_captions = captions and layout.stimulus_path("captions") in stimuli.files
    columns = min(columns, len(names))
    rows = math.ceil(len(names) / columns)
    height = rows * (_INCHES + 0.2 + (_CAPTION_INCHES if with_captions else 0))
    figure = Picture(figsize=(columns * _INCHES, height + (0.3 if response is not None else 0)), layout="constrained")
    grid = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axes in grid:
        axes.set_axis_off()
    noun = segmentations if isinstance(segmentations, str) else None
    for axes, name in zip(grid, names, strict=False):
        paint = stimuli.segmentations.overlay(name, noun, size) if segmentations else stimuli.images.get(name, size)
        axes.imshow(paint)
        if response is not None:
            axes.set_title(f"{response[name]:.2f} %", fontsize=8)
        if with_captions:
            axes.text(0.5, -0.03, _caption(stimuli, name), transform=axes.transAxes, ha="center", va="top", fontsize=7)
    if response is not None:
        figure.suptitle(f"{'Smallest' if worst else 'Largest'} mean response in {roi} (% signal change)", fontsize=9)
    return figure


def _distinct(obj: xr.Dataset | xr.DataArray) -> list[str]:
    if STIMULUS not in obj.coords:
        raise SelectionError("Which images were shown is not known: expected a coordinate 'stimulus'; keep it.")
    return list(dict.fromkeys(str(name) for name in np.atleast_1d(obj.coords[STIMULUS].values) if name))


def _response(obj: xr.Dataset | xr.DataArray, roi: Any, worst: bool) -> pd.Series[float] | None:
    if roi is None:
        return None
    betas = obj["betas"] if isinstance(obj, xr.Dataset) and "betas" in obj else obj
    if isinstance(betas, xr.Dataset) or not {TRIAL, VOXEL} <= set(betas.dims):
        raise SelectionError(
            f"roi= orders by betas (trial, voxel): found {dict(obj.sizes)}; keep them in the selection."
        )
    inside = select(betas, roi=roi)
    if not inside.sizes[VOXEL]:
        raise SelectionError(f"No voxel of the selection lies in roi={roi!r}: choose another, or select fewer labels.")
    mean = pd.Series(inside.mean(VOXEL).values, inside[STIMULUS].values)
    by_image = mean[mean.index != ""].groupby(level=0, sort=False).mean().dropna()
    return by_image.sort_values(ascending=worst, kind="stable")


def _caption(stimuli: Stimuli, name: str) -> str:
    found = [*stimuli.captions.ai(name), *stimuli.captions.human(name)]
    text = " ".join(found[0].split()) if found else ""
    # a dollar sign begins a formula in matplotlib
    return "\n".join(textwrap.wrap(text, _LINE, max_lines=4, placeholder=" ...")).replace("$", r"\$")
