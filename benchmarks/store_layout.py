"""How a store should keep betas: codecs, chunks and voxel orders, for three readers at once.

    python benchmarks/store_layout.py [ROOT] [--rounds 5] [--quick]

The readers: one ROI over all trials, one trial over all voxels, everything once; beside them a block of the voxel axis
over all trials, which is what an analysis by voxels reads. Each candidate is the choice (in bold) with one thing
changed. Blosc with a checksum is written (and read back) and read as the store does it, anything else by Zarr.

Prints Markdown tables for docs/explanation/store.md. Times are medians of the clock and, in brackets, of the processor
(all threads), which other work on the machine disturbs less. The page cache is warm: the disk of a machine is its own
matter, and what a codec saves there is in the column of sizes.

Without ROOT a full-size session is simulated in a temporary folder (about a minute, 1.2 GB; --quick: a small one).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
import zarr
from measure import cpu_seconds
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

import laion_xr
from laion_xr.dataset import roi_categories
from laion_xr.readers.chunkfiles import ChunkFiles
from laion_xr.readers.stored import LOST, fill
from laion_xr.store.encode import ChunkWriter
from laion_xr.store.order import storage_order
from laion_xr.store.plan import TRIAL_CHUNK, VOXEL_CHUNK
from laion_xr.store.precision import rounded

ROI = "laionventral"
BLOCK = 8192  # voxels of the axis, read over all trials
TWICE = "C, ROIs again"  # C-order, and a second array of the voxels that lie in an ROI, nested
READERS = (f"ROI ({ROI})", "one trial", f"{BLOCK} voxels", "everything")


@dataclass(frozen=True)
class Layout:
    """One way to keep a session."""

    codec: str = "lz4-5"
    shuffle: str = "bitshuffle"
    chunks: tuple[int, int] = (TRIAL_CHUNK, VOXEL_CHUNK)
    order: str = "nested"
    crc: bool = True
    precision: float | None = None

    def compressors(self) -> list[Any] | None:
        """Return Zarr's codecs."""
        found: list[Any] = []
        if self.codec.startswith("zarr-zstd"):
            found.append(ZstdCodec(level=int(self.codec.rpartition("-")[2])))
        elif self.codec != "none":
            cname, _, level = self.codec.partition("-")
            found.append(BloscCodec(cname=cname, clevel=int(level), shuffle=self.shuffle, typesize=4))
        if self.crc:
            found.append(Crc32cCodec())
        return found or None

    def row(self) -> list[str]:
        """Return how it reads in a table."""
        shuffle = "" if self.codec == "none" or self.codec.startswith("zarr") else f" {self.shuffle}"
        lossy = "exact" if self.precision is None else f"{self.precision:g}"
        own = self.crc and self.codec != "none" and not self.codec.startswith("zarr")
        codec = f"{self.codec.removeprefix('zarr-')}{shuffle}{' + crc' if self.crc else ''}{'' if own else ' (Zarr)'}"
        return [codec, f"{self.chunks}", self.order, lossy]


CHOICE = Layout()
TABLES: dict[str, list[Layout]] = {
    "Codecs": [
        CHOICE,
        replace(CHOICE, crc=False),
        replace(CHOICE, codec="lz4-1"),
        replace(CHOICE, codec="lz4-9"),
        replace(CHOICE, shuffle="shuffle"),
        replace(CHOICE, codec="zstd-1"),
        replace(CHOICE, codec="zstd-3"),
        replace(CHOICE, codec="zarr-zstd-1"),
        replace(CHOICE, codec="none"),
    ],
    "Chunks": [
        replace(CHOICE, chunks=chunks)
        for chunks in ((64, 4096), (128, 2048), (128, 4096), (128, 8192), (256, 2048), (256, 4096), (1044, 512))
    ],
    "Voxel orders": [
        replace(CHOICE, order=order, chunks=(128, width))
        for order in ("C", "by membership", "nested", TWICE)
        for width in (4096, 8192)
    ],
    "Precision": [replace(CHOICE, precision=p) for p in (None, 1e-5, 1e-4, 1e-3, 1e-2)],
}


def orders_of(ds: xr.Dataset) -> dict[str, Any]:
    """Return candidate orders: positions of the voxels, in the order on disk."""
    roi = ds["roi"].values
    member = roi != ""
    codes = pd.factorize(roi)[0]
    return {
        "C": np.arange(len(roi)),
        "by membership": np.lexsort([np.arange(len(roi)), codes, ~member]),
        "nested": storage_order(roi, roi_categories(ds)),
        TWICE: np.arange(len(roi)),
    }


@dataclass(frozen=True)
class Measured:
    """What a layout costs: bytes on disk, processor seconds of writing, (clock, processor) seconds of each read."""

    size: int
    write: float
    reads: list[list[tuple[float, float]]]


def write(folder: Path, name: str, layout: Layout, stored: Any) -> Any:
    """Write a matrix, a row of chunks at a time; return it as it is read."""
    group = zarr.open_group(str(folder), mode="a", zarr_format=3)
    array = group.create_array(
        name,
        shape=stored.shape,
        dtype="float32",
        chunks=(min(layout.chunks[0], len(stored)), min(layout.chunks[1], stored.shape[1])),
        compressors=layout.compressors(),
        fill_value=LOST,
        config={"write_empty_chunks": True},
    )
    files = ChunkFiles.of(array)
    codec = {"cname": layout.codec.partition("-")[0], "clevel": layout.codec[-1], "shuffle": layout.shuffle}
    writer = None if files is None else ChunkWriter(files, codec)
    for start in range(0, len(stored), layout.chunks[0]):
        block = stored[start : start + layout.chunks[0]]
        if writer is None:
            array[start : start + layout.chunks[0]] = block
        else:
            writer.write(start, block)
    return zarr.open_group(str(folder), mode="r")[name]


def measure(
    folder: Path, layout: Layout, betas: Any, orders: dict[str, Any], members: Any, roi: Any, rounds: int
) -> Measured:
    """Write a session, read it in each way."""

    def permuted(order: Any) -> Any:
        found = np.ascontiguousarray(betas[:, order])
        return found if layout.precision is None else rounded(found, layout.precision)

    order = orders[layout.order]
    column = np.empty(len(order), np.intp)
    column[order] = np.arange(len(order))
    stored = permuted(order)
    expected = stored[:, column[roi]]
    began = cpu_seconds()
    read = read_roi = write(folder, "betas", layout, stored)
    seconds = cpu_seconds() - began
    columns_roi = column[roi]
    del stored
    if layout.order == TWICE:
        nested = orders["nested"]
        in_some = nested[members[nested]]
        copy = permuted(in_some)
        began = cpu_seconds()
        read_roi = write(folder, "rois", layout, copy)
        seconds += cpu_seconds() - began
        columns_roi = np.argsort(in_some)[np.searchsorted(np.sort(in_some), roi)]
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())

    trials, voxels = np.arange(read.shape[0]), np.arange(read.shape[1])
    middle = read.shape[1] // 2
    picks = [
        (read_roi, trials, columns_roi),
        (read, trials[500:501], column[voxels]),
        (read, trials, column[voxels[middle : middle + BLOCK]]),
        (read, trials, column[voxels]),
    ]
    results = [np.empty((len(rows), len(columns)), np.float32) for _, rows, columns in picks]
    for result in results:
        result.fill(0)  # fresh memory costs the system as much as the read: every candidate, so none
    reads: list[list[tuple[float, float]]] = [[] for _ in picks]
    for _ in range(rounds):
        for number, (array, rows, columns) in enumerate(picks):
            before, used = time.perf_counter(), cpu_seconds()
            fill(array, rows, columns, results[number], lambda key: False)
            reads[number].append((time.perf_counter() - before, cpu_seconds() - used))
    if not np.array_equal(results[0], expected, equal_nan=True):
        raise AssertionError("what was read is not what was written")
    return Measured(size, seconds, reads)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a small session, one round: does it run?")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(options.root) if options.root else Path(scratch) / "data"
        if not options.root:
            small: dict[str, Any] = {"grid": 24, "trials": 600, "sessions": 1, "subjects": 1}
            laion_xr.simulate(root, **(small if options.quick else {"full_size": True}))
        ds = xr.open_dataset(root, engine="laion_fmri", source="nifti", sessions=["ses-01"])
        betas = ds.betas.values
        source = sum(p.stat().st_size for p in root.rglob("*ses-01*SingletrialBetas_statmap.nii.gz"))
        orders, members, roi = orders_of(ds), ds["roi"].values != "", np.flatnonzero(in_roi(ds))
        print(
            f"{betas.shape[0]} trials x {betas.shape[1]} voxels, {betas.nbytes / 1e9:.2f} GB as float32, source "
            f"{source / 1e9:.2f} GB; {ROI}: {len(roi)} voxels; {os.cpu_count()} cores, {rounds} rounds, "
            f"load {os.getloadavg()[0]:.1f}\n"
        )
        done: dict[Layout, Measured] = {}
        for title, layouts in TABLES.items():
            print(f"**{title}**\n")
            print("| codec | chunks | order | precision | size / source | write, CPU s |", end="")
            print("".join(f" {name}, ms (CPU) |" for name in READERS))
            print("|---|---|---|---|---|---|" + "---|" * len(READERS))
            for layout in layouts:
                if layout not in done:
                    folder = Path(scratch) / "layout.zarr"
                    done[layout] = measure(folder, layout, betas, orders, members, roi, rounds)
                    shutil.rmtree(folder)
                print(markdown(layout, done[layout], source), flush=True)
            print(flush=True)


def in_roi(ds: xr.Dataset) -> Any:
    """Return which voxels of the axis lie in the ROI."""
    return np.isin(ds["voxel"].values, ds.sel(roi=ROI)["voxel"].values)


def markdown(layout: Layout, found: Measured, source: int) -> str:
    """Return a row of a table."""
    times = [[statistics.median(column) * 1e3 for column in zip(*read, strict=True)] for read in found.reads]
    cells = [*layout.row(), f"{found.size / source:.2f}", f"{found.write:.1f}"]
    cells += [f"{clock:.0f} ({cpu:.0f})" for clock, cpu in times]
    mark = "**" if layout == CHOICE else ""
    return "| " + " | ".join(f"{mark}{cell}{mark}" for cell in cells) + " |"


if __name__ == "__main__":
    main()
