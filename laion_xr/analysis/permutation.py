"""Permutation tests of predictions, in each voxel and each ROI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from dask.delayed import delayed

from laion_xr.analysis.blocks import memory_blocks, voxel_coordinates
from laion_xr.analysis.features import STIMULUS, betas_of, matched_rows, row_groups
from laion_xr.analysis.moments import Float64, FloatArray
from laion_xr.analysis.shuffles import Units, at_least, correlations, false_discovery
from laion_xr.errors import SelectionError, unknown_label
from laion_xr.indexes import roi_categories, voxel_keys
from laion_xr.schema import ROI_SEPARATOR, TRIAL, VOXEL

REGION = "region"
ALTERNATIVES = ("greater", "less", "two-sided")


class Tested(NamedTuple):
    """A block of voxels: r and how many shuffles reach it, the largest of each shuffle, sums of r by ROI."""

    r: Float64  # (voxel,)
    reached: npt.NDArray[np.int64]  # (voxel,)
    largest: Float64  # (shuffle,)
    roi_sums: Float64  # (1 + shuffle, region), the observed first
    roi_sizes: npt.NDArray[np.int64]  # (region,), of voxels that have an r


def permutation_test(
    obj: xr.Dataset | xr.DataArray,
    predictor: xr.DataArray | str,
    *,
    n_permutations: int = 1000,
    within: Any = None,
    groups: Any = None,
    alternative: str = "greater",
    rois: Sequence[str] | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Test the correlation of betas with a predictor by shuffling which image each prediction is for.

    All shuffles of a block of voxels are matrix products, and each beta is read once. Lazy where the betas are.

    Parameters
    ----------
    obj
        A Dataset with `betas`, or betas: (trial, voxel) or (stimulus, voxel). Not those that a model was fitted on.
    predictor
        One number a row, for all voxels, or predictions with a dim `voxel` (`predict`): by trial id or by the image's
        name, as in `encode`; or a coordinate's name. Voxels whose predictions are all NaN are NaN.
    n_permutations
        Number of shuffles.
    within
        A coordinate's name (`"session"`) or an array (row,): labels are shuffled within each of its values only.
    groups
        Rows that move together: a coordinate's name or an array (row,). The trials of an image where left out.
    alternative
        `"greater"`: r is larger than by chance; `"less"`, `"two-sided"`.
    rois
        ROIs to test, of those in the coordinate `roi`; all where left out, `[]` for none.
    seed
        A shuffle depends on it and on its number only: 1,000 shuffles are the first of 10,000.

    Returns
    -------
    xr.Dataset
        On `voxel`: `r`; `p`; `p_fdr`, adjusted for the false discovery rate over voxels (Benjamini-Hochberg); `p_max`,
        for the family-wise error, from the largest statistic of each shuffle. On `region`: `roi_r`, the mean of r over
        the ROI's voxels, `roi_size`, `roi_p`, `roi_p_fdr`. On `permutation`: `null_max`. float64. Voxels that
        are constant or missing are NaN and count nowhere; a missing beta is left out for its voxel.

    Raises
    ------
    SelectionError
        Other dims, fewer than two images to shuffle, a predictor that differs between rows that move together.
    UnknownLabelError
        An ROI that is not there, or images without a prediction.

    Notes
    -----
    p = (1 + number of shuffles that reach the statistic) / (1 + number of shuffles): a p-value from shuffles is never
    zero (Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9, 39). Largest statistic: Nichols & Holmes (2002, Human
    Brain Mapping 15, 1-25).

    Examples
    --------
    >>> permutation_test(test, predict(fit, embeddings), within="session")  # doctest: +SKIP
    """
    betas, row = betas_of(obj, "permutation_test")
    if alternative not in ALTERNATIVES:
        raise SelectionError(f"alternative is one of {', '.join(ALTERNATIVES)}, found {alternative!r}.")
    if int(n_permutations) != n_permutations or n_permutations < 1:
        raise SelectionError(f"Expected 1 shuffle or more, found n_permutations={n_permutations!r}.")
    strata = np.zeros(betas.sizes[row], np.intp) if within is None else row_groups(betas, row, within, "within")
    units = Units.of(row_groups(betas, row, groups), strata, seed, int(n_permutations))
    if not len(units.strata) or np.bincount(units.strata).max() < 2:
        where = "" if within is None else " within each of its values"
        raise SelectionError(
            f"Expected two images or more to shuffle{where}, found {len(units.strata)}: give more rows or other groups."
        )
    values = _values_of(predictor, obj, betas, row)
    names, members = _regions(betas, rois)
    found = xr.Dataset(coords=voxel_coordinates(betas)).assign_coords({REGION: names})
    results = _test(betas, values, units, members, alternative)
    shapes = {
        **dict.fromkeys(("r", "p", "p_fdr", "p_max"), (VOXEL, betas.sizes[VOXEL])),
        **dict.fromkeys(("roi_r", "roi_size", "roi_p", "roi_p_fdr"), (REGION, len(names))),
        "null_max": ("permutation", units.n_shuffles),
    }
    for i, (name, (dim, size)) in enumerate(shapes.items()):
        data = results[i] if isinstance(results, tuple) else da.from_delayed(results[i], (size,), np.float64)
        found[name] = (dim, data, {"long_name": LONG_NAMES[name]})
    found.attrs = {"n_permutations": units.n_shuffles, "alternative": alternative, "seed": seed}
    return found


LONG_NAMES = {
    "r": "correlation of predictor and betas",
    "p": "p-value by permutation",
    "p_fdr": "p-value adjusted for the false discovery rate over voxels",
    "p_max": "p-value adjusted for the family-wise error, by the largest statistic",
    "roi_r": "mean correlation over the voxels of an ROI",
    "roi_size": "voxels of the ROI that have a correlation",
    "roi_p": "p-value of the mean correlation by permutation",
    "roi_p_fdr": "p-value adjusted for the false discovery rate over ROIs",
    "null_max": "largest statistic of each shuffle",
}


def _values_of(predictor: xr.DataArray | str, obj: xr.Dataset | xr.DataArray, betas: xr.DataArray, row: str) -> Any:
    """Return the predictor as (row, voxel) or (row, 1)."""
    if isinstance(predictor, str):
        there = [str(n) for n in obj.coords] + ([str(n) for n in obj] if isinstance(obj, xr.Dataset) else [])
        if predictor not in there:
            raise unknown_label("predictor", predictor, there)
        predictor = obj[predictor]
    dims = getattr(predictor, "dims", None)
    if dims is None or set(dims) - {TRIAL, STIMULUS, VOXEL}:
        raise SelectionError(
            "Expected a predictor that is a DataArray with the dim 'trial' or 'stimulus', and 'voxel' where it differs "
            f"between voxels, found {dims or type(predictor).__name__}: give one number a row, or what predict returns."
        )
    if VOXEL in dims and VOXEL in predictor.coords and VOXEL in betas.coords:
        known = pd.Index(voxel_keys(predictor))
        if not known.is_unique:
            raise SelectionError(
                "Expected one prediction a voxel, found ids that repeat: keep the coordinate subject, or drop repeats."
            )
        where = known.get_indexer(pd.Index(voxel_keys(betas)))
        if (where < 0).any():
            raise SelectionError(f"Expected predictions for every voxel, found none for {int((where < 0).sum())}.")
        if not np.array_equal(where, np.arange(predictor.sizes[VOXEL])):
            predictor = predictor.isel({VOXEL: where})
    values = matched_rows(predictor, betas, row).data
    if values.shape[1] not in (1, betas.sizes[VOXEL]):
        raise SelectionError(f"Expected predictions for {betas.sizes[VOXEL]} voxels, found {values.shape[1]}.")
    return values


def _regions(betas: xr.DataArray, rois: Sequence[str] | None) -> tuple[npt.NDArray[np.object_], FloatArray]:
    """Return names of ROIs and who is in them: float32 (voxel, region)."""
    if "roi" not in betas.coords or betas.coords["roi"].dims != (VOXEL,):
        if rois:
            raise SelectionError("rois needs the coordinate roi on voxel, which is not there; leave rois out.")
        return np.zeros(0, dtype=object), np.zeros((betas.sizes[VOXEL], 0), np.float32)
    labels = [str(label).split(ROI_SEPARATOR) for label in betas.coords["roi"].values]
    there = sorted({name for names in labels for name in names if name})
    wanted = there if rois is None else list(rois)
    for name in wanted:
        if name not in there and name not in _known_rois(betas):
            raise unknown_label("ROI", name, [*there, *_known_rois(betas)])
    where = {name: i for i, name in enumerate(wanted)}
    members = np.zeros((len(labels), len(wanted)), np.float32)
    for v, names in enumerate(labels):
        for name in names:
            if name in where:
                members[v, where[name]] = 1
    return np.array(wanted, dtype=object), members


def _known_rois(betas: xr.DataArray) -> list[str]:
    return [name for names in roi_categories(betas).values() for name in names]


def _block(
    betas: FloatArray, predictor: FloatArray, units: Units, members: FloatArray, start: int, alternative: str
) -> Tested:
    first = predictor[units.first_rows]
    same = np.array_equal(first[units.of_row], predictor, equal_nan=True)
    unfitted = np.asarray(np.isnan(first).all(axis=0))
    if unfitted.size == betas.shape[1] and unfitted.any():  # voxels that the model could not be fitted in
        betas, first = np.where(unfitted, np.nan, betas), np.where(unfitted, 0, first)
    if not same or not np.isfinite(first).all():
        expected = "numbers" if same else "the same for all trials of an image, which move together"
        without = int((~np.isfinite(first)).any(axis=1).sum())
        found = f"NaN for {without} of {len(first)} images" if same else "others"
        raise SelectionError(
            f"Expected a predictor that is {expected}, found {found}: select the rows that have one, or say what moves "
            "together (groups=)."
        )
    members = members[start : start + betas.shape[1]]
    r, shuffled = correlations(betas, first, units)
    there: Any = np.isfinite(r)
    if there.all():
        there = slice(None)  # a view, where a mask copies every batch
    reached = np.zeros(len(r), np.int64)
    largest = np.full(units.n_shuffles, -np.inf)
    sums = np.zeros((1 + units.n_shuffles, members.shape[1]))
    sums[0] = r[there] @ members[there]
    observed = _statistic(r, alternative)
    for begin, null in shuffled():
        end = begin + len(null)
        sums[1 + begin : 1 + end] = null[:, there] @ members[there]
        null = _statistic(null, alternative)
        reached += at_least(null, observed)
        largest[begin:end] = np.fmax.reduce(null[:, there], axis=1, initial=-np.inf)
    return Tested(r, reached, largest, sums, members[there].sum(axis=0).astype(np.int64))


def _statistic(r: Any, alternative: str) -> Any:
    return {"greater": np.positive, "less": np.negative, "two-sided": np.abs}[alternative](r)


def _combine(blocks: Sequence[Tested], n_shuffles: int, precision: type, alternative: str) -> tuple[FloatArray, ...]:
    r = np.concatenate([b.r for b in blocks])
    reached = np.concatenate([b.reached for b in blocks])
    p = np.where(np.isnan(r), np.nan, (1 + reached) / (1 + n_shuffles))
    largest = np.max([b.largest for b in blocks], axis=0)
    p_max = _reached(np.asarray(largest, precision), _statistic(r, alternative))
    sizes = sum((b.roi_sizes for b in blocks[1:]), start=blocks[0].roi_sizes)
    sums = sum((b.roi_sums for b in blocks[1:]), start=blocks[0].roi_sums)
    means = sums / np.where(sizes, sizes, np.nan)
    statistic = _statistic(means, alternative)
    roi_p = np.array([_reached(null[1:].astype(precision), null[:1])[0] for null in statistic.T])
    roi_p = roi_p.reshape(len(sizes))
    largest = np.where(np.isfinite(largest), largest, np.nan)
    by_roi = (means[0], sizes.astype(np.float64), roi_p, false_discovery(roi_p))
    return (r, p, false_discovery(p), p_max, *by_roi, largest)


def _reached(null: FloatArray, observed: Float64) -> Float64:
    """Return p-values of statistics against one distribution."""
    tolerance = 64 * np.finfo(null.dtype).eps
    ordered = np.sort(null)
    count = len(null) - np.searchsorted(ordered, observed - tolerance, side="left")
    return np.where(np.isnan(observed), np.nan, (1 + count) / (1 + len(null)))


def _test(betas: xr.DataArray, predictor: Any, units: Units, members: FloatArray, alternative: str) -> Any:
    """Return the results in the order of the Dataset: a tuple of NumPy arrays, or a delayed one."""
    precision = np.float64 if betas.dtype == np.float64 else np.float32
    blocks = memory_blocks(betas, whole_rows=True)
    lazy = isinstance(blocks, da.Array) or isinstance(predictor, da.Array)
    one = predictor.shape[1] == 1
    widths = blocks.chunks[1] if isinstance(blocks, da.Array) else [block.shape[1] for block in blocks]
    starts = np.cumsum([0, *widths]).tolist()
    parts = list(blocks.to_delayed(optimize_graph=False)[0]) if isinstance(blocks, da.Array) else blocks
    block = delayed(_block) if lazy else _block
    combine = delayed(_combine, nout=9) if lazy else _combine
    n_shuffles = units.n_shuffles
    units, members = (delayed(units), delayed(members)) if lazy else (units, members)
    tested = [
        block(part, predictor if one else predictor[:, a:b], units, members, a, alternative)
        for part, a, b in zip(parts, starts[:-1], starts[1:], strict=True)
    ]
    return combine(tested, n_shuffles, precision, alternative)
