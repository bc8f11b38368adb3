"""The order of the voxels on disk: an ROI's voxels lie together, so that reading it touches few chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from laion_xr.readers.base import IntArray
from laion_xr.schema import ROI_SEPARATOR


def storage_order(roi: npt.NDArray[np.object_], categories: Mapping[str, Sequence[str]]) -> IntArray:
    """Return the positions of voxels in the order in which a store keeps them.

    Voxels of the largest ROI come first, within them those of the next largest, and so on: an ROI that lies inside a
    larger one (FFA1 in laionventral) is one stretch of that one's. Voxels of no ROI come last. C-order within.

    Parameters
    ----------
    roi
        Membership string of each voxel, `(voxel,)`.
    categories
        ROI category -> names.
    """
    codes, texts = pd.factorize(roi)
    members = [frozenset(str(text).split(ROI_SEPARATOR)) for text in texts]
    counts = np.bincount(codes, minlength=len(texts))
    names = sorted({name for rois in categories.values() for name in rois})
    sizes = {name: sum(int(n) for n, m in zip(counts, members, strict=True) if name in m) for name in names}
    by_size = sorted(names, key=lambda name: (-sizes[name], name))
    keys = [tuple(name not in m for name in by_size) for m in members]
    rank = np.empty(len(texts), dtype=np.intp)
    rank[sorted(range(len(texts)), key=keys.__getitem__)] = np.arange(len(texts))
    return np.argsort(rank[codes], kind="stable")
