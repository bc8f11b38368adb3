"""Writing one session: coordinates and maps at once, betas in one forward pass, verified block by block."""

from __future__ import annotations

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
from laion_xr.readers.nifti import NiftiReader
from laion_xr.readers.stored import LOST, open_group, zarr_store
from laion_xr.store.checksum import crc32, differing_table, digest
from laion_xr.store.order import storage_order
from laion_xr.store.place import Place, consolidate
from laion_xr.store.plan import BLOCKS_HELD, IngestPlan
from laion_xr.store.precision import rounded
from laion_xr.stored import FORMAT_VERSION, RECORD, file_tail, voxels_checksum

if TYPE_CHECKING:
    import zarr

FloatArray = npt.NDArray[np.float32]
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
    checksums = _write_tables(ds.drop_vars("betas").load(), place)
    group = open_group(place.location, place.path, mode="r+")
    checksums["betas"] = _write_betas(group, ds["betas"], reader, plan, advance)
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
        if (stat.st_size, str(stat.st_mtime_ns)) != (source.size, source.changed):
            raise FileFormatError(
                f"{location.show(source.path)} changed while it was ingested: expected {source.size} bytes as they "
                f"were, found {stat.st_size}; ingest again when it is complete."
            )


def _write_tables(tables: xr.Dataset, place: Place) -> dict[str, Any]:
    """Write coordinates and maps, read them back, and return their checksums."""
    for variable in tables.variables.values():
        # a chunk that was damaged later is an error when it is read, not other numbers
        variable.encoding = {"compressors": (ZstdCodec(), Crc32cCodec())}
    target = zarr_store(place.location, writable=True)
    tables.to_zarr(target, group=place.path or None, mode="w", zarr_format=3, consolidated=False)
    checksums = {str(name): crc32(np.asarray(variable.values)) for name, variable in tables.variables.items()}
    wrong = differing_table(open_group(place.location, place.path), checksums)
    if wrong is not None:
        raise CorruptFileError(
            f"{place.location.show(place.path)}: {wrong} read back differently from what was written; check the disk."
        )
    return checksums


def _write_betas(
    group: zarr.Group, betas: xr.DataArray, reader: Reader, plan: IngestPlan, advance: Callable[[int], object]
) -> list[int]:
    n_trials = betas.shape[0]
    height, width = (min(chunk, max(size, 1)) for chunk, size in zip(plan.chunks, betas.shape, strict=True))
    array = group.create_array(
        "betas",
        shape=betas.shape,
        dtype="float32",
        chunks=(height, width),
        # as for the tables: a damaged chunk is an error
        compressors=[BloscCodec(typesize=4, **plan.codec), Crc32cCodec()],
        # no beta: where a chunk is lost it shows, and the reader says so
        fill_value=LOST,
        dimension_names=[str(dim) for dim in betas.dims],
        attributes=dict(betas.attrs),
        config={"write_empty_chunks": True},
        overwrite=True,
    )
    voxels = betas[schema.VOXEL].values
    checksums: list[int] = []
    writing: deque[tuple[Future[int], FloatArray]] = deque()
    # memory that was never touched costs more than filling it: the same few blocks go round
    free = [np.empty((height, len(voxels)), np.float32) for _ in range(BLOCKS_HELD)]

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
        try:
            for start, block in source_blocks(reader, voxels, height, buffer):
                if plan.precision is not None:
                    block[...] = rounded(block, plan.precision)
                writing.append((writer.submit(_write_block, array, start, block), free.pop()))
            while writing:
                written()
        finally:
            for future, _ in writing:
                future.cancel()
    if len(checksums) != -(-n_trials // height):
        raise CorruptFileError(f"{group.store_path}: expected {n_trials} trials, found fewer in the source.")
    return checksums


def _write_block(array: zarr.Array[Any], start: int, block: FloatArray) -> int:
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
    return crc32(block)


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
