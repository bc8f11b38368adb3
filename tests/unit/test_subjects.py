"""Several subjects: selecting in all, mapping, and what all of them saw, against NumPy on what was written."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr

import laion_xr
from laion_xr.analysis import map_subjects, permutation_test, select_subjects, shared, zscore
from laion_xr.errors import SelectionError, UnknownLabelError

BOTH = ["sub-01", "sub-03"]


@pytest.fixture
def tree(tiny) -> xr.DataTree:
    return xr.open_datatree(tiny.root, engine="laion_fmri")


def z(values: np.ndarray) -> np.ndarray:
    return (values - np.nanmean(values, axis=0)) / np.nanstd(values, axis=0)


def expected(tiny, subject: str, names: list[str], by: str | None = "session") -> np.ndarray:
    """Means of z-scores, (stimulus, voxel), by hand."""
    parts = [tiny.matrix(subject, [s]) for s in tiny.sessions(subject)]
    if by == "session":
        parts = [z(part) for part in parts]
    values, labels = np.concatenate(parts), tiny.table(subject).label.to_numpy()
    picked = [values[labels == name] for name in names]
    with np.errstate(invalid="ignore"):  # NaN in every trial of a stimulus
        return np.array([np.nansum(p, axis=0) / np.sum(~np.isnan(p), axis=0) for p in picked])


def common(tiny, least: int = 1) -> list[str]:
    counts = [tiny.table(s).label.value_counts() for s in BOTH]
    return sorted(n for n in counts[0].index if all(c.get(n, 0) >= least for c in counts))


@pytest.mark.parametrize("by", ["session", None])
def test_shared(tree: xr.DataTree, tiny, reads: Any, by: str | None) -> None:
    found = tree.laion.shared(zscore_by=by)
    assert reads.betas == []
    names = common(tiny)
    assert found.betas.dims == ("stimulus", "voxel")
    assert isinstance(found.betas.data, da.Array)
    assert found.stimulus.values.tolist() == names
    assert found.subject.values.tolist() == ["sub-01"] * 151 + ["sub-03"] * 151
    np.testing.assert_array_equal(found.voxel, [*tiny.voxels, *tiny.voxels])
    values = np.concatenate([expected(tiny, s, names, by) for s in BOTH], axis=1)
    np.testing.assert_allclose(found.betas.values, values, rtol=2e-4, atol=2e-5)
    assert found.betas.dtype == np.float32
    assert len(reads.betas) == 5  # each session of each subject once
    counts = np.array([[(tiny.table(s).label == n).sum() for n in names] for s in BOTH])
    np.testing.assert_array_equal(found.n_reps, counts.min(axis=0))


def test_shared_of_what_is_in_memory(tree: xr.DataTree, tiny) -> None:
    names = common(tiny)
    values = np.concatenate([expected(tiny, s, names) for s in BOTH], axis=1)
    eager = shared(tree.laion.map(lambda ds: ds[["betas"]].compute()))
    assert isinstance(eager.betas.data, np.ndarray)
    np.testing.assert_allclose(eager.betas, values, rtol=2e-4, atol=2e-5)
    derived = shared(tree.laion.map(lambda ds: ds[["betas"]] * 3), zscore_by="session")
    assert isinstance(derived.betas.data, da.Array)
    np.testing.assert_allclose(derived.betas, values, rtol=2e-4, atol=2e-5)


def test_selection_narrows_what_is_read(tree: xr.DataTree, tiny, reads: Any) -> None:
    found = tree.laion.shared()
    whole = found.betas.compute()
    reads.clear()
    part = found.sel(subject="sub-03", roi="FFA1")
    inside = tiny.members("FFA1")
    np.testing.assert_allclose(part.betas, whole[:, 151:][:, inside], rtol=1e-4, atol=1e-6)
    assert {r.path.split("/")[2] for r in reads.betas} == {"sub-03"}
    assert {len(r.voxels) for r in reads.betas} == {int(inside.sum())}
    reads.clear()
    mixed = found.betas.isel(voxel=[200, 3, 151, 150], stimulus=[1, 0])
    np.testing.assert_allclose(mixed, whole.values[[1, 0]][:, [200, 3, 151, 150]], rtol=1e-4, atol=1e-6)
    assert sorted(r.path for r in reads.betas) == sorted(mixed.laion.plan().files.path)


def test_labels_of_the_voxels(tree: xr.DataTree, tiny) -> None:
    found = tree.laion.shared().compute()
    voxel = int(tiny.voxels[4])
    assert found.sel(voxel=voxel).subject.values.tolist() == BOTH
    one = found.sel(subject="sub-03").sel(voxel=[voxel])
    np.testing.assert_array_equal(one.betas[:, 0], found.betas[:, 151 + 4])
    xr.testing.assert_identical(found.laion.sel(subject="sub-03", voxel=[voxel]), one)
    with pytest.raises(ValueError, match="more than one index"):  # xarray takes one index of a dim a call
        found.sel(subject="sub-03", voxel=[voxel])
    both = [tiny.members("PPA", subject=s) for s in BOTH]
    np.testing.assert_array_equal(found.sel(roi="PPA").betas, found.betas.values[:, np.concatenate(both)])
    ceilings = [tiny.in_mask(tiny.subject_maps[s, "noise_ceiling_12rep"]) for s in BOTH]
    assert found.sel(noise_ceiling=slice(30, None)).sizes["voxel"] == (np.concatenate(ceilings) >= 30).sum()
    assert found.sel(roi="EBA").sizes["voxel"] == 0  # exists, and is empty
    with pytest.raises(UnknownLabelError, match=r"subject 'sub-02' does not exist here. Did you mean"):
        found.sel(subject="sub-02")


def test_ordinary_operations(tree: xr.DataTree, tmp_path: Path) -> None:
    found = tree.laion.shared()
    values = found.betas.values
    np.testing.assert_allclose(found.betas.mean("stimulus"), np.nanmean(values, axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(found)).betas, values)
    mean = found.betas.groupby("subject").mean()
    np.testing.assert_allclose(mean.sel(subject="sub-03"), np.nanmean(values[:, 151:], axis=1), rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal((found.betas - found.betas.isel(stimulus=0)).values, values - values[0])
    np.testing.assert_allclose(found.where(found.subject == "sub-01", drop=True).betas, values[:, :151])
    assert "sub-03" in repr(found)
    found.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    np.testing.assert_array_equal(xr.open_dataset(tmp_path / "a.nc", engine="h5netcdf").betas, values)


def test_variables_are_assigned(tree: xr.DataTree, tiny) -> None:
    found = tree.laion.shared()
    twice = found.assign(twice=found.betas * 2, average=found.betas.mean("stimulus"))
    twice["again"] = twice.twice.sel(roi="all")
    np.testing.assert_array_equal(twice.twice, found.betas.values * 2)
    assert twice.sel(subject="sub-03", roi="FFA1").average.sizes["voxel"] == tiny.members("FFA1").sum()
    bare = found.drop_attrs(deep=True)
    np.testing.assert_array_equal(bare.sel(subject="sub-03").betas, found.betas.values[:, 151:])
    some = found.betas.isel(voxel=slice(100, 200))
    np.testing.assert_array_equal((found.betas + some).values, found.betas.values[:, 100:200] * 2)


def test_labels_are_restored(tree: xr.DataTree, tmp_path: Path) -> None:
    found = tree.laion.shared().compute()
    names = ["subject", "voxel", "roi", "noise_ceiling"]
    plain = found.drop_indexes(names)
    assert plain.laion.index_labels().identical(found)
    assert (
        plain.betas.laion.index_labels()
        .sel(subject="sub-03", roi="FFA1")
        .identical(found.betas.sel(subject="sub-03", roi="FFA1"))
    )
    one = map_subjects(tree, lambda ds: ds)["sub-03"].to_dataset()
    alone = xr.DataTree.from_dict({"/sub-03": one}).laion.shared().compute()
    alone.to_netcdf(tmp_path / "alone.nc", engine="h5netcdf")
    back = xr.open_dataset(tmp_path / "alone.nc", engine="h5netcdf").load().laion.index_labels()
    assert back.sel(subject="sub-03", roi="PPA").betas.equals(alone.sel(subject="sub-03", roi="PPA").betas)
    assert found.x.attrs["units"] == "mm"


def test_voxels_align_by_subject_and_id(tree: xr.DataTree, tiny) -> None:
    found = tree.laion.shared().compute()
    only = tree.laion.map(lambda ds: ds.sel(roi="PPA") if ds.attrs["subject"] == "sub-01" else ds)
    part = only.laion.shared().compute()
    inside = np.r_[tiny.members("PPA", subject="sub-01"), np.ones(151, bool)]
    difference = part.betas - found.betas  # of the voxels that both have
    assert difference.voxel.values.tolist() == part.voxel.values.tolist() == found.voxel.values[inside].tolist()
    np.testing.assert_array_equal(difference, np.where(np.isnan(part.betas), np.nan, 0))


def test_predictions_for_voxels_of_several_subjects(tree: xr.DataTree) -> None:
    found = tree.laion.shared().compute()
    whole = found.isel(voxel=np.flatnonzero(np.isfinite(found.betas).all("stimulus")))
    order = np.random.default_rng(0).permutation(whole.sizes["voxel"])
    for predictor in (whole.betas[:, order], whole.drop_indexes(["subject", "voxel", "roi", "noise_ceiling"]).betas):
        r = permutation_test(whole, predictor, n_permutations=5).r
        np.testing.assert_allclose(r, np.ones(r.size), rtol=1e-5)
    ids_only = whole.betas.drop_indexes(["subject", "voxel", "roi", "noise_ceiling"]).drop_vars("subject")
    with pytest.raises(SelectionError, match="one prediction a voxel, found ids that repeat: keep the coordinate subj"):
        permutation_test(whole, ids_only)


def test_shared_from_stores(tiny, tmp_path: Path) -> None:
    laion_xr.ingest(tiny.root, tmp_path / "store", progress=False)
    tree = xr.open_datatree(tiny.root, engine="laion_fmri", store=tmp_path / "store")
    names = common(tiny)
    found = tree.laion.shared()
    values = np.concatenate([expected(tiny, s, names) for s in BOTH], axis=1)
    np.testing.assert_allclose(found.betas, values, rtol=2e-4, atol=2e-5)
    assert found.betas.data.numblocks == (1, 2)  # no task reads two subjects
    assert set(found.laion.plan().files.source) == {"store"}


def test_plan_sees_through(tree: xr.DataTree, reads: Any) -> None:
    found = tree.laion.shared().sel(roi="FFA1")
    plan = found.laion.plan()
    assert reads.betas == []
    found.compute()
    asked = sorted(zip(plan.files.path, plan.files.voxels, plan.files.trials, strict=True))
    assert asked == [(r.path, len(r.voxels), len(r.trials)) for r in reads.betas]


def test_min_reps(tree: xr.DataTree, tiny) -> None:
    least = 2
    assert 0 < len(common(tiny, least)) < len(common(tiny))
    assert shared(tree, min_reps=least).stimulus.values.tolist() == common(tiny, least)
    with pytest.raises(SelectionError, match=r"Expected stimuli that all of sub-01, sub-03 saw 99 times or more, the"):
        shared(tree, min_reps=99)


def test_nothing_shared(tree: xr.DataTree) -> None:
    unique = tree.laion.sel(unique_or_shared="unique")
    with pytest.raises(SelectionError, match="there is none at all: select fewer subjects, or more"):
        unique.laion.shared()
    with pytest.raises(SelectionError, match="there is none at all"):
        tree.laion.map(lambda ds: ds.isel(trial=[])).laion.shared()


def test_subject_without_the_roi(tree: xr.DataTree, tiny) -> None:
    cut = tree.laion.map(lambda ds: ds.sel(roi="EBA") if ds.attrs["subject"] == "sub-01" else ds.sel(roi="PPA"))
    found = cut.laion.shared()
    inside = tiny.members("PPA")
    assert found.subject.values.tolist() == ["sub-03"] * int(inside.sum())
    np.testing.assert_allclose(found.betas, expected(tiny, "sub-03", common(tiny))[:, inside], rtol=2e-4, atol=2e-5)
    assert found.sel(subject="sub-01").sizes["voxel"] == 0  # is there, without a voxel
    assert tree.laion.sel(roi="EBA").laion.shared().betas.shape == (len(common(tiny)), 0)


def test_one_subject_is_a_tree_too(tree: xr.DataTree, tiny) -> None:
    alone = xr.DataTree.from_dict({"/sub-03": tree["sub-03"].to_dataset()})
    assert set(alone.laion.shared().subject.values) == {"sub-03"}
    assert alone["sub-03"].laion.sel(run=1).sizes["trial"] == (tiny.table().run == 1).sum()
    twice = xr.DataTree.from_dict({"/a": tree["sub-03"].to_dataset(), "/b": tree["sub-03"].to_dataset()})
    with pytest.raises(SelectionError, match="Each subject is there once, found nodes of sub-03, sub-03"):
        twice.laion.shared()


@pytest.mark.parametrize(
    "labels",
    [
        {"roi": "FFA1"},
        {"roi": "face - V1", "session": "ses-02"},
        {"session": ["ses-01", 2], "run": 1},
        {"noise_ceiling": slice(20, None), "unique_or_shared": "shared"},
        {"button": "left"},
        {},
    ],
)
def test_sel_is_that_of_each_subject(tree: xr.DataTree, labels: dict[str, Any]) -> None:
    found = select_subjects(tree, **labels)
    for subject in BOTH:
        assert found[subject].to_dataset().identical(tree[subject].to_dataset().laion.sel(**labels))
    assert found["stimuli"].to_dataset().identical(tree["stimuli"].to_dataset())


def test_labels_that_only_some_subjects_have(tree: xr.DataTree, tiny) -> None:
    found = tree.laion.sel(session="ses-03")
    assert [found[s].sizes["trial"] for s in BOTH] == [0, 15]
    found = tree.laion.sel(session=["ses-03", "1"])
    assert [found[s].sizes["trial"] for s in BOTH] == [11, 14 + 15]
    name = next(n for n in tiny.table("sub-01").label if n.startswith("unique"))
    found = tree.laion.sel(stimulus=[name])
    assert [found[s].sizes["trial"] for s in BOTH] == [(tiny.table(s).label == name).sum() for s in BOTH]
    with pytest.raises(UnknownLabelError, match="'ses-04' does not exist here"):
        tree.laion.sel(session=["ses-01", "ses-04"])
    with pytest.raises(UnknownLabelError, match=r"'FFA7' does not exist here. Did you mean 'FFA1'"):
        tree.laion.sel(roi="FFA7")


def test_roi_that_only_one_subject_has(tiny_copy) -> None:
    tiny_copy.roi_file("place", "PPA", "sub-01").unlink()
    tree = xr.open_datatree(tiny_copy.root, engine="laion_fmri")
    ppa, ffa = (tiny_copy.members(r) for r in ("PPA", "FFA1"))
    found = tree.laion.sel(roi="PPA")
    assert [found[s].sizes["voxel"] for s in BOTH] == [0, ppa.sum()]
    found = tree.laion.sel(roi="PPA | FFA1")
    assert [found[s].sizes["voxel"] for s in BOTH] == [
        tiny_copy.members("FFA1", subject="sub-01").sum(),
        (ppa | ffa).sum(),
    ]


def test_map(tree: xr.DataTree) -> None:
    sizes = map_subjects(tree, lambda ds, factor, *, plus: ds.sizes["trial"] * factor + plus, 2, plus=1)
    assert sizes == {"sub-01": 49, "sub-03": 93}
    arrays = tree.laion.map(lambda ds: ds.betas.mean("trial"))
    assert {name: a.dims for name, a in arrays.items()} == {"sub-01": ("voxel",), "sub-03": ("voxel",)}
    standardised = tree.laion.map(zscore, by="run")
    assert isinstance(standardised, xr.DataTree)
    assert sorted(standardised.children) == ["stimuli", *BOTH]
    assert standardised["sub-01"].betas.attrs["units"] == "1"


@pytest.mark.parametrize("verb", ["sel", "map", "shared"])
def test_tree_without_subjects(tree: xr.DataTree, verb: str) -> None:
    stimuli = xr.DataTree.from_dict({"/stimuli": tree["stimuli"].to_dataset()})
    call = getattr(stimuli.laion, verb)
    with pytest.raises(SelectionError, match=f"{verb} needs subjects, nodes with betas and the dim 'voxel', as"):
        call(len) if verb == "map" else call()


@pytest.mark.parametrize("labels", [{"sphere": (0, 0, 0, 3)}, {"mask": np.ones(151, bool)}])
def test_places_of_one_subject(tree: xr.DataTree, labels: dict[str, Any]) -> None:
    with pytest.raises(SelectionError, match="is a place in one subject's own space: select it in each"):
        tree.laion.sel(**labels)


def test_coordinate_that_is_not_there(tree: xr.DataTree) -> None:
    with pytest.raises(SelectionError, match="Coordinate 'sesion' does not exist here"):
        tree.laion.sel(sesion="ses-01")
    with pytest.raises(SelectionError, match="shared needs the coordinate 'stimulus' on 'trial'"):
        tree.laion.map(lambda ds: ds.drop_indexes(ds.xindexes).drop_vars("stimulus")).laion.shared()
