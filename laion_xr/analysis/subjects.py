"""Several subjects at once: selecting in all of them, and the stimuli that all of them saw."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from laion_xr.analysis.repeats import OF_STIMULUS, average_repeats
from laion_xr.analysis.select import select
from laion_xr.analysis.standardize import zscore as zscored
from laion_xr.analysis.streaming import KEPT_BYTES, LEAST_VOXELS, trial_betas, trial_labels
from laion_xr.analysis.volumes import OF_PLACE, PLACES
from laion_xr.errors import SelectionError, UnknownLabelError, describe_names
from laion_xr.indexes import index_labels, roi_categories
from laion_xr.labels import Labels
from laion_xr.lazy.array import ReadPlan, VoxelIds, plan_of, planned_array
from laion_xr.lazy.index import LabelIndex
from laion_xr.lazy.variable import lazy_variable
from laion_xr.readers.joined import JoinedReader
from laion_xr.rois import RoiQuery
from laion_xr.schema import STIMULUS, SUBJECT, TRIAL, VOXEL

# On the voxels of all subjects, where all of them have it
OF_VOXEL = ("roi", "noise_ceiling", "x", "y", "z", "i", "j", "k")
KEPT = ("long_name", "units")


def subject_nodes(tree: xr.DataTree, purpose: str) -> dict[str, xr.Dataset]:
    """Return the Dataset of each subject: of the nodes that have voxels, by the path below the tree.

    Raises
    ------
    SelectionError
        There is none.
    """
    nodes = [node for node in tree.subtree if VOXEL in node.dims and "betas" in node.data_vars]
    found = {node.relative_to(tree): node.to_dataset() for node in nodes}
    if not found:
        here = [node.relative_to(tree) for node in tree.descendants]
        raise SelectionError(
            f"{purpose} needs subjects, nodes with betas and the dim 'voxel', as xr.open_datatree(root, "
            f"engine='laion_fmri') opens them; the nodes here are {describe_names(here)}."
        )
    return found


def subject_name(path: str, ds: xr.Dataset) -> str:
    """Return the name of a subject: of its attributes, or of its node."""
    return str(ds.attrs.get(SUBJECT) or path.rpartition("/")[2])


def select_subjects(tree: xr.DataTree, **labels: Any) -> xr.DataTree:
    """Select in every subject, as `select` does in one; lazy.

    A label that some subject has and another lacks leaves no trials, or no voxels, in that one. Nodes that are no
    subjects stay as they are.

    Parameters
    ----------
    tree
        Of subjects, as `xr.open_datatree` opens them.
    **labels
        Coordinate = label, list of labels (union), or inclusive slice: any 1-D coordinate, `roi` with its grammar.

    Raises
    ------
    UnknownLabelError
        A label that no subject has.
    SelectionError
        No subjects; a coordinate that is not there; `sphere` or `mask`, which are of one subject's own space.

    Examples
    --------
    >>> tree.laion.sel(roi="FFA1", unique_or_shared="shared")  # doctest: +SKIP
    """
    nodes = subject_nodes(tree, "sel")
    for name in ("sphere", "mask"):
        if name in labels:
            raise SelectionError(
                f"{name} is a place in one subject's own space: select it in each, as in "
                "tree.laion.map(lambda ds: ds.laion.sel(...))."
            )
    queries: dict[str, dict[str, Any]] = {path: dict(labels) for path in nodes}
    for name, query in labels.items():
        if any(name not in ds.coords for ds in nodes.values()) or isinstance(query, slice):
            continue
        masks = _roi_masks(nodes, query) if name == "roi" else _masks(nodes, name, query)
        for path, mask in masks.items():
            queries[path][name] = mask
    return _replaced(tree, {path: select(ds, **queries[path]) for path, ds in nodes.items()})


def map_subjects(
    tree: xr.DataTree, function: Callable[..., Any], *args: Any, **kwargs: Any
) -> xr.DataTree | dict[str, Any]:
    """Apply a function to the Dataset of each subject.

    Parameters
    ----------
    tree
        Of subjects, as `xr.open_datatree` opens them.
    function
        Takes a Dataset, and the further arguments.

    Returns
    -------
    The tree with the new Datasets, where the function returns one for every subject (other nodes stay); else a dict,
    name of the subject -> result.

    Raises
    ------
    SelectionError
        No subjects.

    Examples
    --------
    >>> tree.laion.map(lambda ds: ds.laion.rdm())  # doctest: +SKIP
    """
    nodes = subject_nodes(tree, "map")
    results: dict[str, Any] = {path: function(ds, *args, **kwargs) for path, ds in nodes.items()}
    if all(isinstance(result, xr.Dataset) for result in results.values()):
        return _replaced(tree, results)
    return {subject_name(path, nodes[path]): result for path, result in results.items()}


def shared(tree: xr.DataTree, *, zscore_by: Any = "session", min_reps: int = 1) -> xr.Dataset:
    """Return the responses of all subjects to the stimuli that all of them saw, repeats averaged.

    Voxels of the subjects follow each other on one axis: nothing is padded. Lazy where the betas are; a selection of
    the result narrows what is read.

    Parameters
    ----------
    tree
        Of subjects, as `xr.open_datatree` opens them; select first what is not needed.
    zscore_by
        Betas are z-scored before, over all trials that are in the tree: `"session"`, `"run"`, names of coordinates, or
        None for not at all.
    min_reps
        Leave out stimuli that any subject has fewer trials of.

    Returns
    -------
    xr.Dataset
        `betas` float32 (stimulus, voxel), stimuli sorted, with `n_reps`, the least number of trials of any subject.
        On the voxels `subject`, `voxel` (ids repeat between subjects), `roi` and `noise_ceiling`, which `.sel` takes
        alone or together, and the positions, each in its subject's own space.

    Raises
    ------
    SelectionError
        No subjects, no stimulus that all of them saw so often, or two nodes of one subject.

    Examples
    --------
    >>> both = tree.laion.sel(roi="visual").laion.shared(min_reps=4)  # doctest: +SKIP
    >>> both.sel(subject="sub-01", roi="FFA1").betas  # doctest: +SKIP
    """
    nodes = subject_nodes(tree, "shared")
    names = [subject_name(path, ds) for path, ds in nodes.items()]
    if len(set(names)) < len(names):
        raise SelectionError(f"Each subject is there once, found nodes of {describe_names(names)}: keep one of each.")
    subjects = dict(zip(names, nodes.values(), strict=True))
    counts = _common(subjects, min_reps)
    averages = {}
    for name, ds in subjects.items():
        # all trials are z-scored, then those of other stimuli are left out
        ready = ds[["betas"]] if zscore_by is None else zscored(ds[["betas"]], by=zscore_by)
        of_common = np.isin(trial_labels(ready.betas, STIMULUS, "shared").astype(str), counts.index.astype(str))
        averages[name] = average_repeats(ready.isel({TRIAL: np.flatnonzero(of_common)}))
    return _joined(averages, counts)


def _common(subjects: Mapping[str, xr.Dataset], min_reps: int) -> pd.Series[int]:
    """Return the least number of trials of each stimulus that every subject saw."""
    counts = []
    for ds in subjects.values():
        values = trial_labels(trial_betas(ds, "shared"), STIMULUS, "shared")
        counts.append(pd.Series(values, dtype=object).value_counts().drop("", errors="ignore"))
    least = pd.concat(counts, axis=1, join="inner").min(axis=1)
    found = least[least >= max(min_reps, 1)]
    if not len(found):
        most = f"the most is {int(least.max())}" if len(least) else "there is none at all"
        raise SelectionError(
            f"Expected stimuli that all of {describe_names(subjects)} saw {max(min_reps, 1)} times or more, {most}: "
            "select fewer subjects, or more of their sessions."
        )
    return found.sort_index()


def _joined(averages: Mapping[str, xr.Dataset], counts: pd.Series[int]) -> xr.Dataset:
    first = next(iter(averages.values()))
    coords: dict[Any, Any] = {STIMULUS: (STIMULUS, first[STIMULUS].values, first[STIMULUS].attrs)}
    coords["n_reps"] = (STIMULUS, counts.reindex(first[STIMULUS].values).to_numpy())
    coords |= {n: (STIMULUS, first[n].values, first[n].attrs) for n in OF_STIMULUS if n in first.coords}
    sizes = [ds.sizes[VOXEL] for ds in averages.values()]
    columns: dict[str, Any] = {SUBJECT: np.repeat(np.array(list(averages), dtype=object), sizes)}
    for name in (VOXEL, *OF_VOXEL):
        if all(name in ds.coords and ds[name].dims == (VOXEL,) for ds in averages.values()):
            columns[name] = np.concatenate([ds[name].values for ds in averages.values()])
    categories = json.dumps(_categories(averages))
    # what else is said of them is of one subject: the grid, or for how many repeats the ceiling was made
    attrs = {n: {k: v for k, v in first[n].attrs.items() if k in KEPT} for n in columns if n in first.coords}
    places = {s: {k: v for k, v in ds[VOXEL].attrs.items() if k in OF_PLACE} for s, ds in averages.items()}
    attrs[VOXEL] |= {PLACES: json.dumps(places)}  # a grid and a root for each: back for the one that is selected
    attrs["roi"] = attrs.get("roi", {}) | {"roi_categories": categories}
    betas = lazy_variable((STIMULUS, VOXEL), _side_by_side(averages), first.betas.attrs)
    ds = xr.Dataset({"betas": betas}, coords=coords)
    # no index yet: the plain one of the dim would be of ids that repeat
    ds = ds.assign_coords(xr.Coordinates({n: (VOXEL, v, attrs.get(n, {})) for n, v in columns.items()}, indexes={}))
    ds.attrs = {"subjects": list(averages), "roi_categories": categories}
    return index_labels(ds)


def _side_by_side(averages: Mapping[str, xr.Dataset]) -> Any:
    """Return the betas of all subjects as one array: a lazy read where all of them are."""
    arrays = [ds.betas.data for ds in averages.values() if ds.sizes[VOXEL]]
    if not arrays:
        return next(iter(averages.values())).betas.data
    plans = [plan_of(array) for array in arrays]
    if all(_is_plain(plan) for plan in plans):
        there = [plan for plan in plans if plan is not None]
        reader = JoinedReader([plan.readers[0] for plan in there])
        starts = [0, *reader.ends[:-1].tolist()]
        ids = np.concatenate([plan.voxels.ids + start for plan, start in zip(there, starts, strict=True)])
        plan = ReadPlan((reader,), VoxelIds(ids), name="shared")
        if reader.splits_voxels:
            plan = plan.by_voxels(max(LEAST_VOXELS, KEPT_BYTES // (4 * reader.shape[0])))
        return planned_array(plan)
    if any(isinstance(array, da.Array) for array in arrays):
        return da.concatenate([da.asarray(array) for array in arrays], axis=1)
    return np.concatenate(arrays, axis=1)


def _is_plain(plan: ReadPlan | None) -> bool:
    return plan is not None and len(plan.readers) == 1 and plan.trials is None and all(plan.kept)


def _categories(subjects: Mapping[str, xr.Dataset]) -> dict[str, list[str]]:
    """Return the ROI categories of all subjects together."""
    found: dict[str, list[str]] = {}
    for ds in subjects.values():
        for category, rois in roi_categories(ds).items():
            names = found.setdefault(category, [])
            names += [roi for roi in rois if roi not in names]
    return found


def _roi_masks(nodes: Mapping[str, xr.Dataset], query: Any) -> dict[str, npt.NDArray[np.bool_]]:
    categories = _categories(nodes)
    factorized = {path: pd.factorize(ds["roi"].values) for path, ds in nodes.items()}
    # one list of memberships for all: an ROI of any subject is known in every
    texts = list(dict.fromkeys(str(text) for _, names in factorized.values() for text in names))
    chosen = dict(zip(texts, RoiQuery(texts, categories).match(query).tolist(), strict=True))
    return {
        path: np.array([chosen[str(text)] for text in names], dtype=bool)[codes]
        for path, (codes, names) in factorized.items()
    }


def _masks(nodes: Mapping[str, xr.Dataset], name: str, query: Any) -> dict[str, npt.NDArray[np.bool_]]:
    """Match a list of labels in every subject; one that only some of them have is no error."""
    items = [query] if isinstance(query, (str, bytes)) or np.ndim(query) == 0 else list(np.asarray(query, dtype=object))
    found: dict[str, npt.NDArray[np.bool_]] = {}
    missing: dict[str, dict[int, UnknownLabelError]] = {}
    for path, ds in nodes.items():
        match = _matcher(ds, name)
        missing[path] = {}
        try:
            found[path] = match(name, items)
            continue
        except UnknownLabelError:
            found[path] = np.zeros(ds[name].shape, dtype=bool)
        for number, item in enumerate(items):
            try:
                found[path] |= match(name, [item])
            except UnknownLabelError as error:
                missing[path][number] = error
    nowhere = set.intersection(*(set(numbers) for numbers in missing.values()))
    if nowhere:
        raise next(iter(missing.values()))[min(nowhere)]
    return found


def _matcher(ds: xr.Dataset, name: str) -> Callable[[str, object], npt.NDArray[np.bool_]]:
    index = ds.xindexes.get(name)
    return index.match if isinstance(index, LabelIndex) else Labels.of(ds[name].values).match


def _replaced(tree: xr.DataTree, datasets: Mapping[str, xr.Dataset]) -> xr.DataTree:
    """Return the tree with the Datasets of some of its nodes replaced."""
    found = {node.relative_to(tree): node.to_dataset() for node in tree.subtree}
    return xr.DataTree.from_dict({**found, **datasets}, name=tree.name)
