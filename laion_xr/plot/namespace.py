"""`.laion.plot`: the pictures as methods, a line each."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import xarray as xr
from matplotlib.figure import Figure

from laion_xr.analysis.splits import split as divided
from laion_xr.plot.bars import roi_bars
from laion_xr.plot.carpet import carpet
from laion_xr.plot.slices import slices
from laion_xr.plot.split import split
from laion_xr.plot.stimuli import plot_stimuli
from laion_xr.plot.surface import surface

Obj = TypeVar("Obj", xr.Dataset, xr.DataArray)


class Pictures(Generic[Obj]):
    """Pictures of a Dataset or array; called as a function, slices: `ds.laion.plot("noise_ceiling")`."""

    def __init__(self, obj: Obj) -> None:
        self._obj: Obj = obj

    def __call__(self, values: Any = None, **options: Any) -> Figure:
        """Draw values on the brain as slices: see `laion_xr.plot.slices`."""
        return slices(self._obj, values, **options)

    def slices(self, values: Any = None, **options: Any) -> Figure:
        """Draw values on the brain as slices: see `laion_xr.plot.slices`."""
        return slices(self._obj, values, **options)

    def roi_bars(self, values: Any = None, rois: Any = None, **options: Any) -> Figure:
        """Draw a bar an ROI: see `laion_xr.plot.roi_bars`."""
        return roi_bars(self._obj, values, rois, **options)

    def carpet(self, **options: Any) -> Figure:
        """Draw all betas, trials x voxels: see `laion_xr.plot.carpet`."""
        return carpet(self._obj, **options)

    def surface(self, values: Any = None, **options: Any) -> Figure:
        """Draw values on the cortical surface: see `laion_xr.plot.surface`."""
        return surface(self._obj, values, **options)

    def split(
        self, name: str | None = None, *, features: Any = "CLIP", title: str | None = None, **sides: Any
    ) -> Figure:
        """Draw the images of a split in the space of their features: see `laion_xr.plot.split`.

        Parameters
        ----------
        name, sides
            The split, as in `laion_xr.analysis.split`: a name, or `train=` and `test=`.
        features, title
            See `laion_xr.plot.split`.
        """
        train, test = divided(self._obj, name, **sides)
        return split(train, test, features, title=name if title is None else title)

    def stimuli(self, n: int = 12, **options: Any) -> Figure:
        """Draw the stimuli of the selection: see `laion_xr.plot.plot_stimuli`."""
        return plot_stimuli(self._obj, n, **options)

    def __repr__(self) -> str:
        names = ", ".join(name for name in dir(self) if not name.startswith("_"))
        return f"Pictures of a {type(self._obj).__name__}: {names}; call it for slices"
