"""What a Dataset holds, at a glance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from laion_xr.indexes import roi_categories
from laion_xr.lazy.array import plan_of
from laion_xr.schema import ROI_SEPARATOR, TRIAL, VOXEL


@dataclass(frozen=True, eq=False)
class DatasetInfo:
    """What a Dataset holds.

    Attributes
    ----------
    summary
        Subject, trials, voxels, size in memory if everything was computed (bytes).
    sessions
        A row a session: trials, runs, distinct stimuli, trials of shared images.
    rois
        A row an ROI: category, voxels here, median noise ceiling (%).
    """

    summary: dict[str, object]
    sessions: pd.DataFrame
    rois: pd.DataFrame

    def __repr__(self) -> str:
        lines = [f"{key}: {value}" for key, value in self.summary.items()]
        parts = ["\n".join(lines)]
        for title, table in (("Sessions", self.sessions), ("ROIs", self.rois)):
            if len(table):
                parts.append(f"{title}\n{table.to_string()}")
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        head = "".join(f"<tr><th>{key}</th><td>{value}</td></tr>" for key, value in self.summary.items())
        tables = "".join(
            f"<h4>{title}</h4>{table.to_html()}"
            for title, table in (("Sessions", self.sessions), ("ROIs", self.rois))
            if len(table)
        )
        return f"<table>{head}</table>{tables}"


def dataset_info(obj: xr.Dataset | xr.DataArray) -> DatasetInfo:
    """Return what a Dataset or array holds; from the coordinates, reads nothing."""
    size = obj.nbytes if isinstance(obj, xr.DataArray) else sum(v.nbytes for v in obj.variables.values())
    summary: dict[str, object] = {"subject": obj.attrs.get("subject", "")} if "subject" in obj.attrs else {}
    summary |= {dim: obj.sizes[dim] for dim in (TRIAL, VOXEL) if dim in obj.sizes}
    summary["size in memory"] = f"{size / 1e9:.3g} GB"
    betas = obj.get("betas") if isinstance(obj, xr.Dataset) else obj
    plan = plan_of(betas.variable._data) if betas is not None else None
    if plan is not None:
        parts = plan.parts()[0] if len(plan.voxels) else []
        entries = [entry for reader, *_ in parts if (entry := getattr(reader, "entry", None)) is not None]
        summary["files to read"] = f"{len(entries)} ({sum(e.size for e in entries) / 1e9:.3g} GB)"
    return DatasetInfo(summary, _sessions(obj), _rois(obj))


def _sessions(obj: xr.Dataset | xr.DataArray) -> pd.DataFrame:
    if "session" not in obj.coords or obj.coords["session"].dims != (TRIAL,):
        return pd.DataFrame()
    names = [n for n in ("session", "run", "stimulus", "unique_or_shared") if n in obj.coords]
    table = pd.DataFrame({name: obj.coords[name].values for name in names})
    groups = table.groupby("session", sort=False)
    found = pd.DataFrame({"trials": groups.size()})
    if "run" in table:
        found["runs"] = groups["run"].nunique()
    if "stimulus" in table:
        found["stimuli"] = groups["stimulus"].nunique()
    if "unique_or_shared" in table:
        found["shared trials"] = groups["unique_or_shared"].agg(lambda column: int((column == "shared").sum()))
    return found


def _rois(obj: xr.Dataset | xr.DataArray) -> pd.DataFrame:
    if "roi" not in obj.coords or obj.coords["roi"].dims != (VOXEL,):
        return pd.DataFrame()
    codes, texts = pd.factorize(obj.coords["roi"].values)
    members = [set(str(text).split(ROI_SEPARATOR)) for text in texts]
    ceiling = obj.coords["noise_ceiling"].values if "noise_ceiling" in obj.coords else None
    rows = []
    for category, rois in roi_categories(obj).items():
        for roi in rois:
            inside = np.array([roi in names for names in members], dtype=bool)[codes]
            row: dict[str, object] = {"roi": roi, "category": category, "voxels": int(inside.sum())}
            if ceiling is not None:
                values = ceiling[inside]
                values = values[~np.isnan(values)]
                row["median noise ceiling"] = round(float(np.median(values)), 1) if len(values) else np.nan
            rows.append(row)
    return pd.DataFrame(rows).set_index("roi") if rows else pd.DataFrame()
