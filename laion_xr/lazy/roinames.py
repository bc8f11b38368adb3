"""ROI labels as a pandas index that is asked by the ROI grammar, for where the label index was lost on the way.

xarray's broadcast drops indexes over several coordinates, and with it flox's groupby of a Dataset. `.sel` then makes a
plain index of the coordinate, which compares whole texts: of 135 voxels in an ROI it would find the 5 that are in no
other. xarray takes the pandas index that a coordinate is made of, where it is made of one: this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from laion_xr.errors import SelectionError
from laion_xr.labels import Labels, MatchContext
from laion_xr.lazy.variable import LabelVariable

Categories = Mapping[str, Sequence[str]]


def roi_variable(
    dim: str, values: npt.NDArray[Any], categories: Categories, attrs: Mapping[Any, Any] | None = None
) -> LabelVariable:
    """Return the coordinate `roi` of names `(dim,)`."""
    return LabelVariable((dim,), RoiNames.of(values, categories), attrs)


class RoiNames(pd.Index):
    """Names of the ROIs of each voxel, joined by `+`, `(voxel,)`: `get_loc` takes the ROI grammar."""

    roi_categories: Categories = MappingProxyType({})

    @classmethod
    def of(cls, values: npt.NDArray[Any], categories: Categories) -> RoiNames:
        """Return the names, without a copy."""
        found = pd.Index(values, dtype=object, copy=False)
        found.__class__ = cls  # a subclass has no constructor of its own in pandas
        assert isinstance(found, RoiNames)
        found.roi_categories = categories
        return found

    def get_loc(self, key: Any) -> npt.NDArray[np.bool_]:
        """Return which voxels an ROI, a category or an expression of these names, `(voxel,)` bool.

        Raises
        ------
        UnknownLabelError
            No such ROI; the message names the closest ones.
        """
        return Labels.of(self.to_numpy(dtype=object)).match("roi", key, MatchContext(self.roi_categories))

    def get_indexer(self, target: Any, *args: Any, **kwargs: Any) -> npt.NDArray[np.intp]:
        """Refuse: a voxel is in several ROIs, and an ROI has many voxels."""
        raise SelectionError(
            f"The index of the labels was lost on the way (as by xr.broadcast), and without it one ROI is found at a "
            f"time: found {list(target)!r}; give one expression ('A | B'), or take .laion.sel, or "
            ".laion.index_labels() first."
        )

    get_indexer_non_unique = get_indexer  # type: ignore[assignment]

    def copy(self, name: Any = None, deep: bool = False) -> RoiNames:
        """Return a copy that knows the categories."""
        found: RoiNames = self._knowing(super().copy(name, deep))
        return found

    def __getitem__(self, key: Any) -> Any:
        return self._knowing(super().__getitem__(key))

    def __reduce__(self) -> tuple[Any, ...]:
        return RoiNames.of, (self.to_numpy(dtype=object), dict(self.roi_categories))

    def _knowing(self, found: Any) -> Any:
        if isinstance(found, RoiNames):
            found.roi_categories = self.roi_categories
        return found
