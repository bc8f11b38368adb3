"""Writing one session: coordinates and maps at once, betas in one forward pass, verified block by block."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from laion_xr import schema
from laion_xr._version import __version__
from laion_xr.catalog import SubjectCatalog
from laion_xr.dataset import subject_dataset
from laion_xr.errors import CorruptFileError, FileFormatError
from laion_xr.indexes import roi_categories
from laion_xr.lazy.array import plan_of
from laion_xr.location import FileEntry, Location
from laion_xr.readers.base import Reader
from laion_xr.readers.chunkfiles import ChunkFiles
from laion_xr.readers.zarrarrays import LOST, open_group
from laion_xr.store.checksum import crc32, differing_table, digest
from laion_xr.store.encode import ChunkWriter
from laion_xr.store.order import storage_order
from laion_xr.store.pipeline import FloatArray, through_threads
from laion_xr.store.place import Place, consolidate, put_dataset
from laion_xr.store.plan import IngestPlan
from laion_xr.store.precision import rounded
from laion_xr.stored import FORMAT_VERSION, RECORD, file_tail, voxels_checksum

if TYPE_CHECKING:
    import zarr

# Writes the block of trials that begins at one of them, and reads it back
Writes = Callable[[int, FloatArray], None]
# Read back at once to compare with what was written
CHECKED_CHUNKS = 8


def write_session(
    catalog: SubjectCatalog,
    session: str,
    plan: IngestPlan,
    place: Place,
    advance: Callable[[int], object],
    decoded: Reader | None = None,
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
    decoded
        What was read of the session already, with all voxels of the mask; None to read it here.

    Raises
    ------
    CorruptFileError
        What was read back is not what was written, or the source is damaged.
    FileFormatError
        The source changed meanwhile.
    """
    ds = subject_dataset(
        catalog, sessions=[session], mask_source=plan.mask_source, label_index=False, embeddings=None, source="auto"
    )
    read = plan_of(ds["betas"].variable.data)
    assert read is not None
    reader = read.readers[0]
    source: FileEntry = reader.entry  # type: ignore[attr-defined]
    if decoded is not None and decoded.token != reader.token:
        raise _changed(catalog.location, source, "it was read")
    order = storage_order(ds["roi"].values, roi_categories(ds))
    ds = ds.isel({schema.VOXEL: order})
    checksums = _write_all(ds, decoded or reader, plan, place, advance)
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
        raise _changed(location, source, f"it was ingested (expected {source.size} bytes, found {now.size})")


def _changed(location: Location, source: FileEntry, since: str) -> FileFormatError:
    return FileFormatError(
        f"{location.show(source.path)} changed while {since}: expected the file as it was listed; ingest again when it "
        "is complete."
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
    n_trials = ds.sizes[schema.TRIAL]
    height = min(plan.chunks[0], max(n_trials, 1))
    checksums: list[int] = []

    def begin() -> tuple[dict[str, Any], Writes]:
        tables, put = _begin(ds, plan, place)

        def write(start: int, block: FloatArray) -> None:
            if plan.precision is not None:
                block[...] = rounded(block, plan.precision)
            put(start, block)
            checksums.append(crc32(block))
            advance(len(block))

        return tables, write

    tables = through_threads(reader, ds[schema.VOXEL].values, height, begin)
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
