"""What all pictures share: figures that Jupyter shows, colours that colour-blind readers tell apart, scales, labels."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from laion_xr.errors import SelectionError, did_you_mean

FloatArray = npt.NDArray[np.floating]

# Okabe & Ito (2008), "Color Universal Design"; the palest last but one, and grey for black, which is for lines
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#F0E442", "#666666")
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")
NEUTRAL = "#BBBBBB"  # of no category
NOTHING = "#CCCCCC"  # NaN
SEQUENTIAL, DIVERGING = "viridis", "RdBu_r"
SMALL, MEDIUM, LARGE = 8, 9, 11
ROBUST = 99.5  # percent of the values that a scale spans: what is left is drawn in its last colour


class Picture(Figure):
    """A matplotlib figure that shows itself in Jupyter, also where pyplot was never imported."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


class Scale(NamedTuple):
    """How numbers become colours."""

    norm: Normalize
    cmap: Colormap
    extend: str  # which ends of the colour bar have values beyond them: "neither", "min", "max", "both"


def colour_scale(
    values: FloatArray, vmin: float | None = None, vmax: float | None = None, cmap: Any = None, robust: float = ROBUST
) -> Scale:
    """Return the colours of values: from 0 in one direction where they have one sign, else centred at 0.

    Parameters
    ----------
    values
        Any shape; what is not finite does not count.
    vmin, vmax
        Ends of the scale; left out, they span `robust` percent of the values, from 0. Of values of both signs, one of
        them is the other's opposite.
    cmap
        Left out: viridis, or RdBu_r for values of both signs.

    Raises
    ------
    SelectionError
        `vmin` is not below `vmax`, or the colour map has no such name.
    """
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    signed = low < 0 < high
    if vmin is None and vmax is None:
        if signed:
            vmax = float(np.percentile(np.abs(finite), robust)) or max(-low, high)
            vmin = -vmax
        elif low < 0:
            vmin, vmax = float(np.percentile(finite, 100 - robust)), 0.0
        else:
            vmin, vmax = 0.0, (float(np.percentile(finite, robust)) if finite.size else 0.0) or high or 1.0
    elif vmin is None and vmax is not None:
        vmin = -vmax if signed and vmax > 0 else min(low, 0.0)
    elif vmax is None and vmin is not None:
        vmax = -vmin if signed and vmin < 0 else high
    if vmin is None or vmax is None or not vmin < vmax:
        raise SelectionError(
            f"Expected vmin below vmax, found vmin={vmin!r} and vmax={vmax!r}: the values are {low:.4g} to {high:.4g}."
        )
    below, above = low < vmin, high > vmax
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    return Scale(
        Normalize(vmin, vmax),
        colour_map(cmap or (DIVERGING if signed and vmin < 0 < vmax else SEQUENTIAL)),
        extend[below, above],
    )


def colour_map(cmap: Any) -> Colormap:
    """Return a colour map by its name, or as it is.

    Raises
    ------
    SelectionError
        There is none of the name.
    """
    if isinstance(cmap, Colormap):
        return cmap
    if cmap not in mpl.colormaps:
        names = [name for name in mpl.colormaps if not name.endswith("_r")]
        raise SelectionError(did_you_mean("Colour map", cmap, names))
    return mpl.colormaps[cmap]


def category_colours(categories: Iterable[str], known: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return category -> colour: by its place among the `known` ones, so that it is the same in every picture."""
    order = list(dict.fromkeys([*sorted(known or {}), *categories]))
    order = [name for name in order if name]
    return {"": NEUTRAL} | {name: OKABE_ITO[i % len(OKABE_ITO)] for i, name in enumerate(order)}


def ink() -> str:
    """Return the colour of lines and text: dark on a light page, light on a dark one, as matplotlib's settings say."""
    return str(mpl.rcParams["text.color"])


def paper() -> str:
    """Return the colour that lines and text are drawn on."""
    return str(mpl.rcParams["axes.facecolor"])


def label_of(values: xr.DataArray, label: str | None = None, threshold: float | None = None) -> str:
    """Return the text of an axis or colour bar: long name (or name) and unit, and what is left out near 0."""
    if label is None:
        unit = str(values.attrs.get("units", ""))
        unit = "" if unit in ("", "1") else f" ({unit})"
        least = "" if threshold is None else f", at least {threshold:g} from 0"
        label = f"{values.attrs.get('long_name', values.name) or 'value'}{unit}{least}"
    return plain(label)


def plain(text: object) -> str:
    """Return text that matplotlib takes as it is: a dollar sign begins a formula."""
    return str(text).replace("$", r"\$")


def wrapped(text: object, width: int = 30) -> str:
    """Return text in lines of a legend."""
    return "\n".join(textwrap.wrap(plain(text), width))
