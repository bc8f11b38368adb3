"""Rows of an embeddings file: whatever is asked for, as numpy's own indexing of the whole finds it."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from laion_xr.errors import FileFormatError
from laion_xr.location import FileEntry, Location
from laion_xr.readers import embeddings as module
from laion_xr.readers.embeddings import EmbeddingReader, read_embedding_table

N_IMAGES, N_FEATURES = 23, 5
VALUES = np.arange(N_IMAGES * N_FEATURES, dtype=np.float16).reshape(N_IMAGES, N_FEATURES)
WITH_NAN = np.vstack([VALUES, np.full((1, N_FEATURES), np.nan, np.float16)])


def written(folder: Path, **layout: object) -> tuple[Location, FileEntry]:
    path = folder / "clip.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("embedding", data=VALUES, **layout)
        names = [f"{i}.jpg" for i in range(N_IMAGES)]
        file.create_dataset("image_ids", data=names, dtype=h5py.string_dtype())
        file["valid"] = np.arange(N_IMAGES) != 2
    return Location.of(folder), FileEntry(path.name, path.stat().st_size, str(path.stat().st_mtime_ns))


def reader(place: tuple[Location, FileEntry]) -> EmbeddingReader:
    return EmbeddingReader(*place, N_IMAGES, N_FEATURES, VALUES.dtype)


LAYOUTS = [{}, {"chunks": (4, 5)}, {"chunks": (7, 2), "compression": "gzip"}]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.integers(0, N_IMAGES), max_size=60),
    features=st.none() | st.lists(st.integers(0, N_FEATURES - 1), max_size=7),
    block=st.integers(1, 30),
    gap=st.integers(1, 10),
    layout=st.sampled_from(LAYOUTS),
    order=st.sampled_from(["new", "C", "F", "part"]),
)
def test_any_rows_and_features(
    tmp_path: Path, rows: list[int], features: list[int] | None, block: int, gap: int, layout: dict, order: str
) -> None:
    columns = np.array(range(N_FEATURES) if features is None else features, int)
    expected = WITH_NAN[np.array(rows, int)][:, columns]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_ROWS", block)
        patch.setattr(module, "GAP_ROWS", gap)
        found = reader(written(tmp_path, **layout))
        out = None
        if order in ("C", "F"):
            out = np.full(expected.shape, -1, np.float16, order=order)
        elif order == "part":  # columns of a wider array
            out = np.full((expected.shape[0], expected.shape[1] + 3), -1, np.float16)[:, 1:-2]
        values = found.read(np.array(rows, int), columns, out=out)
    np.testing.assert_array_equal(values, expected)
    assert out is None or values is out


def test_each_stretch_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = reader(written(tmp_path))
    asked: list[tuple[int, int]] = []
    real = h5py.Dataset.read_direct

    def recording(self: h5py.Dataset, dest: np.ndarray, source: slice, to: slice) -> None:
        asked.append((source.start, source.stop))
        real(self, dest, source, to)

    monkeypatch.setattr(h5py.Dataset, "read_direct", recording)
    monkeypatch.setattr(module, "BLOCK_ROWS", 10)
    monkeypatch.setattr(module, "GAP_ROWS", 3)
    rows = np.array([22, 1, 4, 1, 9, 12, 22, 1])
    np.testing.assert_array_equal(found.read(np.tile(rows, 9), np.arange(N_FEATURES)), VALUES[np.tile(rows, 9)])
    assert asked == [(1, 5), (9, 10), (12, 13), (22, 23)]


def test_nothing_is_opened_for_nothing(tmp_path: Path) -> None:
    place = written(tmp_path)
    (tmp_path / "clip.h5").unlink()
    found = reader(place)
    assert found.read(np.array([], int), np.arange(N_FEATURES)).shape == (0, N_FEATURES)
    assert found.read(np.array([3]), np.array([], int)).shape == (1, 0)
    assert np.isnan(found.read(np.array([N_IMAGES]), np.arange(N_FEATURES))).all()


def test_names_and_flags(tmp_path: Path) -> None:
    table = read_embedding_table(*written(tmp_path))
    assert table.shape == VALUES.shape
    assert table.image_ids.tolist() == [f"{i}.jpg" for i in range(N_IMAGES)]
    assert np.flatnonzero(~table.valid).tolist() == [2]


def test_files_of_something_else(tmp_path: Path) -> None:
    place = written(tmp_path)
    with h5py.File(tmp_path / "clip.h5", "a") as file:
        del file["valid"]
    assert read_embedding_table(*place).valid.all()
    with h5py.File(tmp_path / "clip.h5", "a") as file:
        del file["image_ids"]
        file["image_ids"] = ["a.jpg"]
    with pytest.raises(FileFormatError, match=r"clip\.h5 does not hold one row a name: embedding \(23, 5\).*\(1,\)"):
        read_embedding_table(*place)
    with h5py.File(tmp_path / "clip.h5", "a") as file:
        del file["image_ids"]
    with pytest.raises(FileFormatError, match=r"clip\.h5 has no array 'image_ids': found embedding; download it again"):
        read_embedding_table(*place)
