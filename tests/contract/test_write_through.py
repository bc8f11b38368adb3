"""`write_through=True`: a session that is read whole is in the store afterwards, once, and as it was."""

from __future__ import annotations

import os
import pickle
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from filelock import FileLock

import laion_xr
from laion_xr.errors import NotStoredWarning, SelectionError
from laion_xr.location import Location
from laion_xr.store import place, write_through


def open_subject(root: Any, **options: Any) -> xr.Dataset:
    return xr.open_dataset(root, engine="laion_fmri", subject="sub-03", **options)


def same_bits(found: Any, expected: Any) -> None:
    np.testing.assert_array_equal(np.asarray(found).view(np.uint32), np.asarray(expected).view(np.uint32))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "laion.zarr"


@pytest.fixture(autouse=True)
def nothing_given_up() -> Iterator[None]:
    yield
    write_through._given_up.clear()


def opened(tiny: Any, store: Any, **options: Any) -> xr.Dataset:
    return open_subject(tiny.root, store=store, write_through=True, **options)


def sessions(store: Path) -> list[str]:
    return sorted(p.name for p in (store / "sub-03").glob("ses-*"))


def test_a_whole_session_is_stored_by_the_read_itself(tiny: Any, store: Path, reads: Any) -> None:
    ds = opened(tiny, store)
    assert not store.exists()
    reads.clear()
    same_bits(ds.betas.values, tiny.matrix())
    assert [r.session for r in reads.betas] == ["ses-01", "ses-02", "ses-03"]  # each inflated once, not twice
    assert sessions(store) == ["ses-01", "ses-02", "ses-03"]
    assert laion_xr.verify(store, tiny.root)["status"].tolist() == ["ok"] * 3
    reads.clear()
    same_bits(open_subject(tiny.root, store=store, source="store").betas.values, tiny.matrix())
    assert reads.betas == []
    assert not list(store.parent.glob("*.partial*"))


def test_the_next_one_reads_from_the_store(tiny: Any, store: Path, reads: Any) -> None:
    opened(tiny, store).betas.load()
    again = opened(tiny, store).sel(roi="laionventral")
    reads.clear()
    same_bits(again.betas.values, tiny.matrix()[:, tiny.members("laionventral")])
    assert reads.betas == []


def test_an_open_dataset_turns_to_the_store(tiny: Any, store: Path, reads: Any) -> None:
    ds = opened(tiny, store)
    ds.betas.compute()
    reads.clear()
    same_bits(ds.betas.isel(trial=[3, 40, 3]).values, tiny.matrix()[[3, 40, 3]])
    assert reads.betas == []


@pytest.mark.parametrize(
    "pick",
    [
        {"voxel": slice(0, 150)},
        {"trial": slice(0, 13)},
        {"trial": [0], "voxel": [0]},
        {"trial": [0, *range(14)]},
    ],
    ids=["voxels", "trials", "one value", "a repeat"],
)
def test_less_than_a_session_is_not_stored(tiny: Any, store: Path, pick: dict[str, Any]) -> None:
    ds = opened(tiny, store, sessions=["ses-01"]).isel(pick)
    expected = tiny.matrix(sessions=["ses-01"])[pick.get("trial", slice(None))][:, pick.get("voxel", slice(None))]
    same_bits(ds.betas.values, expected)
    assert not store.exists()


def test_voxels_in_another_order_are_a_whole_session(tiny: Any, store: Path) -> None:
    shuffled = np.random.default_rng(0).permutation(151)
    same_bits(opened(tiny, store).betas.isel(voxel=shuffled).values, tiny.matrix()[:, shuffled])
    assert laion_xr.verify(store, tiny.root)["status"].tolist() == ["ok"] * 3


def test_an_roi_dataset_is_no_whole_session(tiny: Any, store: Path) -> None:
    opened(tiny, store, roi="laionventral").betas.load()
    assert not store.exists()


def test_what_the_store_has_stays(tiny: Any, store: Path) -> None:
    laion_xr.ingest(tiny.root, store, subjects="sub-03", sessions=["ses-02"], progress=False)
    before = (store / "sub-03/ses-02/zarr.json").stat().st_mtime_ns
    opened(tiny, store).betas.load()
    assert sessions(store) == ["ses-01", "ses-02", "ses-03"]
    assert (store / "sub-03/ses-02/zarr.json").stat().st_mtime_ns == before


def test_it_opens_as_a_whole_without_a_warning(tiny: Any, store: Path) -> None:
    opened(tiny, store).betas.load()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tree = xr.open_datatree(store, engine="zarr")
    assert set(tree["sub-03"].children) == {"ses-01", "ses-02", "ses-03"}


def test_a_pickled_dataset_stores_too(tiny: Any, store: Path) -> None:
    ds = pickle.loads(pickle.dumps(opened(tiny, store)))
    same_bits(ds.betas.values, tiny.matrix())
    assert sessions(store) == ["ses-01", "ses-02", "ses-03"]


def test_a_source_that_changes_after_opening_is_not_stored_as_the_new_one(
    tiny: Any, store: Path, tmp_path: Path
) -> None:
    copy = tiny.copy(tmp_path / "root")
    ds = opened(copy, store, sessions=["ses-01"])
    os.utime(copy.betas_file("ses-01"), ns=(1, 1))
    with pytest.warns(NotStoredWarning, match=r"sub-03 ses-01 was read, and not stored .* changed while it was read"):
        same_bits(ds.betas.values, tiny.matrix(sessions=["ses-01"]))
    assert sessions(store) == []


def test_a_store_that_cannot_be_written_costs_a_warning_not_the_values(tiny: Any, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    ds = opened(tiny, blocked / "laion.zarr", sessions=["ses-01"])
    with pytest.warns(NotStoredWarning, match="sub-03 ses-01 was read, and not stored in .*: "):
        same_bits(ds.betas.values, tiny.matrix(sessions=["ses-01"]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is said once
        same_bits(ds.betas.values, tiny.matrix(sessions=["ses-01"]))


def test_a_session_that_another_process_writes_is_left_to_it(tiny: Any, store: Path) -> None:
    ds = opened(tiny, store, sessions=["ses-01"])
    place.ensure_groups(Location.of(store), ["sub-03"])
    folder = place.workshop(Location.of(store))
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "sub-03_ses-01.lock"):
        same_bits(ds.betas.values, tiny.matrix(sessions=["ses-01"]))
    assert sessions(store) == []
    ds.betas.values  # noqa: B018 - read again: nobody holds it now
    assert sessions(store) == ["ses-01"]


def test_a_damaged_store_is_not_hidden_by_the_source(tiny: Any, store: Path) -> None:
    opened(tiny, store, sessions=["ses-01"]).betas.load()
    shutil.rmtree(store / "sub-03/ses-01/betas/c/0")
    with pytest.raises(laion_xr.errors.CorruptFileError):
        open_subject(tiny.root, store=store, sessions=["ses-01"]).betas.load()


def test_memory_store(tiny: Any) -> None:
    store = "memory://write-through/laion.zarr"
    opened(tiny, store).betas.load()
    same_bits(open_subject(tiny.root, store=store, source="store").betas.values, tiny.matrix())


def test_arguments_that_cannot_be(tiny: Any, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAION_XR_STORE", raising=False)
    with pytest.raises(SelectionError, match=r"write_through=True keeps what is read in a store: pass store="):
        open_subject(tiny.root, write_through=True)
    with pytest.raises(SelectionError, match=r"found source='nifti': leave it 'auto'"):
        opened(tiny, store, source="nifti")
