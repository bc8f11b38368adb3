"""How the simulator writes files: beside their place and then renamed, so that no reader sees half of one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from zlib_ng import zlib_ng

GZIP = 31  # window bits that make zlib write a gzip member


@contextmanager
def replacing(path: Path, suffix: str = ".partial") -> Iterator[Path]:
    """Give a temporary name beside `path`; what was written there is renamed to `path`, or removed on an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a text file, with newlines as they are."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a JSON file."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def header_of(shape: tuple[int, ...], dtype: npt.DTypeLike, affine: npt.NDArray[np.float64]) -> nib.Nifti1Header:
    """Return the header of a little-endian single-file NIfTI-1 in T1w space: both transforms set, mm and seconds."""
    header = nib.Nifti1Header(endianness="<")
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header.set_qform(affine, code="scanner")
    header.set_sform(affine, code="scanner")
    header.set_xyzt_units("mm", "sec")
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    return header


def write_map(
    path: Path, volume: npt.NDArray[np.generic], affine: npt.NDArray[np.float64], description: str = ""
) -> None:
    """Write a 3-D NIfTI, gzip, with a JSON sidecar when there is a description of it."""
    header = header_of(volume.shape, volume.dtype, affine)
    compressor = zlib_ng.compressobj(6, zlib_ng.DEFLATED, GZIP)
    parts = [compressor.compress(header.binaryblock + bytes(4)), compressor.compress(volume.tobytes(order="F"))]
    write_bytes(path, b"".join([*parts, compressor.flush()]))
    if description:
        write_json(path.with_name(path.name.removesuffix(".nii.gz") + ".json"), {"Description": description})
