"""Reading forward on one thread while another takes blocks: order, errors of either side, memory that is used again."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from laion_xr.location import FileEntry, Location
from laion_xr.readers.nifti import NiftiReader
from laion_xr.store import pipeline
from laion_xr.store.pipeline import in_file_order, release_buffers, through_threads

GRID, N_TRIALS = (3, 4, 5), 37
BETAS = np.random.default_rng(1).standard_normal((*GRID, N_TRIALS)).astype(np.float32)
MATRIX = np.moveaxis(BETAS, -1, 0).reshape(N_TRIALS, -1)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> NiftiReader:
    path = tmp_path_factory.mktemp("pipeline") / "betas.nii.gz"
    nib.save(nib.Nifti1Image(BETAS, np.eye(4)), path)
    stat = path.stat()
    entry = FileEntry(path.name, stat.st_size, str(stat.st_mtime_ns))
    return NiftiReader(Location(str(path.parent)), entry, GRID, N_TRIALS)


class Broken:
    """A reader whose file breaks off."""

    shape, dtype, token = (N_TRIALS, 60), np.dtype("f4"), ("broken",)

    def read(self, trials: Any, voxels: Any, out: Any = None) -> Any:
        if trials.start >= 16:
            raise EOFError("the file breaks off")
        return out


@given(height=st.integers(1, 50), held=st.integers(1, 20), voxels=st.permutations(range(60)), n=st.integers(1, 60))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_blocks_come_in_order_with_their_voxels_in_order(
    reader: NiftiReader, height: int, held: int, voxels: list[int], n: int
) -> None:
    picked = np.array(voxels[:n])
    found = np.full((N_TRIALS, n), np.nan, np.float32)
    starts: list[int] = []

    def consume(start: int, block: Any) -> None:
        starts.append(start)
        found[start : start + len(block)] = block
        block[...] = np.nan  # its memory belongs to the pipeline: what is written there must not come back

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "TRIALS_HELD", held)
        assert through_threads(reader, picked, height, lambda: ("result", consume)) == "result"
    assert starts == list(range(0, N_TRIALS, height))
    np.testing.assert_array_equal(found, MATRIX[:, picked])
    release_buffers()


def test_the_order_of_the_file_is_fortran_order(reader: NiftiReader) -> None:
    voxels = np.random.default_rng(0).permutation(60)[:33]
    ordered, restore = in_file_order(reader, voxels)
    i, j, k = np.unravel_index(ordered, GRID)
    assert (np.diff(i + GRID[0] * (j + GRID[1] * k)) > 0).all()
    assert restore is not None
    assert ordered[restore].tolist() == voxels.tolist()


def test_an_error_of_what_begins_is_raised(reader: NiftiReader) -> None:
    def begin() -> Any:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        through_threads(reader, np.arange(60), 4, begin)


def test_an_error_of_what_takes_ends_the_reading(reader: NiftiReader) -> None:
    taken: list[int] = []

    def consume(start: int, block: Any) -> None:
        taken.append(start)
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        through_threads(reader, np.arange(60), 2, lambda: (None, consume))
    assert taken == [0]


def test_an_error_of_the_reader_is_raised() -> None:
    taken: list[int] = []
    with pytest.raises(EOFError, match="breaks off"):
        through_threads(Broken(), np.arange(60), 16, lambda: (None, lambda start, block: taken.append(start)))
    assert taken == [0]


def test_memory_goes_from_one_session_to_the_next(reader: NiftiReader) -> None:
    def addresses() -> set[int]:
        seen: set[int] = set()
        through_threads(reader, np.arange(60), 20, lambda: (None, lambda s, block: seen.add(block.ctypes.data)))
        return seen

    release_buffers()
    first = addresses()
    assert len(first) == 2
    assert addresses() == first
    release_buffers()
    assert pipeline._buffers._free == {}
