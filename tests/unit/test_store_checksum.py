"""Checksums of values: what they depend on, what not, and which array they find."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import zarr

from laion_xr.store.checksum import crc32, differing_table, differing_trials, digest


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<i2", "<i8", "u1", "?"])
def test_is_the_crc_of_little_endian_bytes_in_c_order(dtype: str) -> None:
    values = np.arange(30).reshape(5, 6).astype(dtype)
    assert crc32(values) == zlib.crc32(values.tobytes())
    assert crc32(values.astype(values.dtype.newbyteorder(">"))) == crc32(values)
    assert crc32(np.asfortranarray(values)) == crc32(values)
    assert crc32(np.repeat(values, 2, axis=0)[::2]) == crc32(values)


def test_of_text_is_that_of_utf8() -> None:
    texts = ["", "FFA1+laionventral", "Gehörn", "a\tb"]
    expected = zlib.crc32("".join(f"{t}\0" for t in texts).encode())
    assert crc32(np.array(texts, dtype=object)) == expected
    assert crc32(np.array(texts, dtype=np.dtypes.StringDType())) == expected
    assert crc32(np.array(["ab", "c"], dtype=object)) != crc32(np.array(["a", "bc"], dtype=object))


def test_of_nothing() -> None:
    assert crc32(np.zeros((0, 3), np.float32)) == 0


@pytest.mark.parametrize("change", [(0, np.nan), (7, -0.0), (9, 5.0000005)])
def test_changes_with_every_bit(change: tuple[int, float]) -> None:
    values = np.zeros(10, np.float32)
    values[9] = 5
    other = values.copy()
    other[change[0]] = change[1]
    assert crc32(other) != crc32(values)


def test_one_of_many_does_not_depend_on_their_order() -> None:
    assert digest({"a": 1, "b": [2, 3]}) == digest({"b": [2, 3], "a": 1})
    assert digest({"a": 1, "b": [2, 3]}) != digest({"a": 1, "b": [3, 2]})
    assert len(digest({})) == 16


@pytest.fixture
def group() -> zarr.Group:
    group = zarr.group(zarr.storage.MemoryStore())
    group.create_array("voxel", data=np.arange(7))
    group.create_array("betas", data=np.arange(35, dtype=np.float32).reshape(5, 7), chunks=(2, 4))
    return group


@pytest.fixture
def checksums(group: zarr.Group) -> dict[str, object]:
    betas = group["betas"][...]
    return {"voxel": crc32(np.arange(7)), "betas": [crc32(betas[i : i + 2]) for i in (0, 2, 4)]}


def test_what_is_right(group: zarr.Group, checksums: dict[str, object]) -> None:
    assert differing_table(group, checksums) is None
    assert differing_trials(group, checksums, 5, 2) is None


def test_finds_the_array_that_differs(group: zarr.Group, checksums: dict[str, object]) -> None:
    group["voxel"][3] = 0
    assert differing_table(group, checksums) == "voxel"
    assert differing_trials(group, checksums, 5, 2) is None


@pytest.mark.parametrize(("trial", "words"), [(0, "trials 0 to 1"), (3, "trials 2 to 3"), (4, "trials 4 to 4")])
def test_finds_the_trials_that_differ(group: zarr.Group, checksums: dict[str, object], trial: int, words: str) -> None:
    group["betas"][trial, 6] = -1
    assert differing_table(group, checksums) is None
    assert differing_trials(group, checksums, 5, 2) == words
