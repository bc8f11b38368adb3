"""Writing one session: its record, its arrays, and what stops it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import laion_xr
from laion_xr._version import __version__
from laion_xr.catalog import Catalog
from laion_xr.errors import CorruptFileError, FileFormatError, StoreError
from laion_xr.location import Location
from laion_xr.masks import voxel_axis
from laion_xr.readers.chunkfiles import ChunkFiles
from laion_xr.sources import session_reader
from laion_xr.store import plan_ingest, write
from laion_xr.store.checksum import crc32, digest
from laion_xr.store.pipeline import source_blocks
from laion_xr.store.place import ensure_groups, reserved
from laion_xr.store.write import write_session
from laion_xr.stored import FORMAT_VERSION, RECORD


def write_one(tiny: Any, store: Path, session: str = "ses-01", **changes: Any) -> dict[str, Any]:
    plan = plan_ingest(tiny.root, store, subjects=3, sessions=session)
    plan.chunks = changes.pop("chunks", (4, 16))
    for name, value in changes.items():
        setattr(plan, name, value)
    target = Location.of(store)
    ensure_groups(target, ["sub-03"])
    with reserved(target, "sub-03", session) as place:
        return write_session(Catalog.scan(tiny.root).subject("sub-03"), session, plan, place, lambda n: None)


def test_the_record(tiny: Any, tmp_path: Path) -> None:
    record = write_one(tiny, tmp_path / "laion.zarr")
    group = zarr.open_group(tmp_path / "laion.zarr" / "sub-03" / "ses-01", mode="r")
    assert json.loads(json.dumps(record)) == group.attrs[RECORD]
    file = tiny.betas_file("ses-01")
    data = file.read_bytes()
    assert record["source"] == {
        "path": str(file.relative_to(tiny.root)),
        "size": len(data),
        "changed": str(file.stat().st_mtime_ns),
        "tail": data[-8:].hex(),
    }
    assert (record["format"], record["package"], record["complete"]) == (FORMAT_VERSION, __version__, True)
    assert (record["n_trials"], record["n_voxels"]) == (14, len(tiny.voxels))
    assert (record["mask_source"], record["precision"], record["block"]) == ("anatomical", None, 4)
    assert record["checksum"] == digest(record["checksums"])
    assert set(record["checksums"]) == set(group.array_keys())
    voxel = group["voxel"][...]
    truth = tiny.matrix(sessions=["ses-01"])[:, np.searchsorted(tiny.voxels, voxel)]
    assert record["checksums"]["betas"] == [crc32(truth[i : i + 4]) for i in (0, 4, 8, 12)]
    assert record["checksums"]["voxel"] == crc32(voxel)


def test_every_chunk_can_tell_that_it_is_damaged(tiny: Any, tmp_path: Path) -> None:
    write_one(tiny, tmp_path / "laion.zarr")
    group = zarr.open_group(tmp_path / "laion.zarr" / "sub-03" / "ses-01", mode="r")
    for name, array in group.arrays():
        codecs = [codec["name"] for codec in array.metadata.to_dict()["codecs"]]
        assert codecs[-1] == "crc32c", name


def test_what_zarr_writes_is_the_same_each_time(tiny: Any, tmp_path: Path) -> None:
    contents = []
    for n in range(2):
        store = tmp_path / f"{n}.zarr"
        write_one(tiny, store)
        contents.append({p.relative_to(store): p.read_bytes() for p in store.rglob("*") if p.is_file()})
    assert contents[0] == contents[1]


def test_progress_counts_every_trial_once(tiny: Any, tmp_path: Path) -> None:
    for height in (5, 14):
        counts: list[int] = []
        plan = plan_ingest(tiny.root, tmp_path / f"{height}.zarr", subjects=3)
        plan.chunks = (height, 16)
        laion_xr.ingest(tiny.root, tmp_path / f"{height}.zarr", plan=plan, progress=counts.append)
        assert sum(counts) == 14 + 17 + 15
        assert min(counts) > 0


def test_a_disk_that_does_not_keep_what_is_written(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_item = zarr.Array.__setitem__

    def forgetful(self: zarr.Array, key: Any, value: Any) -> None:
        if isinstance(key, slice) and key.start == 8:
            value = value.copy()
            value[1, 2] = -value[1, 2] or 1
        set_item(self, key, value)

    # as a store that is not on this machine; test_store_encode has the same for one that is
    monkeypatch.setattr(ChunkFiles, "of", lambda array: None)
    monkeypatch.setattr(zarr.Array, "__setitem__", forgetful)
    with pytest.raises(CorruptFileError, match="trials 8 to 11 read back differently from what was written; check"):
        write_one(tiny, tmp_path / "laion.zarr")
    assert not (tmp_path / "laion.zarr" / "sub-03" / "ses-01").exists()


def test_coordinates_that_do_not_come_back(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "differing_table", lambda group, checksums: "run")
    with pytest.raises(CorruptFileError, match="run read back differently from what was written; check the disk"):
        write_one(tiny, tmp_path / "laion.zarr")
    assert not (tmp_path / "laion.zarr" / "sub-03" / "ses-01").exists()


def test_a_source_that_changes_while_it_is_read(
    tiny_copy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tiny_copy.betas_file("ses-01")
    real = write._write_all

    def slow(*arguments: Any) -> dict[str, Any]:
        os.utime(file)  # a download goes on
        return real(*arguments)

    monkeypatch.setattr(write, "_write_all", slow)
    with pytest.raises(FileFormatError, match=r"changed while it was ingested.*ingest again when it is complete"):
        write_one(tiny_copy, tmp_path / "laion.zarr")
    assert not (tmp_path / "laion.zarr" / "sub-03" / "ses-01").exists()


@pytest.mark.parametrize("height", [1, 3, 14, 20])
@pytest.mark.parametrize("source", ["nifti", "hdf5"])
def test_blocks_of_any_height_from_any_reader(tiny: Any, height: int, source: str) -> None:
    catalog = Catalog.scan(tiny.root).subject("sub-03")
    reader = session_reader(catalog, catalog.session("ses-01"), voxel_axis(catalog, "anatomical"), source)
    voxels = np.random.default_rng(0).permutation(tiny.voxels)
    blocks = list(source_blocks(reader, voxels, height))
    assert [start for start, _ in blocks] == list(range(0, 14, height))
    whole = tiny.matrix(sessions=["ses-01"])[:, np.searchsorted(tiny.voxels, voxels)]
    np.testing.assert_array_equal(np.concatenate([b for _, b in blocks]).view(np.uint32), whole.view(np.uint32))
    used: list[np.ndarray] = []

    def buffer(n: int) -> np.ndarray:
        used.append(np.full((n, len(voxels)), 7, np.float32))
        return used[-1]

    filled = [block for _, block in source_blocks(reader, voxels, height, buffer)]
    assert all(block is mine for block, mine in zip(filled, used, strict=True))


def test_a_session_of_the_model_file(tiny_copy: Any, tmp_path: Path) -> None:
    tiny_copy.betas_file("ses-01").unlink()
    record = write_one(tiny_copy, tmp_path / "laion.zarr")
    assert record["source"]["path"].endswith("GLMsingle_model.h5")
    assert record["source"]["tail"] == ""
    group = zarr.open_group(tmp_path / "laion.zarr" / "sub-03" / "ses-01", mode="r")
    truth = tiny_copy.matrix(sessions=["ses-01"])[:, np.searchsorted(tiny_copy.voxels, group["voxel"][...])]
    np.testing.assert_array_equal(group["betas"][...].view(np.uint32), truth.view(np.uint32))


def test_without_a_brain_mask_the_record_says_which_mask_it_is(tiny_copy: Any, tmp_path: Path) -> None:
    tiny_copy.mask_file().unlink()
    with pytest.warns(UserWarning, match="brain mask .* is not there"):
        record = write_one(tiny_copy, tmp_path / "laion.zarr")
    assert record["mask_source"] == "rsquare"


def test_without_a_trial_table(tiny_copy: Any, tmp_path: Path) -> None:
    tiny_copy.trials_file("ses-01").unlink()
    with pytest.warns(UserWarning, match="trials.tsv"):
        record = write_one(tiny_copy, tmp_path / "laion.zarr")
    assert record["n_trials"] == 14


def test_one_session_does_not_stop_the_others(tiny_copy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tiny_copy.betas_file("ses-02")
    file.write_bytes(file.read_bytes()[:-4000])
    real = write._check_unchanged

    def broken(location: Location, source: Any) -> None:
        if "ses-03" in source.path:
            raise LookupError("of a library, that nobody thought of")
        real(location, source)

    monkeypatch.setattr(write, "_check_unchanged", broken)
    store = tmp_path / "laion.zarr"
    with pytest.raises(StoreError, match="2 of 5 sessions could not be written, the others are in the store") as error:
        laion_xr.ingest(tiny_copy.root, store, progress=False)
    first, second, third = str(error.value).splitlines()
    assert "run the same ingest again when the cause is gone" in first
    assert second.startswith(f"  sub-03 ses-02: {file} ")
    assert third == "  sub-03 ses-03: LookupError: of a library, that nobody thought of"
    assert sorted(os.listdir(store / "sub-01")) == ["ses-01", "ses-02", "zarr.json"]
    assert sorted(os.listdir(store / "sub-03")) == ["ses-01", "zarr.json"]
    assert not (tmp_path / "laion.zarr.partial").exists()


def test_the_same_reason_is_said_once(tiny_copy: Any, tmp_path: Path) -> None:
    # trials are counted over the tables of all sessions: without one there is none of the subject
    tiny_copy.trials_file("ses-03").write_text("not a table")
    with pytest.raises(StoreError, match="3 of 5 sessions could not be written") as error:
        laion_xr.ingest(tiny_copy.root, tmp_path / "laion.zarr", progress=False)
    lines = str(error.value).splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("  sub-03 ses-01, sub-03 ses-02, sub-03 ses-03: ")
