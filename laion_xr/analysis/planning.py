"""What computing a Dataset would read: bytes, files, seconds and memory, before anything is read."""

from __future__ import annotations

import heapq
import os
from dataclasses import dataclass
from typing import Any

import dask.array as da
import pandas as pd
import xarray as xr

from laion_xr import layout
from laion_xr.errors import SelectionError
from laion_xr.lazy.budget import decode_budget
from laion_xr.lazy.items import ItemPlan
from laion_xr.lazy.reads import plans_of, tasks_of
from laion_xr.readers.costs import HDF5, NIFTI, STORE, FileCost, read_cost

# Bytes a second of one core, measured with files in memory (2 cores of an AMD EPYC virtual machine, zlib-ng, Blosc
# lz4): a session of 12.2 GB inflated takes 3.6 s, and one of 1.1 GB is decoded from the store in about 1 s
DECODE_RATES = {NIFTI: 3.4e9, HDF5: 1.0e9, STORE: 1.0e9}
# What is kept of a NIfTI file, mostly the first touch of the result's memory: 2.8 s for 1.1 GB
KEEP_RATE = 0.4e9
COLUMNS = [
    *("variable", "session", "path", "source", "trials", "of_trials", "voxels"),
    *("file_bytes", "decoded_bytes", "result_bytes", "seconds"),
]


@dataclass(frozen=True, eq=False)
class ReadSummary:
    """What computing a Dataset or array would read.

    Attributes
    ----------
    files
        A row a file and variable: `variable`, `session`, `path` (below the root or the store), `source` (`nifti`,
        `hdf5`, `store`), `trials` that are kept of `of_trials`, `voxels`, `file_bytes` (read of the file),
        `decoded_bytes` (what they inflate to), `result_bytes` (what is kept of them), `seconds` (of one core).
    seconds
        Estimated time, with `cores` cores at once.
    memory_bytes
        Estimated peak: the result, and what the reads hold at once, within the decode budget.
    result_bytes
        Of what is computed; what is in memory already does not count.
    exact
        Whether everything is such a read itself. Where arrays were computed from reads, the whole of each read counts,
        also where a part would be enough: the numbers are the most that it can be.
    """

    files: pd.DataFrame
    seconds: float
    memory_bytes: int
    result_bytes: int
    cores: int
    exact: bool

    @property
    def n_files(self) -> int:
        """Number of distinct files (of a store: sessions)."""
        return len(self.files[["path", "source"]].drop_duplicates())

    @property
    def file_bytes(self) -> int:
        """Bytes that are read of files."""
        return int(self.files["file_bytes"].sum())

    @property
    def decoded_bytes(self) -> int:
        """Bytes that they inflate to."""
        return int(self.files["decoded_bytes"].sum())

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, safe for JSON."""
        rows = [{str(name): _plain(value) for name, value in row.items()} for row in self.files.to_dict("records")]
        return {**self._totals(), "files": rows}

    def _totals(self) -> dict[str, Any]:
        return {
            "n_files": self.n_files,
            "file_bytes": self.file_bytes,
            "decoded_bytes": self.decoded_bytes,
            "result_bytes": self.result_bytes,
            "memory_bytes": self.memory_bytes,
            "seconds": round(self.seconds, 3),
            "cores": self.cores,
            "exact": self.exact,
        }

    def _summary(self) -> dict[str, str]:
        most = "" if self.exact else "at most "
        return {
            "files": f"{most}{self.n_files}, {_size(self.file_bytes)} to read, {_size(self.decoded_bytes)} decoded",
            "result": _size(self.result_bytes),
            "memory": f"about {_size(self.memory_bytes)}",
            "time": f"{most}about {_time(self.seconds)} with {self.cores} core{'s' * (self.cores > 1)}",
        }

    def _table(self) -> pd.DataFrame:
        shown = self.files.drop(columns=[n for n in ("of_trials", "voxels") if n in self.files])
        shown["trials"] = [f"{n} of {of}" for n, of in zip(self.files["trials"], self.files["of_trials"], strict=True)]
        shown.insert(5, "voxels", self.files["voxels"])
        for name in ("file_bytes", "decoded_bytes", "result_bytes"):
            shown[name] = [_size(n) for n in self.files[name]]
        shown["seconds"] = [_time(s) for s in self.files["seconds"]]
        return shown.rename(columns=lambda name: str(name).removesuffix("_bytes"))

    def __repr__(self) -> str:
        lines = [f"{key:7} {value}" for key, value in self._summary().items()]
        return "\n".join([*lines, *(["", self._table().to_string(index=False)] if len(self.files) else [])])

    def _repr_html_(self) -> str:
        head = "".join(f"<tr><th>{key}</th><td>{value}</td></tr>" for key, value in self._summary().items())
        return f"<table>{head}</table>" + (self._table().to_html(index=False) if len(self.files) else "")


def read_plan(obj: xr.Dataset | xr.DataArray, *, cores: int | None = None) -> ReadSummary:
    """Return what computing a Dataset or an array would read; reads no betas.

    It sees through z-scores and averages to the files below. Of a `.nii.gz` everything up to the last trial is
    inflated, whatever the voxels; of a store only the chunks that hold some of them; of an HDF5 file, whose chunks are
    not known before it is opened, at most all. Images are not counted.

    Parameters
    ----------
    obj
        Of a Dataset, all its lazy variables count: `ds[["betas"]]` for the betas alone.
    cores
        Cores that read at once; None for those that this process may use.

    Returns
    -------
    ReadSummary
        Estimates stand on rates measured with local files and zlib-ng (`DECODE_RATES`); a network is not counted.

    Raises
    ------
    SelectionError
        `cores` below 1.
    StoreError
        A session that the store had when the dataset was opened is gone.

    Examples
    --------
    >>> ds.sel(roi="FFA1")[["betas"]].laion.plan()  # doctest: +SKIP
    """
    if cores is not None and cores < 1:
        raise SelectionError(f"cores is a number of 1 or more, or None for all that are there; found {cores!r}.")
    cores = int(cores) if cores is not None else _cores()
    arrays = (
        {str(n): v for n, v in obj.variables.items()} if isinstance(obj, xr.Dataset) else {_name(obj): obj.variable}
    )
    rows: list[dict[str, Any]] = []
    durations: list[float] = []
    held: list[int] = []
    exact, result = True, 0
    for name, variable in arrays.items():
        data = variable._data
        if not isinstance(data, da.Array):
            continue
        plans, is_read = plans_of(data)
        exact, result = exact and is_read, result + variable.nbytes
        for plan in plans:
            if isinstance(plan, ItemPlan):
                continue
            files: dict[tuple[str, str], list[FileCost]] = {}
            # tasks that fill the rows of one result need no memory beside it
            in_place = is_read and plan.blocks is None and plan.parts()[1] is None
            for task in tasks_of(plan):
                seconds, in_task = 0.0, 0 if in_place else task.result_bytes
                for reader, trials, voxels in task.reads:
                    cost = read_cost(reader, trials, voxels)
                    seconds += sum(_seconds(file) for file in cost.files)
                    in_task = max(in_task, cost.held_bytes + (0 if in_place else task.result_bytes))
                    for file in cost.files:
                        files.setdefault((file.source, file.path), []).append(file)
                durations.append(seconds)
                held.append(in_task)
            rows += [_row(name, costs) for costs in files.values()]
    largest = sum(heapq.nlargest(cores, held))
    beside = min(largest, max(decode_budget().total, max(held, default=0)))
    return ReadSummary(
        pd.DataFrame(rows, columns=COLUMNS),
        max(max(durations, default=0.0), sum(durations) / cores),
        result + beside,
        result,
        cores,
        exact,
    )


def _row(variable: str, costs: list[FileCost]) -> dict[str, Any]:
    # blocks of voxels read a file once each, all of them the same trials
    first = costs[0]
    session = next((part for part in first.path.split("/") if layout.is_session(part)), "")
    return {
        "variable": variable,
        "session": session,
        "path": first.path,
        "source": first.source,
        "trials": max(cost.n_trials for cost in costs),
        "of_trials": first.of_trials,
        "voxels": sum(cost.n_voxels for cost in costs),
        "file_bytes": sum(cost.file_bytes for cost in costs),
        "decoded_bytes": sum(cost.decoded_bytes for cost in costs),
        "result_bytes": sum(cost.picked_bytes for cost in costs),
        "seconds": sum(_seconds(cost) for cost in costs),
    }


def _seconds(cost: FileCost) -> float:
    decoding = cost.decoded_bytes / DECODE_RATES.get(cost.source, DECODE_RATES[STORE])
    return decoding + (cost.picked_bytes / KEEP_RATE if cost.source == NIFTI else 0)


def _cores() -> int:
    # those of this process, where the system tells: a batch job has fewer than the machine
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _name(array: xr.DataArray) -> str:
    return "" if array.name is None else str(array.name)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _size(n_bytes: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{int(n_bytes)} B"


def _time(seconds: float) -> str:
    if seconds < 0.1:
        return "0.1 s or less" if seconds else "0 s"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
