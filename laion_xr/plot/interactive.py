"""Values on the brain to click through in Jupyter or a browser: nilearn's viewer."""

from __future__ import annotations

import re
from typing import Any

import nibabel as nib
import numpy as np
import xarray as xr

from laion_xr.analysis.volumes import to_nifti
from laion_xr.errors import SelectionError, missing_extra
from laion_xr.plot.arguments import checked
from laion_xr.plot.background import background_of
from laion_xr.plot.style import colour_scale, label_of
from laion_xr.plot.values import voxel_values

_ICON = re.compile(r"href=(&quot;|\")https?://[^\"&]*favicon\.ico(&quot;|\")")


@checked()
def view(
    obj: xr.Dataset | xr.DataArray,
    values: Any = None,
    *,
    background: Any = "auto",
    threshold: float | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: Any = None,
    title: str | None = None,
    **options: Any,
) -> Any:
    """Show values on the brain as slices to click through, in Jupyter or a browser; needs the extra `plot`.

    One page of HTML that holds everything (pictures and scripts): it works without a network, and can be sent on. It
    shows where one clicks in mm of T1w space, and the value there.

    Parameters
    ----------
    obj, values, background, threshold, vmin, vmax, cmap
        As in `laion_xr.plot.slices`. An outline cannot be drawn here: the mask is shown as a shape.
    title
        Of the page; left out, long name and unit of the values.
    options
        Handed on to `nilearn.plotting.view_img`: `cut_coords`, `opacity`, `width_view`, ...

    Returns
    -------
    nilearn.plotting.html_document.HTMLDocument
        Shows itself in Jupyter; `.save_as_html(path)`, `.open_in_browser()`, `.get_iframe()`.

    Raises
    ------
    MissingExtraError
        nilearn is not installed.
    SelectionError
        No values, zero voxels, another length, nothing to see, or an argument that means nothing.

    Examples
    --------
    >>> ds.laion.view("noise_ceiling", threshold=20).save_as_html("ceiling.html")  # doctest: +SKIP
    """
    try:
        from nilearn.plotting import view_img  # noqa: PLC0415 - optional
    except ImportError:
        raise missing_extra("nilearn", "plot", "view") from None
    drawn = voxel_values(obj, values, "view")
    image = to_nifti(obj, drawn, fill=np.nan)
    numbers = np.asarray(image.dataobj, dtype=np.float64)
    shown = np.isfinite(numbers) if threshold is None else np.abs(numbers) >= threshold
    if not shown.any():
        raise SelectionError("view: there is nothing to see, every value is NaN or nearer to 0 than threshold=.")
    scale = colour_scale(np.where(shown, numbers, np.nan), vmin, vmax, cmap)
    behind = background_of(obj, background)
    low, high = float(scale.norm.vmin or 0.0), float(scale.norm.vmax or 0.0)
    # nilearn hides what is near 0: a value of 0 that is to be seen is drawn as one just above
    least = 1e-5 * max(abs(low), abs(high))
    flat = np.where(shown, np.where(np.abs(numbers) <= least, 2 * least, numbers), 0).astype(np.float32)
    settings: dict[str, Any] = {
        "bg_img": None if behind is None else nib.Nifti1Image(behind.volume.astype(np.float32), behind.affine),
        "threshold": least,
        "cmap": scale.cmap,
        "vmax": high,
        "vmin": low,
        "symmetric_cmap": low < 0 < high,
        "black_bg": True,
        "resampling_interpolation": "nearest",
        "title": label_of(drawn) if title is None else title,
    }
    page = view_img(nib.Nifti1Image(flat, image.affine), **(settings | options))
    # the one thing that it would ask the network for
    page.html = _ICON.sub(r"href=\1data:,\2", page.html)
    return page
