"""Offsets of the sessions in the full trial table, from tables and, without them, from headers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import laion_xr
from laion_xr import layout
from laion_xr.catalog import Catalog
from laion_xr.errors import IncompleteDataWarning
from laion_xr.masks import voxel_axis
from laion_xr.sources import trial_offsets


def test_trial_offsets_are_where_the_sessions_begin(tmp_path: Path) -> None:
    laion_xr.simulate(tmp_path, subjects=["sub-03"], sessions=3, trials=[7, 9, 8], grid=(9, 8, 7), stimuli=False,
                      surfaces=False, models=False)  # fmt: skip
    (tmp_path / layout.session_path("sub-03", "ses-02", "trials")).unlink()
    catalog = Catalog.scan(tmp_path).subject()
    assert trial_offsets(catalog, voxel_axis(catalog, "anatomical")) == {"ses-01": 0, "ses-02": 7, "ses-03": 16}
    with pytest.warns(IncompleteDataWarning, match="no trial table"):
        ds = xr.open_dataset(tmp_path, engine="laion_fmri")
    firsts = [int(ds.trial[np.flatnonzero(ds.session == name)[0]]) for name in ("ses-01", "ses-02", "ses-03")]
    assert firsts == [0, 7, 16]
