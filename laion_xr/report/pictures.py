"""matplotlib figures -> pictures of a page, drawn once for a light and once for a dark page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.figure import Figure

from laion_xr.report.page import Drawing, Picture

# Okabe and Ito's colours, which colour-blind readers can tell apart: the dark ones of blue, orange and green, or the
# bright ones
_CYCLE = {"light": ["#0072b2", "#d55e00", "#009e73"], "dark": ["#56b4e9", "#e69f00", "#2fc79a"]}
_INK = {"light": "#1c2024", "dark": "#e8eaed"}
_LINES = {"light": "#c9ced6", "dark": "#4a5159"}
# As style.css has them: what a picture lies on
_PAPER = {"light": "#ffffff", "dark": "#1b1f24"}
_MIME = {"svg": "image/svg+xml", "png": "image/png"}
_DPI = {"svg": 96, "png": 144}
_CSS_DPI = 96
NARROW = 3.3  # inches: as wide as a phone's page has room for


def picture(
    draw: Callable[[], Figure],
    alt: str,
    caption: str,
    *,
    form: str = "svg",
    wide: bool = False,
    once: bool = False,
    narrow: Callable[[], Figure] | None = None,
) -> Picture:
    """Return what a function draws.

    Parameters
    ----------
    draw
        Makes the figure; called twice, with the colours of either page as matplotlib's defaults.
    alt, caption
        What the picture shows, in words; what stands below it.
    form
        `"svg"` for lines and bars, `"png"` for images.
    wide
        In a row by itself.
    once
        Call the function once, and show a light picture on either page: where drawing reads betas.
    narrow
        Makes the figure for a narrow page, `NARROW` inches wide, after all calls of `draw`; left out, the page shows
        the other one smaller.
    """
    first = _drawing(draw, form, once)
    return Picture(first, alt, caption, wide, None if narrow is None else _drawing(narrow, form, once))


def _drawing(draw: Callable[[], Figure], form: str, once: bool) -> Drawing:
    uris, width, height = {}, 0, 0
    for scheme in ("light",) if once else ("light", "dark"):
        with mpl.rc_context(colours(scheme)):
            figure = draw()
            uris[scheme] = _data_uri(figure, form, scheme)
            width, height = (round(float(inches) * _CSS_DPI) for inches in figure.get_size_inches())
    return Drawing(uris["light"], uris.get("dark", ""), width, height)


def colours(scheme: str) -> Any:
    """Return matplotlib's settings for a page's colours, `"light"` or `"dark"`."""
    ink, lines, paper = _INK[scheme], _LINES[scheme], _PAPER[scheme]
    return {
        "figure.facecolor": paper,
        "axes.facecolor": paper,
        "savefig.facecolor": paper,
        "text.color": ink,
        "axes.labelcolor": ink,
        "axes.titlecolor": ink,
        "axes.edgecolor": lines,
        "xtick.color": lines,
        "ytick.color": lines,
        "xtick.labelcolor": ink,
        "ytick.labelcolor": ink,
        "grid.color": lines,
        "legend.labelcolor": ink,
        "legend.facecolor": paper,
        "legend.edgecolor": lines,
        "lines.color": ink,
        "axes.prop_cycle": cycler(color=_CYCLE[scheme]),
        "patch.edgecolor": ink,
        "font.size": 10.0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.hashsalt": "laion_xr",  # the same data give the same file
        "svg.fonttype": "path",  # the reader's fonts may be others
    }


def _data_uri(figure: Figure, form: str, scheme: str) -> str:
    buffer = io.BytesIO()
    metadata = {"Date": None} if form == "svg" else {"Software": None}
    figure.savefig(buffer, format=form, dpi=_DPI[form], facecolor=_PAPER[scheme], metadata=metadata)
    return f"data:{_MIME[form]};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
