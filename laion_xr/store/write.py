"""Writing one session: coordinates and maps at once, betas in one forward pass, verified block by block."""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from laion_xr import schema
from laion_xr._version import __version__
from laion_xr.catalog import SubjectCatalog
from laion_xr.dataset import roi_categories, subject_dataset
from laion_xr.errors import CorruptFileError, FileFormatError
from laion_xr.lazy.array import plan_of
from laion_xr.location import FileEntry, Location
from laion_xr.readers.base import IntArray, Reader
from laion_xr.readers.chunkfiles import ChunkFiles
from laion_xr.readers.nifti import NiftiReader
from laion_xr.readers.stored import LOST, open_group
from laion_xr.store.checksum import crc32, differing_table, digest
from laion_xr.store.encode import ChunkWriter
from laion_xr.store.order import storage_order
from laion_xr.store.place import Place, consolidate, put_dataset
from laion_xr.store.plan import BLOCKS_HELD, IngestPlan
from laion_xr.store.precision import rounded
from laion_xr.stored import FORMAT_VERSION, RECORD, file_tail, voxels_checksum

if TYPE_CHECKING:
    import zarr

FloatArray = npt.NDArray[np.float32]
# Writes the block of trials that begins at one of them, and reads it back
Writes = Callable[[int, FloatArray], None]
# Read back at once to compare with what was written
CHECKED_CHUNKS = 8


def write_session(
    catalog: SubjectCatalog, session: str, plan: IngestPlan, place: Place, advance: Callable[[int], object]
) -> dict[str, Any]:
    """Write a session into its place, verify it and publish it; return its record.

    Parameters
    ----------
    catalog
        The subject.
    session
        Which.
    plan
        Chunks, codec, precision, mask.
    place
        Where, as `reserved` gives it.
    advance
        Called with the number of trials that were written.

    Raises
    ------
    CorruptFileError
        What was read back is not what was written, or the source is damaged.
    """
    ds = subject_dataset(
        catalog, sessions=[session], mask_source=plan.mask_source, label_index=False, embeddings=None, source="auto"
    )
    read = plan_of(ds["betas"].variable.data)
    assert read is not None
    reader = read.readers[0]
    source: FileEntry = reader.entry  # type: ignore[attr-defined]
    order = storage_order(ds["roi"].values, roi_categories(ds))
    ds = ds.isel({schema.VOXEL: order})
    checksums = _write_all(ds, reader, plan, place, advance)
    _check_unchanged(catalog.location, source)
    record = {
        "format": FORMAT_VERSION,
        "package": __version__,
        "n_trials": reader.shape[0],
        "n_voxels": int(ds.sizes[schema.VOXEL]),
        # not that of the plan, where the brain mask is missing
        "mask_source": ds.attrs["mask_source"],
        "voxels_crc32": voxels_checksum(ds[schema.VOXEL].values),
        "precision": plan.precision,
        "source": {**source._asdict(), "tail": file_tail(catalog.location, source)},
        "block": plan.chunks[0],
        "chunks": list(plan.chunks),
        "codec": plan.codec,
        "checksums": checksums,
        "checksum": digest(checksums),
        "complete": True,
    }
    consolidate(place.location, place.path)
    # the record is what makes a session complete: it is the last thing that is written
    open_group(place.location, place.path, mode="r+").update_attributes({RECORD: record})
    place.publish()
    return record


def _check_unchanged(location: Location, source: FileEntry) -> None:
    """Check that the source is the file that it was when it was listed: the record names that one."""
    if location.is_local:
        stat = os.stat(location.at(source.path))
        now = source._replace(size=stat.st_size, changed=str(stat.st_mtime_ns))
    else:
        listed = location.files(source.path.rpartition("/")[0])
        now = next((entry for entry in listed if entry.path == source.path), source._replace(size=0))
    if now != source and source.is_known:
        raise FileFormatError(
            f"{location.show(source.path)} changed while it was ingested: expected {source.size} bytes as they "
            f"were, found {now.size}; ingest again when it is complete."
        )


def _write_tables(tables: xr.Dataset, place: Place) -> dict[str, Any]:
    """Write coordinates and maps, read them back, and return their checksums."""
    for variable in tables.variables.values():
        # a chunk that was damaged later is an error when it is read, not other numbers
        variable.encoding = {"compressors": (ZstdCodec(), Crc32cCodec())}
    put_dataset(tables, place.location, place.path)
    checksums = {str(name): crc32(np.asarray(variable.values)) for name, variable in tables.variables.items()}
    wrong = differing_table(open_group(place.location, place.path), checksums)
    if wrong is not None:
        raise CorruptFileError(
            f"{place.location.show(place.path)}: {wrong} read back differently from what was written; check the disk."
        )
    return checksums


def _write_all(
    ds: xr.Dataset, reader: Reader, plan: IngestPlan, place: Place, advance: Callable[[int], object]
) -> dict[str, Any]:
    """Write tables and betas; return their checksums."""
    n_trials, n_voxels = ds["betas"].shape
    height = min(plan.chunks[0], max(n_trials, 1))
    checksums: list[int] = []
    writing: deque[tuple[Future[int], FloatArray]] = deque()
    # memory that was never touched costs more than filling it: the same few blocks go round
    free = [np.empty((height, n_voxels), np.float32) for _ in range(BLOCKS_HELD)]

    def written() -> None:
        future, block = writing.popleft()
        checksums.append(future.result())
        free.append(block)
        advance(min(height, n_trials - height * (len(checksums) - 1)))

    def buffer(n: int) -> FloatArray:
        if not free:
            written()
        return free[-1][:n]

    # one thread gathers (this one), one encodes and writes: as fast as the slower of the two
    with ThreadPoolExecutor(1, thread_name_prefix="laion-xr-write") as writer:
        # the tables too: meanwhile the first block is inflated
        begun = writer.submit(_begin, ds, plan, place)
        try:
            for start, block in source_blocks(reader, ds[schema.VOXEL].values, height, buffer):
                if plan.precision is not None:
                    block[...] = rounded(block, plan.precision)
                writing.append((writer.submit(_write_block, begun, start, block), free.pop()))
            while writing:
                written()
        finally:
            for future, _ in writing:
                future.cancel()
        tables, _ = begun.result()
    if len(checksums) != -(-n_trials // height):
        raise CorruptFileError(f"{place.path}: expected {n_trials} trials, found fewer in the source.")
    return {**tables, "betas": checksums}


def _begin(ds: xr.Dataset, plan: IngestPlan, place: Place) -> tuple[dict[str, Any], Writes]:
    """Write the tables, and make the array of betas; return their checksums, and what writes a block."""
    checksums = _write_tables(ds.drop_vars("betas").load(), place)
    betas = ds["betas"]
    array = open_group(place.location, place.path, mode="r+").create_array(
        "betas",
        shape=betas.shape,
        dtype="float32",
        chunks=tuple(min(chunk, max(size, 1)) for chunk, size in zip(plan.chunks, betas.shape, strict=True)),
        # as for the tables: a damaged chunk is an error
        compressors=[BloscCodec(typesize=4, **plan.codec), Crc32cCodec()],
        # no beta: where a chunk is lost it shows, and the reader says so
        fill_value=LOST,
        dimension_names=[str(dim) for dim in betas.dims],
        attributes=dict(betas.attrs),
        config={"write_empty_chunks": True},
        overwrite=True,
    )
    files = ChunkFiles.of(array)
    return checksums, functools.partial(_put, array) if files is None else ChunkWriter(files, plan.codec).write


def _write_block(begun: Future[tuple[dict[str, Any], Writes]], start: int, block: FloatArray) -> int:
    begun.result()[1](start, block)
    return crc32(block)


def _put(array: zarr.Array[Any], start: int, block: FloatArray) -> None:
    """Write a block with Zarr, and compare what is there then with what was to be written."""
    stop, width = start + len(block), CHECKED_CHUNKS * array.chunks[1]
    array[start:stop] = block
    for left in range(0, block.shape[1], width):
        back = np.ascontiguousarray(array[start:stop, left : left + width])
        expected = np.ascontiguousarray(block[:, left : left + width])
        # bytes, not values: NaN is to come back as it was
        if not np.array_equal(back.view(np.uint32), expected.view(np.uint32)):
            raise CorruptFileError(
                f"{array.store_path}: trials {start} to {stop - 1} read back differently from what was written; check "
                "the disk."
            )


def source_blocks(
    reader: Reader, voxels: IntArray, height: int, buffer: Callable[[int], FloatArray] | None = None
) -> Iterator[tuple[int, FloatArray]]:
    """Yield a session's betas `height` trials at a time, in one pass where the file is read forward.

    `buffer` returns the array to fill with so many trials; None for a new one each.
    """
    if isinstance(reader, NiftiReader):
        yield from reader.stream(voxels, height, buffer)  # type: ignore[misc]
        return
    for start in range(0, reader.shape[0], height):
        stop = min(start + height, reader.shape[0])
        out = None if buffer is None else buffer(stop - start)
        yield start, reader.read(slice(start, stop), voxels, out)  # type: ignore[misc]
