"""The plan of an ingest: data that can be printed, edited and passed back, and what it says is so."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import laion_xr
from laion_xr.errors import ClampedWarning, DataNotDownloadedError, SelectionError, StoreError, UnknownLabelError
from laion_xr.store import IngestPlan, SessionPlan, plan_ingest

MB = 1_000_000


def session(**changes: Any) -> SessionPlan:
    fields = {"subject": "sub-03", "session": "ses-01", "action": "write", "source": "b.nii.gz", "source_bytes": 100}
    return SessionPlan(**{**fields, "n_trials": 1000, "n_voxels": 250_000, **changes})


def plan(*sessions: SessionPlan, **changes: Any) -> IngestPlan:
    return IngestPlan("/root", "/store", list(sessions) or [session()], **changes)


def actions(found: IngestPlan) -> dict[str, str]:
    return {f"{s.subject} {s.session}": s.action for s in found.sessions}


# as data


@given(
    st.builds(
        plan,
        st.builds(session, action=st.sampled_from(["write", "keep", "replace"]), n_trials=st.integers(0, 2000)),
        chunks=st.tuples(st.integers(1, 999), st.integers(1, 99999)),
        precision=st.none() | st.floats(1e-7, 0.1),
        workers=st.integers(1, 99),
        memory=st.integers(0, 10**12),
        free_bytes=st.none() | st.integers(0, 10**15),
    )
)
def test_json_and_back(found: IngestPlan) -> None:
    assert IngestPlan.from_json(found.to_json()) == found
    assert json.loads(found.to_json())["estimates"]["store_bytes"] == found.store_bytes


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"root": 1}', '{"sessions": [{"subject": "sub-01"}]}', '{"sessions": 3, "chunks": []}']
)
def test_what_is_no_plan(text: str) -> None:
    with pytest.raises(SelectionError, match="Expected the JSON of an ingest plan, as 'laion-xr plan --json'"):
        IngestPlan.from_json(text)


def test_printed() -> None:
    text = str(plan(session(), session(session="ses-02", action="keep"), workers=2, free_bytes=5 * 10**9))
    assert text.splitlines()[0] == "/root -> /store"
    assert "sub-03 ses-01: write   1000 x 250000" in text
    assert "1 of 2 sessions to write, about 0.90 GB (free: 5.0 GB), about 2.8 s with 2 workers" in text
    assert "free: unknown" in str(plan())
    # a notebook shows the same
    assert repr(plan()) == str(plan())


def test_what_is_kept_costs_nothing() -> None:
    found = plan(session(action="keep"))
    assert (found.to_write, found.store_bytes, found.seconds) == ([], 0, 0)
    found.sessions[0].action = "replace"
    assert found.to_write == found.sessions
    assert 0.8e9 < found.store_bytes < 1e9


def test_a_lossy_store_is_smaller() -> None:
    exact, lossy = plan().store_bytes, plan(precision=1e-3).store_bytes
    assert lossy == pytest.approx(exact * 18 / 32, rel=1e-6)


def test_workers_that_fit() -> None:
    one = plan().worker_bytes
    # four blocks of trials, and the rest
    assert 4 * 4 * 128 * 250_000 < one < 1_000 * MB
    assert plan(workers=4, memory=0).fitting_workers() == 4
    assert plan(workers=4, memory=one * 4).fitting_workers() == 4
    assert plan(workers=4, memory=one * 4 - 1).fitting_workers() == 3
    with pytest.raises(SelectionError, match=f"memory=100 MB is less than one worker takes .{one // MB} MB"):
        plan(memory=100 * MB).fitting_workers()
    with pytest.raises(SelectionError, match=r"memory=1\.00 kB is less than"):
        plan(memory=1000).fitting_workers()
    # chunks that were edited count
    assert plan(workers=4, memory=one * 4, chunks=(512, 4096)).fitting_workers() == 1
    assert plan(session(n_voxels=100), workers=4, memory=one).fitting_workers() == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"chunks": (0, 10)}, "chunks are a number of trials and one of voxels"),
        ({"chunks": (10,)}, "chunks are a number of trials"),
        ({"chunks": (1.5, 10)}, "chunks are a number of trials"),
        ({"precision": 0.5}, "precision is a relative error between 1e-07 and 0.1"),
        ({"precision": 0.0}, "precision is a relative error"),
    ],
)
def test_values_that_cannot_be(changes: dict[str, Any], words: str, tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(SelectionError, match=words):
        plan(**changes).check()
    found = plan_ingest(tiny.root, tmp_path / "laion.zarr")
    for name, value in changes.items():
        setattr(found, name, value)
    with pytest.raises(SelectionError, match=words):
        laion_xr.ingest(tiny.root, tmp_path / "laion.zarr", plan=found)
    assert not (tmp_path / "laion.zarr").exists()


def test_an_action_that_cannot_be() -> None:
    with pytest.raises(SelectionError, match="Action of a session 'skip' does not exist here"):
        plan(session(action="skip")).check()


# of a dataset


def test_of_a_new_store(tiny: Any, tmp_path: Path) -> None:
    found = plan_ingest(tiny.root, tmp_path / "laion.zarr")
    assert set(actions(found).values()) == {"write"}
    assert list(actions(found)) == ["sub-01 ses-01", "sub-01 ses-02", "sub-03 ses-01", "sub-03 ses-02", "sub-03 ses-03"]
    assert [s.n_trials for s in found.sessions] == [11, 13, 14, 17, 15]
    assert {s.n_voxels for s in found.sessions} == {len(tiny.voxels)}
    first = found.sessions[0]
    file = tiny.betas_file("ses-01", "sub-01")
    assert (tiny.root / first.source, first.source_bytes) == (file, file.stat().st_size)
    assert found.free_bytes > 0
    assert not (tmp_path / "laion.zarr").exists()
    assert list(tmp_path.iterdir()) == []


def test_of_some_subjects_and_sessions(tiny: Any, tmp_path: Path) -> None:
    store = tmp_path / "laion.zarr"
    assert list(actions(plan_ingest(tiny.root, store, subjects=3, sessions=[2, "ses-03"]))) == [
        "sub-03 ses-02",
        "sub-03 ses-03",
    ]
    assert list(actions(plan_ingest(tiny.root, store, subjects=["sub-01"], sessions=1))) == ["sub-01 ses-01"]
    with pytest.raises(UnknownLabelError, match=r"Session of sub-01 '?3'? does not exist"):
        plan_ingest(tiny.root, store, sessions=3)  # sub-01 has two


def test_of_what_is_stored(tiny_copy: Any, tmp_path: Path) -> None:
    root, store = tiny_copy.root, tmp_path / "laion.zarr"
    laion_xr.ingest(root, store, subjects=3, sessions=[1, 2], progress=False)
    assert list(actions(plan_ingest(root, store, subjects=3)).values()) == ["keep", "keep", "write"]
    assert list(actions(plan_ingest(root, store, subjects=3, precision=0.01)).values()) == [
        "replace",
        "replace",
        "write",
    ]
    assert list(actions(plan_ingest(root, store, subjects=3, mask_source="rsquare")).values()) == [
        "replace",
        "replace",
        "write",
    ]
    tiny_copy.betas_file("ses-01").write_bytes(tiny_copy.betas_file("ses-02").read_bytes())
    assert list(actions(plan_ingest(root, store, subjects=3)).values()) == ["replace", "keep", "write"]


def test_of_what_is_stored_and_gone_from_the_source(tiny_copy: Any, tmp_path: Path) -> None:
    root, store = tiny_copy.root, tmp_path / "laion.zarr"
    laion_xr.ingest(root, store, subjects=3, progress=False)
    for name in tiny_copy.sessions():
        tiny_copy.betas_file(name).unlink()
    # ses-01 has a model file yet, of the same betas
    found = plan_ingest(root, store, subjects=3)
    assert set(actions(found).values()) == {"keep"}
    assert [s.n_trials for s in found.sessions] == [14, 17, 15]
    # and nothing else can be made of the other two
    again = plan_ingest(root, store, subjects=3, precision=0.01)
    assert list(actions(again).values()) == ["replace", "keep", "keep"]
    table = laion_xr.ingest(root, store, subjects=3, progress=False)
    assert table["outcome"].tolist() == ["kept"] * 3


def test_a_subject_without_betas_is_passed_by(tiny_copy: Any, tmp_path: Path) -> None:
    for name in tiny_copy.sessions("sub-01"):
        tiny_copy.betas_file(name, "sub-01").unlink()
    assert {s.subject for s in plan_ingest(tiny_copy.root, tmp_path / "laion.zarr").sessions} == {"sub-03"}
    with pytest.raises(DataNotDownloadedError, match="No session of sub-01 has betas"):
        plan_ingest(tiny_copy.root, tmp_path / "laion.zarr", subjects=1)


def test_trials_are_counted_without_a_table_too(tiny_copy: Any, tmp_path: Path) -> None:
    table = tiny_copy.trials_file("ses-02")
    table.write_text(table.read_text().rstrip("\n"))
    tiny_copy.trials_file("ses-03").unlink()
    found = plan_ingest(tiny_copy.root, tmp_path / "laion.zarr", subjects=3)
    assert [s.n_trials for s in found.sessions] == [14, 17, 15]


def test_precision_that_cannot_be(tiny: Any, tmp_path: Path) -> None:
    for precision in (0.5, 0, -1e-3, 1e-9):
        with pytest.raises(SelectionError, match=r"precision is a relative error between 1e-07 and 0\.1, or None"):
            plan_ingest(tiny.root, tmp_path, precision=precision)


def test_memory_and_workers(tiny: Any, tmp_path: Path) -> None:
    found = plan_ingest(tiny.root, tmp_path / "laion.zarr", workers=8, memory=600 * MB)
    assert (found.workers, found.workers_asked, found.memory) == (2, 8, 600 * MB)
    with pytest.raises(SelectionError, match=r"memory=10\.0 MB is less than one worker takes"):
        plan_ingest(tiny.root, tmp_path / "laion.zarr", memory=10 * MB)
    with pytest.warns(ClampedWarning, match=r"8 workers of 2\d\d MB do not fit into 600 MB: 2 write at once"):
        laion_xr.ingest(tiny.root, tmp_path / "laion.zarr", plan=found, progress=False)


def test_no_room(tiny: Any, tmp_path: Path) -> None:
    found = plan_ingest(tiny.root, tmp_path / "laion.zarr")
    found.free_bytes = 1000
    with pytest.raises(StoreError, match=r"The store needs about .* GB and .* has 0\.0 GB free: make room"):
        laion_xr.ingest(tiny.root, tmp_path / "laion.zarr", plan=found)
    assert not (tmp_path / "laion.zarr").exists()


def test_an_edited_plan_is_what_is_done(tiny: Any, tmp_path: Path) -> None:
    store = tmp_path / "laion.zarr"
    found = IngestPlan.from_json(plan_ingest(tiny.root, store, subjects=3).to_json())
    found.sessions[1].action = "keep"
    found.chunks = (5, 11)
    done = laion_xr.ingest(tiny.root, store, plan=found, progress=False)
    assert done["outcome"].tolist() == ["written", "kept", "written"]
    assert sorted(os.listdir(store / "sub-03")) == ["ses-01", "ses-03", "zarr.json"]
    metadata = json.loads((store / "sub-03/ses-01/betas/zarr.json").read_text())
    assert metadata["chunk_grid"]["configuration"]["chunk_shape"] == [5, 11]
