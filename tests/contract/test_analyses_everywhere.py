"""Every public analysis: lazy on Dask, eager on NumPy, the same on a cluster; pickled, empty, without its dims."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster

from laion_xr import analysis as a
from laion_xr.errors import ConstantVoxelsWarning, SelectionError

# Sums in another order: float32 betas, chunk by chunk
CLOSE: dict[str, Any] = {"rtol": 2e-4, "atol": 2e-5}
MODEL = "CLIP"
HALF = ["shared_12rep_LAION_cluster_1003_i0.jpg", "shared_12rep_LAION_cluster_7_i0.jpg"]


class Analysis(NamedTuple):
    """How to call one, and what it promises."""

    call: Callable[[Any], Any]  # of a Dataset, or of its betas where `of_array`
    lazy: bool = True  # the result is Dask's where the betas are
    reads: bool = False  # betas before compute
    of_array: bool = True
    lacks: str = r"'voxel'"  # in the error of what has no dim voxel; "" where that is no error
    empty: bool = True  # zero voxels give zero results, not an error


def fit(ds: xr.Dataset, **options: Any) -> xr.Dataset:
    return a.encode(ds, MODEL, alphas=[1.0, 100.0], cv=3, **options)


def bands(ds: xr.Dataset) -> dict[str, xr.DataArray]:
    features = ds[f"embedding_{MODEL}"]
    return {"a": features[:, :3], "b": features[:, 3:]}


def halves(ds: Any) -> Any:
    return a.split(ds, test=HALF)


ANALYSES = {
    "select": Analysis(lambda ds: a.select(ds, roi="FFA1", session="ses-02"), lacks=""),
    "sphere": Analysis(lambda ds: a.sphere(ds, (5, -15, -25), 4), lacks="sphere needs the dim 'voxel'"),
    "zscore": Analysis(a.zscore),
    "zscore by run and ddof": Analysis(lambda ds: a.zscore(ds, ["session", "unique_or_shared"], ddof=1)),
    "average_repeats": Analysis(lambda ds: a.average_repeats(ds, min_reps=2)),
    "average_repeats by run": Analysis(lambda ds: a.average_repeats(ds, "run", weights="response_time")),
    "zscore, average_repeats": Analysis(lambda ds: a.average_repeats(a.zscore(ds))),
    "noise_ceiling": Analysis(a.noise_ceiling),
    "noise_ceiling of names": Analysis(lambda ds: a.noise_ceiling(ds, HALF, zscore_by=None, ddof=0)),
    "reliability": Analysis(lambda ds: a.reliability(ds, method="split-half", spearman_brown=True, seed=1)),
    "drop_nonfinite": Analysis(lambda ds: a.drop_nonfinite(ds), reads=True),
    "split": Analysis(halves, lacks=""),
    "splits": Analysis(lambda ds: list(a.splits(ds, "session", overlap="test")), lacks=""),
    "split_masks": Analysis(lambda ds: a.split_masks(ds, train=HALF), lazy=False, lacks=""),
    "encode": Analysis(fit, of_array=False),
    "encode of bands": Analysis(
        lambda ds: a.encode(ds, bands(ds), alphas=[1.0, 100.0], cv=3, nested=False), of_array=False
    ),
    "encode of averages": Analysis(lambda ds: fit(a.average_repeats(ds)), of_array=False),
    "predict": Analysis(lambda ds: a.predict(fit(ds), ds[f"embedding_{MODEL}"]), of_array=False),
    "permutation_test": Analysis(
        lambda ds: a.permutation_test(ds, ds["run"], n_permutations=30, groups="trial", within="session")
    ),
    "permutation_test of predictions": Analysis(
        lambda ds: a.permutation_test(ds, a.predict(fit(ds), ds[f"embedding_{MODEL}"].fillna(0)), n_permutations=30),
        of_array=False,
    ),
    "rdm": Analysis(a.rdm),
    "rdm of averages": Analysis(lambda ds: a.rdm(a.average_repeats(ds), "euclidean")),
    "rsa": Analysis(lambda ds: a.rsa(*(a.rdm(part) for part in (ds.isel(voxel=slice(70)), ds))), lacks=""),
    "searchlight": Analysis(lambda ds: a.searchlight(ds, np.nanmean, 3)),
    "roi_masks": Analysis(a.roi_masks, lazy=False, lacks="roi_masks needs the dim 'voxel'"),
}
OF_TREE = {
    "shared": Analysis(lambda tree: tree.laion.shared()),
    "shared, rdm": Analysis(lambda tree: a.rdm(tree.laion.shared())),
    "shared, searched": Analysis(lambda tree: tree.laion.shared().sel(subject="sub-03", roi="laionventral")),
    "select_subjects": Analysis(lambda tree: a.select_subjects(tree, roi="FFA1", run=1)),
    "map_subjects": Analysis(lambda tree: a.map_subjects(tree, a.zscore)),
    "map_subjects of arrays": Analysis(lambda tree: a.map_subjects(tree, a.rdm)),
}
# What is no analysis of betas: names and plain values; what is read of the stimuli has its own contract
OTHERS = {
    *("DatasetInfo", "ReadSummary", "dataset_info", "read_plan", "geometry", "to_nifti"),
    *("list_pools", "list_splits", "split_images"),
    *("captions", "embeddings", "images", "segmentations", "stimuli_of"),
}
CASES = pytest.mark.parametrize("name", ANALYSES)


def parts(found: Any) -> list[xr.Dataset | xr.DataArray]:
    """Return the Datasets and arrays of a result, in order."""
    if isinstance(found, (xr.Dataset, xr.DataArray)):
        return [found]
    if isinstance(found, xr.DataTree):
        return [node.to_dataset() for node in found.subtree if "voxel" in node.dims]
    if isinstance(found, dict):
        return [part for _, value in sorted(found.items()) for part in parts(value)]
    return [part for value in found for part in parts(value)]


def computed(found: Any) -> list[xr.Dataset | xr.DataArray]:
    return list(dask.compute(*parts(found)))


def values_of(part: xr.Dataset | xr.DataArray) -> dict[str, xr.Variable]:
    variables = {str(n): v.variable for n, v in part.data_vars.items()} if isinstance(part, xr.Dataset) else {}
    own = {"": part.variable} if isinstance(part, xr.DataArray) else {}
    return own | variables | {f"coordinate {n}": c.variable for n, c in part.coords.items()}


def assert_same(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        mine, theirs = values_of(one), values_of(other)
        assert set(mine) == set(theirs)
        for name, variable in theirs.items():
            assert mine[name].dims == variable.dims, name
            assert mine[name].dtype == variable.dtype, name
            if variable.dtype.kind == "f":
                np.testing.assert_allclose(mine[name].values, variable.values, **CLOSE, err_msg=name)
            else:
                np.testing.assert_array_equal(mine[name].values, variable.values, err_msg=name)


def uses_dask(part: xr.Dataset | xr.DataArray) -> bool:
    data = [part.data] if isinstance(part, xr.DataArray) else [v.data for v in part.data_vars.values()]
    return any(isinstance(values, da.Array) for values in data)


def plain(ds: xr.Dataset, chunks: dict[str, int] | None = None) -> xr.Dataset:
    """Return what somebody would make who does not use the package: xarray's own variables, no label index."""
    arrays = {
        str(n): (v.dims, da.from_array(v.values, [chunks.get(str(d), -1) for d in v.dims]) if chunks else v.values)
        for n, v in ds.data_vars.items()
    }
    coords = {str(n): (c.dims, c.values, c.attrs) for n, c in ds.coords.items()}
    return xr.Dataset(arrays, coords, ds.attrs)


@pytest.fixture(scope="module")
def ds(tiny: Any) -> xr.Dataset:
    return xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", embeddings=MODEL)


@pytest.fixture(scope="module")
def loaded(ds: xr.Dataset) -> xr.Dataset:
    return ds.compute()


@pytest.fixture(scope="module")
def expected(loaded: xr.Dataset) -> Callable[[str], list[Any]]:
    """The results on NumPy, which other tests compare with other implementations."""
    found: dict[str, list[Any]] = {}

    def of(name: str) -> list[Any]:
        if name not in found:
            found[name] = parts(ANALYSES[name].call(loaded))
        return found[name]

    return of


def test_no_analysis_is_left_out() -> None:
    covered = {name.split(",")[0].split(" ")[0] for name in (*ANALYSES, *OF_TREE)}
    assert covered | OTHERS == set(a.__all__)


@CASES
def test_on_numpy_it_is_eager(name: str, expected: Callable[[str], list[Any]]) -> None:
    assert not any(uses_dask(part) for part in expected(name))


@CASES
def test_on_dask_it_is_lazy_and_the_same(
    ds: xr.Dataset, expected: Callable[[str], list[Any]], reads: Any, name: str
) -> None:
    analysis = ANALYSES[name]
    found = analysis.call(ds)
    assert bool(reads.betas) == analysis.reads
    assert all(uses_dask(part) for part in parts(found)) == analysis.lazy
    assert_same(computed(found), expected(name))


@CASES
@pytest.mark.parametrize("chunks", [None, {"trial": 9, "voxel": 40}])
def test_of_other_arrays_it_is_the_same(
    loaded: xr.Dataset, expected: Callable[[str], list[Any]], name: str, chunks: dict[str, int] | None
) -> None:
    found = ANALYSES[name].call(plain(loaded, chunks))
    assert any(uses_dask(part) for part in parts(found)) == (chunks is not None and ANALYSES[name].lazy)
    assert_same(computed(found), expected(name))


@pytest.mark.parametrize("name", [name for name, analysis in ANALYSES.items() if analysis.of_array])
def test_of_an_array_it_is_the_same(ds: xr.Dataset, expected: Callable[[str], list[Any]], name: str) -> None:
    for part, whole in zip(computed(ANALYSES[name].call(ds.betas)), expected(name), strict=True):
        of_whole = whole["betas"] if isinstance(part, xr.DataArray) and isinstance(whole, xr.Dataset) else whole
        assert_same([part], [of_whole])


@CASES
def test_its_result_pickles(ds: xr.Dataset, expected: Callable[[str], list[Any]], name: str) -> None:
    found = pickle.loads(pickle.dumps(parts(ANALYSES[name].call(ds))))
    assert_same(computed(found), expected(name))


@CASES
def test_an_roi_without_voxels(ds: xr.Dataset, loaded: xr.Dataset, name: str) -> None:
    lazy, eager = (computed(ANALYSES[name].call(whole.sel(roi="EBA"))) for whole in (ds, loaded))
    assert_same(lazy, eager)
    assert all(0 in part.sizes.values() or "voxel" not in part.dims for part in eager)


@CASES
def test_what_it_is_given_stays_as_it_was(loaded: xr.Dataset, name: str) -> None:
    before = loaded.copy(deep=True)
    ANALYSES[name].call(loaded)
    assert loaded.identical(before)


# Of one voxel only: the others do not count
ALONE = [name for name in ANALYSES if name.split(" ")[0] not in ("drop_nonfinite", "rdm", "rsa", "searchlight")]
TOGETHER = ("p_fdr", "p_max")


@pytest.mark.parametrize("of_dask", [False, True])
@pytest.mark.parametrize("name", ALONE)
def test_constant_and_missing_voxels_change_no_other(
    loaded: xr.Dataset, expected: Callable[[str], list[Any]], name: str, of_dask: bool
) -> None:
    values = loaded.betas.values.copy()
    values[:, 3], values[:, 90] = 7.3, np.nan
    values[:, 5] = 0
    spoiled = loaded.assign(betas=(("trial", "voxel"), da.from_array(values, (9, 40)) if of_dask else values))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = computed(ANALYSES[name].call(spoiled))
    assert {w.category for w in caught} <= {ConstantVoxelsWarning}
    assert len(caught) <= 1
    bad = loaded.voxel.values[[3, 5, 90]]
    for part, whole in zip(found, expected(name), strict=True):
        mine, theirs = (p.isel(voxel=~np.isin(p.voxel, bad)) if "voxel" in p.dims else p for p in (part, whole))
        if isinstance(mine, xr.Dataset) and isinstance(theirs, xr.Dataset):
            kept = [n for n, v in mine.data_vars.items() if "voxel" in v.dims and n not in TOGETHER]
            mine, theirs = (p[kept].drop_dims("region", errors="ignore") for p in (mine, theirs))
        assert_same([mine], [theirs])


@pytest.mark.parametrize("of_dask", [False, True])
@pytest.mark.parametrize(
    "name",
    ["noise_ceiling", "noise_ceiling of names", "reliability", "encode", "encode of averages", "permutation_test"],
)
def test_constant_and_missing_voxels_have_no_score(loaded: xr.Dataset, name: str, of_dask: bool) -> None:
    values = loaded.betas.values.copy()
    values[:, [3, 5, 90]] = 7.3, 0, np.nan
    spoiled = loaded.assign(betas=(("trial", "voxel"), da.from_array(values, (9, 40)) if of_dask else values))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantVoxelsWarning)
        (found,) = computed(ANALYSES[name].call(spoiled))
    for variable in found.data_vars.values() if isinstance(found, xr.Dataset) else [found]:
        if "voxel" in variable.dims and variable.name != "ceiling":  # that is of a map
            assert np.isnan(variable.isel(voxel=[3, 5, 90])).all(), variable.name


def test_reliability_without_variance_or_zscores(loaded: xr.Dataset) -> None:
    constant = loaded.betas.copy(data=np.full(loaded.betas.shape, 7.3, np.float32))
    assert np.isnan(a.reliability(constant, zscore_by=None)).all()
    assert np.isnan(a.noise_ceiling(constant, zscore_by=None)).all()


@pytest.mark.parametrize("name", ["rdm", "rdm of averages"])
def test_patterns_are_of_the_voxels_that_are_there(loaded: xr.Dataset, name: str) -> None:
    whole = loaded.assign(betas=loaded.betas.fillna(0))
    holes = whole.betas.values.copy()
    holes[:, 90], holes[4, 7] = np.nan, np.nan
    few = ANALYSES[name].call(whole.drop_isel(voxel=[7, 90] if name == "rdm" else [90]))
    spoiled = whole.assign(betas=(("trial", "voxel"), holes))
    if name != "rdm":
        spoiled = spoiled.isel(trial=np.arange(46) != 4)
        few = ANALYSES[name].call(whole.drop_isel(voxel=90).isel(trial=np.arange(46) != 4))
    assert_same(parts(ANALYSES[name].call(spoiled)), parts(few))


def test_a_searchlight_hands_on_what_is_missing(loaded: xr.Dataset) -> None:
    values = np.ones(loaded.betas.shape, np.float32)
    values[:, 90] = np.nan
    spoiled = loaded.assign(betas=(("trial", "voxel"), values))
    found = a.searchlight(spoiled, np.mean, 3)
    near = a.sphere(loaded, int(loaded.voxel[90]), 3).voxel
    np.testing.assert_array_equal(np.isnan(found), np.isin(loaded.voxel, near))


@pytest.mark.parametrize("name", [name for name, analysis in ANALYSES.items() if analysis.lacks])
def test_a_missing_dim_is_named(ds: xr.Dataset, loaded: xr.Dataset, name: str) -> None:
    for whole in (ds, loaded):
        one = whole.isel(voxel=0)
        for obj in (one, one["betas"]) if ANALYSES[name].of_array else (one,):
            with pytest.raises(SelectionError, match=ANALYSES[name].lacks):
                ANALYSES[name].call(obj)


@pytest.mark.parametrize("name", ["split", "splits", "split_masks"])
def test_a_split_names_the_coordinate_and_dim(ds: xr.Dataset, name: str) -> None:
    with pytest.raises(SelectionError, match=r"coordinate 'stimulus' .* on the dim 'trial' or 'stimulus'; found"):
        ANALYSES[name].call(ds.isel(trial=0))


@pytest.fixture(scope="module")
def tree(tiny: Any) -> xr.DataTree:
    return xr.open_datatree(tiny.root, engine="laion_fmri")


def of_numpy(tree: xr.DataTree, name: str) -> list[Any]:
    return parts(OF_TREE[name].call(tree.compute()))


@pytest.mark.parametrize("name", OF_TREE)
def test_subjects_on_dask_and_numpy(tree: xr.DataTree, reads: Any, name: str) -> None:
    found = OF_TREE[name].call(tree)
    assert not reads.betas
    assert all(uses_dask(part) for part in parts(found))
    eager = of_numpy(tree, name)
    assert not any(uses_dask(part) for part in eager)
    assert_same(computed(found), eager)
    assert_same(computed(pickle.loads(pickle.dumps(parts(found)))), eager)


@pytest.mark.parametrize("name", OF_TREE)
def test_subjects_without_voxels(tree: xr.DataTree, name: str) -> None:
    empty = tree.laion.sel(roi="EBA")
    assert_same(computed(OF_TREE[name].call(empty)), of_numpy(empty, name))


def test_subjects_without_their_dims(tree: xr.DataTree) -> None:
    one = tree.laion.map(lambda ds: ds.isel(trial=0))
    with pytest.raises(SelectionError, match="shared needs the dims 'trial' and 'voxel', found"):
        one.laion.shared()
    with pytest.raises(SelectionError, match="needs subjects, nodes with betas and the dim 'voxel'"):
        tree.laion.map(lambda ds: ds.isel(voxel=0)).laion.shared()


# files of results


def written(obj: xr.Dataset, path: Path, kind: str) -> xr.Dataset:
    if kind == "zarr":
        obj.to_zarr(path)
        return xr.open_zarr(path)
    obj.to_netcdf(path, engine="h5netcdf")
    return xr.open_dataset(path, engine="h5netcdf")


RESULTS = ["encode", "encode of bands", "average_repeats", "permutation_test", "shared", "shared, searched"]


@pytest.mark.parametrize("kind", ["zarr", "netcdf"])
@pytest.mark.parametrize("state", ["lazy", "computed"])
@pytest.mark.parametrize("name", RESULTS)
def test_results_come_back_from_files(
    ds: xr.Dataset, tree: xr.DataTree, tmp_path: Path, name: str, state: str, kind: str
) -> None:
    (found,) = parts(ANALYSES[name].call(ds) if name in ANALYSES else OF_TREE[name].call(tree))
    result = found.compute()
    back = written(found if state == "lazy" else result, tmp_path / "result", kind).laion.index_labels()
    xr.testing.assert_identical(back.load(), result)
    assert set(back.xindexes) == set(result.xindexes)
    if "roi" in result.xindexes:
        assert back.sel(roi="face").identical(result.sel(roi="face"))


# a cluster of two processes


@pytest.fixture(scope="module")
def client(two_processes: LocalCluster) -> Iterator[Client]:
    with Client(two_processes, set_as_default=False) as client:
        yield client


@pytest.mark.parametrize("name", [*ANALYSES, *OF_TREE])
def test_on_a_cluster_it_is_the_same(
    client: Client, ds: xr.Dataset, tree: xr.DataTree, expected: Callable[[str], list[Any]], name: str
) -> None:
    eager = expected(name) if name in ANALYSES else of_numpy(tree, name)
    with dask.config.set(scheduler=client):
        found = computed(ANALYSES[name].call(ds) if name in ANALYSES else OF_TREE[name].call(tree))
    assert_same(found, eager)
