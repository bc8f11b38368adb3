"""The dataset in a bucket: the same values as on disk, few requests, and what happens when the network fails."""

from __future__ import annotations

import socket
import time
from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import upath
import xarray as xr

import laion_xr
from laion_xr import remote
from laion_xr.errors import (
    AddressError,
    CorruptFileError,
    DataNotDownloadedError,
    FileAccessError,
    IncompleteDataWarning,
    NotALaionDatasetError,
    StoreError,
    UnreachableError,
)
from laion_xr.readers import stream

PUBLIC = "s3://laion-fmri"
ATTEMPTS = remote.ATTEMPTS
SESSIONS = 30


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are tried again as often as ever, and sooner."""
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(remote, "LONGEST_PAUSE", 0.05)


@pytest.fixture(scope="session")
def _filled(s3_process: Any, tiny: Any) -> None:
    s3_process.fs.mkdir("stores")
    for bucket in ("laion-fmri", "lab"):
        s3_process.fs.mkdir(bucket)
        s3_process.put(tiny.root, bucket)


@pytest.fixture
def bucket(s3: Any, _filled: None) -> Any:
    """The server, whose buckets `laion-fmri` and `lab` hold the tiny dataset."""
    s3.reset()
    return s3


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def open_remote(bucket: Any, root: Any = PUBLIC, **options: Any) -> xr.Dataset:
    given = {"subject": "sub-03", "storage_options": bucket.options, **options}
    return xr.open_dataset(root, engine="laion_fmri", **given)


def open_local(tiny: Any, **options: Any) -> xr.Dataset:
    return xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", **options)


def assert_same(found: xr.Dataset, expected: xr.Dataset) -> None:
    assert found.attrs.pop("fingerprint") != expected.attrs.pop("fingerprint")  # ETags here, times there
    for name in ("stimulus", "voxel"):
        assert found[name].attrs.pop("root") != expected[name].attrs.pop("root")
    xr.testing.assert_identical(found.load(), expected.load())


# values, and who asks


def test_values_are_those_of_the_disk(bucket: Any, tiny: Any) -> None:
    assert_same(open_remote(bucket, embeddings="CLIP"), open_local(tiny, embeddings="CLIP"))
    assert not any(r.signed for r in bucket.requests)


def test_stimuli_are_those_of_the_disk(s3: Any, dataset_root: Path) -> None:
    if not s3.fs.exists("seen"):
        s3.fs.mkdir("seen")
        s3.put(dataset_root, "seen")
    s3.reset()
    options = {"engine": "laion_fmri", "storage_options": s3.options}
    found, expected = (
        xr.open_dataset(root, group="stimuli", **(options if "://" in str(root) else {"engine": "laion_fmri"}))
        for root in ("s3://seen", dataset_root)
    )
    pick = {"stimulus": [90, 3, 90]}
    xr.testing.assert_equal(found.isel(pick).load(), expected.isel(pick).load())
    ds = xr.open_dataset("s3://seen", subject="sub-03", **options).isel(trial=[40, 7, 40])
    local = xr.open_dataset(dataset_root, engine="laion_fmri", subject="sub-03").isel(trial=[40, 7, 40])
    # the options are those that it was opened with
    for name, arguments in {"images": (32,), "embeddings": ("CLIP",), "captions": (), "segmentations": ()}.items():
        asked = [getattr(x.laion, name)(*arguments) for x in (ds, local)]
        np.testing.assert_array_equal(*asked)
    name = ds.stimulus.values[0]
    assert laion_xr.load_stimuli("s3://seen", s3.options).captions.human(name) == ds.laion.stimuli.captions.human(name)


def test_tree_and_model_file(bucket: Any, tiny: Any) -> None:
    tree = xr.open_datatree(PUBLIC, engine="laion_fmri", storage_options=bucket.options)
    assert set(tree.children) == {"sub-01", "sub-03", "stimuli"}
    np.testing.assert_array_equal(tree["sub-01"].betas, tiny.matrix("sub-01"))
    model = open_remote(bucket, group="sub-03/ses-01/glmsingle")
    np.testing.assert_array_equal(model.betasmd, tiny.betas["sub-03", "ses-01"])
    betas = open_remote(bucket, source="hdf5", sessions="ses-01").betas
    np.testing.assert_array_equal(betas, tiny.matrix(sessions=["ses-01"]))


@pytest.mark.parametrize(
    ("root", "options", "signed"),
    [
        (PUBLIC, {}, False),
        (f"{PUBLIC}/", {}, False),
        (f"{PUBLIC}/derivatives/glmsingle-tedana/sub-03", {}, False),
        (PUBLIC, {"anon": False}, True),
        (PUBLIC, {"key": "mine", "secret": "mine"}, True),
        (PUBLIC, {"client_kwargs": {"aws_access_key_id": "a", "aws_secret_access_key": "b"}}, True),
        ("s3://lab", {}, True),
        ("s3://lab", {"anon": True}, False),
    ],
)
def test_anonymous_only_where_the_public_bucket_is_asked_and_no_one_says_otherwise(
    bucket: Any, tiny: Any, root: str, options: dict[str, Any], signed: bool
) -> None:
    found = open_remote(bucket, root, storage_options=bucket.options | options)
    np.testing.assert_array_equal(found.betas.sel(session="ses-02"), tiny.matrix(sessions=["ses-02"]))
    assert {r.signed for r in bucket.requests} == {signed}


def test_upath(bucket: Any, tiny: Any) -> None:
    root = upath.UPath(PUBLIC, **bucket.options)
    found = xr.open_dataset(root, engine="laion_fmri", subject="sub-03")
    np.testing.assert_array_equal(found.sel(roi="FFA1").betas, open_local(tiny).sel(roi="FFA1").betas)


# few requests


@pytest.fixture(scope="session")
def thirty_sessions(s3_process: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("thirty") / "laion"
    parts = {"stimuli": ["metadata"], "surfaces": False, "models": False}
    laion_xr.simulate(root, subjects=["sub-03"], sessions=SESSIONS, trials=12, grid=12, seed=0, **parts)
    s3_process.fs.mkdir("thirty")
    s3_process.put(root, "thirty")
    return root


def test_opening_thirty_sessions_takes_few_requests(s3: Any, thirty_sessions: Path) -> None:
    s3.reset()
    found = open_remote(s3, "s3://thirty")
    assert found.sizes["ses"] == SESSIONS
    rois = len(list(thirty_sessions.rglob("*_mask.nii.gz"))) - 1
    # subjects; the subject's betas, ROIs, anatomy; the stimuli
    assert len(s3.listings) == 5
    # a table and a header a session; ROIs; brain mask, metadata, and the ceiling, which is streamed
    assert len(s3.objects) <= 2 * SESSIONS + rois + 1 + 1 + 2
    assert max(Counter((r.path, r.range) for r in s3.objects).values()) == 1
    assert len(s3.requests) == len(s3.listings) + len(s3.objects)  # nothing is asked for its size
    print(f"{len(s3.listings)} listings, {len(s3.objects)} objects ({rois} ROIs)")


def test_a_selection_reads_its_sessions_only(s3: Any, thirty_sessions: Path) -> None:
    found = open_remote(s3, "s3://thirty", sessions=[3, 7, 9])
    s3.reset()
    found.sel(session=["ses-03", "ses-09"]).betas.compute()
    asked = [r.path.rpartition("/")[2].split("_")[1] for r in s3.requests]
    assert sorted(set(asked)) == ["ses-03", "ses-09"]
    assert not s3.listings


def test_second_time_from_the_cache(bucket: Any, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAION_XR_CACHE", str(tmp_path))
    open_remote(bucket, cache_catalog=True)
    bucket.requests.clear()
    again = open_remote(bucket, cache_catalog=True)
    assert (len(bucket.listings), len(bucket.objects)) == (5, 0)
    bucket.requests.clear()
    offline = open_remote(bucket, cache_catalog="offline")
    assert bucket.requests == []
    for found in (again, offline):
        for name in ("stimulus", "voxel"):
            assert found[name].attrs.pop("root_cache") == ("offline" if found is offline else "kept")
        assert_same(found, open_local(tiny))
    assert bucket.requests  # betas and maps are read as ever


def test_cache_sees_what_changed(bucket: Any, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAION_XR_CACHE", str(tmp_path))
    open_remote(bucket, cache_catalog=True)
    file = tiny.trials_file("ses-02")
    key = f"laion-fmri/{file.relative_to(tiny.root)}"
    bucket.fs.pipe_file(key, file.read_bytes().replace(b"left", b"LEFT"), ACL="public-read")
    bucket.requests.clear()
    try:
        again = open_remote(bucket, cache_catalog=True)
        assert [r.path for r in bucket.objects] == [f"/{key}"]
        assert "LEFT" in again.button.values
    finally:
        bucket.fs.pipe_file(key, file.read_bytes(), ACL="public-read")


# failures that pass

TABLE, BETAS = "ses-02_task-images_desc-SingletrialBetas_trials.tsv", "ses-02_task-images_space-T1w_stat-effect"
PASSING = [500, 502, 503, "reset", "cut", "delay"]


@pytest.fixture(params=PASSING, ids=str)
def passing(request: pytest.FixtureRequest, bucket: Any) -> tuple[int | str | float, dict[str, Any]]:
    """A failure that passes, and the options with which it is seen soon."""
    if request.param != "delay":
        return request.param, bucket.options
    # longer than is waited for an answer
    return 0.9, bucket.options | {"config_kwargs": {"read_timeout": 0.3}}


@pytest.mark.parametrize("what", ["list-type=2&prefix=derivatives%2Frois", TABLE])
def test_opening_survives_what_passes(bucket: Any, tiny: Any, passing: tuple[Any, Any], what: str) -> None:
    kind, options = passing
    fault = bucket.fail(what, kind, times=2)
    found = open_remote(bucket, storage_options=options)
    assert fault.hits == 2
    assert found.stimulus.values.tolist() == tiny.table().label.tolist()
    assert set(found.roi.values) == set(open_local(tiny).roi.values)


def test_stream_goes_on_where_it_was(
    bucket: Any, tiny: Any, passing: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, options = passing
    monkeypatch.setattr(stream, "FIRST_BLOCK", 1000)
    monkeypatch.setattr(stream, "BLOCK", 2000)
    found = open_remote(bucket, storage_options=options)
    size = tiny.betas_file("ses-02").stat().st_size
    fails = "bytes=5000-6999"
    fault = bucket.fail(BETAS, kind, times=3)
    fault.matches = lambda r, of=fault.matches: of(r) and r.range == fails
    bucket.requests.clear()
    betas = found.sel(session="ses-02").betas.compute(scheduler="sync")
    np.testing.assert_array_equal(betas, tiny.matrix(sessions=["ses-02"]))
    asked = Counter(r.range for r in bucket.objects)
    assert asked.pop(fails) == 4
    assert len(asked) == -(-(size - 1000) // 2000)
    assert set(asked.values()) == {1}


def test_hdf5_survives_what_passes(bucket: Any, tiny: Any) -> None:
    for kind in (500, "reset", "cut"):
        bucket.fail("GLMsingle_model.h5", kind)
    betas = open_remote(bucket, source="hdf5", sessions="ses-01").betas
    bucket.fail("GLMsingle_model.h5", 503, times=3)
    np.testing.assert_array_equal(betas, tiny.matrix(sessions=["ses-01"]))
    assert [f.left for f in bucket.faults] == [0, 0, 0, 0]


# failures that do not pass


@pytest.mark.parametrize("kind", [503, "reset"])
@pytest.mark.parametrize("what", ["list-type=2&prefix=derivatives%2Frois", TABLE, "Noiseceiling12rep"])
def test_opening_says_what_was_tried(bucket: Any, kind: Any, what: str) -> None:
    fault = bucket.fail(what, kind, times=1000)
    with pytest.raises(
        UnreachableError, match=rf"cannot be reached: expected an answer, found after {ATTEMPTS}"
    ) as caught:
        open_remote(bucket)
    # on a connection that was used before, aiohttp itself asks once more after a reset
    assert ATTEMPTS <= fault.hits <= ATTEMPTS * (2 if kind == "reset" else 1)
    assert what.partition("%2F")[2] in str(caught.value)
    assert caught.value.__suppress_context__


def test_computing_says_what_was_tried(bucket: Any) -> None:
    found = open_remote(bucket)
    fault = bucket.fail(BETAS, 503, times=1000)
    with pytest.raises(
        UnreachableError, match=rf"{PUBLIC}/derivatives.*{BETAS}.*{ATTEMPTS} attempts.*reduce|Slow Down"
    ):
        found.betas.compute()
    assert fault.hits == ATTEMPTS
    fault.left = 0
    assert found.betas.compute().shape[0] == 46  # and later it works


def test_no_attempt_begins_after_the_patience_is_over(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    options = bucket.options | {"config_kwargs": {"read_timeout": 0.3}}
    found = open_remote(bucket, storage_options=options)
    monkeypatch.setattr(remote, "PATIENCE", 0.8)
    fault = bucket.fail(BETAS, 2.0, times=1000)
    begun = time.monotonic()
    with pytest.raises(UnreachableError, match="Timeout"):
        found.betas.compute(scheduler="sync")
    assert time.monotonic() - begun < 3
    assert 1 < fault.hits < ATTEMPTS


@pytest.mark.parametrize("when", ["before", "after"])
def test_truncated_object(bucket: Any, tiny: Any, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "FIRST_BLOCK", 1000)
    monkeypatch.setattr(stream, "BLOCK", 1000)
    file = tiny.betas_file("ses-02")
    key, half = f"lab/{file.relative_to(tiny.root)}", file.read_bytes()[:3333]
    try:
        if when == "before":
            bucket.fs.pipe_file(key, half)
        found = open_remote(bucket, "s3://lab")
        bucket.fs.pipe_file(key, half)  # after: it is shorter than it was listed
        with pytest.raises(CorruptFileError, match=rf"s3://lab/.*{BETAS}.* is truncated: .*Download it again"):
            found.betas.compute()
        np.testing.assert_array_equal(found.sel(session="ses-03").betas, tiny.matrix(sessions=["ses-03"]))
    finally:
        bucket.fs.pipe_file(key, file.read_bytes())


def test_bytes_that_are_damaged_on_their_way_are_asked_for_again(bucket: Any, tiny: Any) -> None:
    found = open_remote(bucket)
    fault = bucket.fail(BETAS, "short")  # the answer is whole for HTTP, and has another checksum than S3 says
    np.testing.assert_array_equal(found.betas, tiny.matrix())
    assert fault.hits == 1


def test_what_is_not_there_is_not_asked_for_twice(bucket: Any) -> None:
    fault = bucket.fail(TABLE, 404, times=1000)
    with pytest.raises(DataNotDownloadedError, match=rf"{TABLE} is not there"):
        open_remote(bucket)
    assert fault.hits == 1


def test_nobody_answers() -> None:
    options = {"endpoint_url": f"http://127.0.0.1:{free_port()}"}
    with pytest.raises(
        UnreachableError, match=rf"{PUBLIC}/derivatives.*{ATTEMPTS} attempts.*Could not connect.*endpoint"
    ):
        xr.open_dataset(PUBLIC, engine="laion_fmri", storage_options=options)


# what may not be read


def test_held_out_sessions_are_named_and_skipped(bucket: Any, tiny: Any) -> None:
    bucket.fail("ses-02", 403, times=1000)
    bucket.fail("ses-03", 403, times=1000)
    with pytest.warns(IncompleteDataWarning) as caught:
        found = open_remote(bucket)
    assert len(caught) == 1
    said = str(caught[0].message)
    assert said.startswith(f"ses-02, ses-03 are left out: {PUBLIC}/derivatives/glmsingle-tedana/sub-03/ses-02/func/")
    assert "Held-out sessions of the published dataset answer so." in said
    assert [f.hits for f in bucket.faults] == [2, 2]  # the table and the header: not tried again
    np.testing.assert_array_equal(found.betas, tiny.matrix(sessions=["ses-01"]))


def test_held_out_session_that_was_asked_for(bucket: Any) -> None:
    bucket.fail("ses-02", 403, times=1000)
    with pytest.raises(FileAccessError, match=r"ses-02.* may not be read: access was denied .*asked anonymously"):
        open_remote(bucket, sessions="ses-02")


@pytest.mark.parametrize("what", ["list-type", "_mask.nii.gz", "sub-03"])
def test_everything_is_refused(bucket: Any, what: str) -> None:
    fault = bucket.fail(what, 403, times=1000)
    with pytest.raises(
        FileAccessError, match=r"may not be read: access was denied .*give credentials in storage_options"
    ):
        open_remote(bucket)
    assert 1 <= fault.hits <= 7  # at once: no second attempt (the ROIs come in one batch)
    bucket.reset()
    bucket.fail(what, 403, times=1000)
    with pytest.raises(FileAccessError, match=r"check the credentials .*\{'anon': True\}"):
        open_remote(bucket, "s3://lab")


def test_no_credentials(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(FileAccessError, match=r"Unable to locate credentials.*\{'anon': True\}"):
        open_remote(bucket, "s3://lab", storage_options=bucket.options | {"use_ssl": False})
    assert bucket.requests == []


@pytest.mark.parametrize(
    ("root", "found"),
    [
        ("s3://no-such-bucket-here", "nothing of this name at all"),
        ("s3://lab/no/such/folder", "nothing of this name at all"),
        ("s3://lab/stimuli", "found none"),
        ("s3://empty-bucket", "found none"),
    ],
)
def test_root_that_holds_nothing_and_root_that_is_not_there(bucket: Any, root: str, found: str) -> None:
    if root == "s3://empty-bucket":
        bucket.fs.mkdir("empty-bucket")
    with pytest.raises(NotALaionDatasetError, match=f"{root} does not hold the LAION-fMRI dataset: .*{found}"):
        open_remote(bucket, root)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"no_such_option": 1}, "no_such_option"),
        ({"endpoint_url": "not an address"}, "not an address"),
        ({"profile": "nobody"}, "nobody"),
    ],
)
def test_options_that_cannot_be(bucket: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises((UnreachableError, FileAccessError, AddressError), match=f"{PUBLIC}.*{said}.*storage_options"):
        open_remote(bucket, storage_options=bucket.options | options)


# the store in a bucket, and in fsspec's memory


@pytest.fixture(scope="session")
def _stored(s3_process: Any, tiny: Any, _filled: None) -> str:
    options = s3_process.options | {"key": "test", "secret": "test"}
    done = laion_xr.ingest(tiny.root, "s3://stores/a", subjects=3, sessions=2, store_options=options, progress=False)
    assert done["outcome"].tolist() == ["written"]
    return "s3://stores/a"


@pytest.fixture
def stored(bucket: Any, _stored: str) -> str:
    """A store in a bucket with one of the three sessions of sub-03."""
    bucket.reset()
    return _stored


def open_stored(bucket: Any, tiny: Any, store: str, **options: Any) -> xr.Dataset:
    given = {"subject": "sub-03", "store": store, "storage_options": bucket.options, **options}
    return xr.open_dataset(tiny.root, engine="laion_fmri", **given)


def test_store_in_a_bucket(bucket: Any, tiny: Any, stored: str) -> None:
    found = open_stored(bucket, tiny, stored)
    assert len(bucket.requests) == 2  # the sessions, and the metadata of each
    np.testing.assert_array_equal(found.betas, tiny.matrix())
    assert any("/c/" in r.path for r in bucket.objects)  # the others came from the disk
    bucket.requests.clear()
    roi = found.sel(roi="FFA1", session="ses-02").betas.compute()
    np.testing.assert_array_equal(roi, open_local(tiny).sel(roi="FFA1", session="ses-02").betas)
    assert {r.path.split("/")[-1] for r in bucket.requests} >= {"zarr.json", "0"}
    assert all(r.signed for r in bucket.requests)


def test_store_and_dataset_in_buckets_of_their_own(bucket: Any, tiny: Any, stored: str) -> None:
    # other credentials for the store: a UPath brings its own
    store = upath.UPath(stored, key="mine", secret="mine", **bucket.options)
    found = open_remote(bucket, store=store)
    np.testing.assert_array_equal(found.betas, tiny.matrix())
    signed = {r.path.split("/")[1]: r.signed for r in bucket.requests}
    assert signed == {"laion-fmri": False, "stores": True}


def test_store_is_plain_zarr(bucket: Any, tiny: Any, stored: str) -> None:
    options = bucket.options
    session = xr.open_zarr(f"{stored}/sub-03/ses-02", storage_options=options)
    np.testing.assert_array_equal(session.betas.sortby("voxel"), tiny.matrix(sessions=["ses-02"]))
    tree = xr.open_datatree(stored, engine="zarr", storage_options=options)
    assert set(tree["sub-03"].children) == {"ses-02"}
    assert laion_xr.verify(stored, tiny.root, store_options=options)["status"].tolist() == ["ok"]


CHUNK = "sub-03/ses-02/betas/c/"


@pytest.mark.parametrize("kind", [503, "reset", "cut"])
def test_reading_the_store_survives_what_passes(bucket: Any, tiny: Any, stored: str, kind: Any) -> None:
    found = open_stored(bucket, tiny, stored)
    fault = bucket.fail(CHUNK, kind, times=2)
    np.testing.assert_array_equal(found.betas.sel(session="ses-02"), tiny.matrix(sessions=["ses-02"]))
    assert fault.hits == 2


@pytest.mark.parametrize(
    ("kind", "error", "said"),
    [
        (403, FileAccessError, "may not be read: access was denied .*credentials"),
        (404, CorruptFileError, "verify --repair"),
        (500, UnreachableError, "cannot be reached: expected an answer, found"),
    ],
)
def test_reading_the_store_says_what_does_not_pass(
    bucket: Any, tiny: Any, stored: str, kind: int, error: type[Exception], said: str
) -> None:
    options = bucket.options | {"config_kwargs": {"retries": {"total_max_attempts": 2}}}
    found = open_stored(bucket, tiny, stored, storage_options=options)
    bucket.fail(CHUNK, kind, times=1000)
    bucket.fail(CHUNK, kind, times=1000, method="HEAD")
    with pytest.raises(error, match=rf"{stored}/sub-03/ses-02.*{said}"):
        found.betas.sel(session="ses-02").compute()


def test_half_written_session_is_not_used(bucket: Any, tiny: Any) -> None:
    store, session = "s3://stores/half", "half/sub-03/ses-02"
    given: dict[str, Any] = {"subjects": 3, "store_options": bucket.options, "progress": False}
    fault = bucket.fail(f"{session}/betas/c/", 403, times=1000, method="PUT")
    with pytest.raises(StoreError, match=r"sub-03 ses-02: .*may not be written: access was denied .*credentials"):
        laion_xr.ingest(tiny.root, store, sessions=2, **given)
    assert fault.hits
    assert any(key.endswith("ses-02/betas/zarr.json") for key in bucket.fs.find("stores/half"))  # it lies there
    bucket.requests.clear()
    found = open_stored(bucket, tiny, store)
    np.testing.assert_array_equal(found.betas, tiny.matrix())
    # and whether this is a store at all, as none of its sessions is whole
    assert [r.path for r in bucket.objects] == [f"/stores/{session}/zarr.json", "/stores/half/zarr.json"]
    with pytest.raises(StoreError, match="is not in the store"):
        open_stored(bucket, tiny, store, source="store", sessions=2)
    bucket.reset()
    laion_xr.ingest(tiny.root, store, sessions=2, **given)
    changes = [r for r in bucket.requests if session in r.about and r.method in ("PUT", "DELETE", "POST")]
    assert (changes[0].method, changes[0].path) == ("DELETE", f"/stores/{session}/zarr.json")  # the marker goes first
    assert changes[-1].path == f"/stores/{session}/zarr.json"  # and comes last
    stored = open_stored(bucket, tiny, store, source="store", sessions=2)
    np.testing.assert_array_equal(stored.betas, tiny.matrix(sessions=["ses-02"]))


def test_writing_the_store_survives_what_passes(bucket: Any, tiny: Any) -> None:
    failing = {"sub-03/ses-01/betas/c/": (503, "reset"), "sub-03/ses-01/roi/": (500, 503), "ses-01/zarr.json": (500,)}
    for part, kinds in failing.items():
        for kind in kinds:
            bucket.fail(part, kind, method="PUT")
    options = bucket.options
    laion_xr.ingest(tiny.root, "s3://stores/flaky", subjects=3, sessions=1, store_options=options, progress=False)
    assert [f.left for f in bucket.faults] == [0] * 5
    found = open_stored(bucket, tiny, "s3://stores/flaky", source="store", sessions=1)
    np.testing.assert_array_equal(found.betas, tiny.matrix(sessions=["ses-01"]))


def test_store_in_memory(tiny: Any, tiny_in_memory: str) -> None:
    store = "memory://laion-test-store"
    try:
        done = laion_xr.ingest(tiny_in_memory, store, subjects=3, progress=False)
        assert done["outcome"].tolist() == ["written"] * 3
        assert laion_xr.ingest(tiny_in_memory, store, subjects=3, progress=False)["outcome"].tolist() == ["kept"] * 3
        found = xr.open_dataset(tiny_in_memory, engine="laion_fmri", subject=3, store=store, source="store")
        np.testing.assert_array_equal(found.betas, tiny.matrix())
        fs = fsspec.filesystem("memory")
        fs.rm_file("/laion-test-store/sub-03/ses-02/zarr.json")
        found = xr.open_dataset(tiny_in_memory, engine="laion_fmri", subject=3, store=store)
        np.testing.assert_array_equal(found.betas, tiny.matrix())
        with pytest.raises(StoreError, match="ses-02 is not in the store"):
            xr.open_dataset(tiny_in_memory, engine="laion_fmri", subject=3, store=store, source="store")
        laion_xr.ingest(tiny_in_memory, store, subjects=3, progress=False)
        assert laion_xr.verify(store, tiny_in_memory)["status"].tolist() == ["ok"] * 3
    finally:
        fsspec.filesystem("memory").rm("/laion-test-store", recursive=True)
