"""Reads a subject's FreeSurfer files from anywhere: surfaces, where their coordinates begin, transforms to MNI305."""

from __future__ import annotations

import io
import re
import tempfile
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from nibabel.freesurfer.io import read_geometry
from nibabel.freesurfer.mghformat import MGHHeader

from laion_xr.errors import CorruptFileError, DataNotDownloadedError, FileFormatError, SelectionError, did_you_mean
from laion_xr.location import Location
from laion_xr.readers.pointers import raise_if_pointer
from laion_xr.space.place import Place

Points = npt.NDArray[np.float64]  # (n, 3)
Faces = npt.NDArray[np.int32]  # (m, 3)

HEMISPHERES = {"L": "lh", "R": "rh"}
TRANSFORMS = {"xfm": "talairach.xfm", "lta": "talairach.lta"}
_VOLUME = "orig.mgz"  # its header says where surface coordinates begin, where a surface does not
_MGH_HEADER = 284  # bytes
_MGH_HEAD = 4096  # bytes of a compressed file that hold its header


class Surface(NamedTuple):
    """A surface as its file has it.

    coords : mm of surface RAS, which begins at the middle of FreeSurfer's volumes ("tkregister RAS").
    """

    coords: Points
    faces: Faces
    c_ras: Points | None  # (3,) the middle of the volumes in scanner mm, where the file says it


def read_surfaces(location: Location, paths: Sequence[str]) -> list[Surface]:
    """Return surfaces by their paths, in one go.

    Raises
    ------
    DataNotDownloadedError
        A file is not there; the message has its path.
    FileFormatError, CorruptFileError
        A file is no surface, or is cut short.
    """
    found = location.read_many(paths)
    return [_parsed(found[path], location.show(path)) for path in paths]


def _parsed(data: bytes, name: str) -> Surface:
    raise_if_pointer(data[:512], name)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # nibabel reads surfaces from a path only, and warns where the volume is not named
        warnings.simplefilter("ignore", UserWarning)
        path = Path(folder) / "surface"
        path.write_bytes(data)
        try:
            coords, faces, info = read_geometry(path, read_metadata=True)
        except (ValueError, IndexError, TypeError, OSError, UnboundLocalError) as error:
            if data[:3] in (b"\xff\xff\xfe", b"\xff\xff\xff"):
                raise CorruptFileError(f"{name} is truncated or damaged: {error}. Download it again.") from None
            raise FileFormatError(
                f"{name} is not a FreeSurfer surface: it begins with {data[:16]!r}. Download it again."
            ) from None
    points, triangles = np.asarray(coords, np.float64), np.asarray(faces, np.int32)
    if not np.isfinite(points).all() or (triangles.size and not 0 <= triangles.min() <= triangles.max() < len(points)):
        raise CorruptFileError(f"{name} is damaged: triangles of vertices that are not there. Download it again.")
    return Surface(points, triangles, _middle(info))


def _middle(info: dict[str, Any]) -> Points | None:
    valid = str(info.get("valid", "0")).strip().startswith("1")
    return np.asarray(info["cras"], np.float64) if valid and "cras" in info else None


def surface_origin(place: Place, surface: Surface) -> Points:
    """Return what is added to surface coordinates for mm of T1w space, (3,): FreeSurfer's c_ras.

    Of the surface's own header, else of `mri/orig.mgz`.

    Raises
    ------
    DataNotDownloadedError
        Neither is there.
    """
    if surface.c_ras is not None:
        return surface.c_ras
    path = place.freesurfer("mri", _VOLUME)
    name = place.location.show(path)
    head = place.location.read_many([path], _MGH_HEAD)[path]
    raise_if_pointer(head, name)
    try:
        header = MGHHeader.from_fileobj(io.BytesIO(zlib.decompressobj(31).decompress(head, _MGH_HEADER)))
    except Exception as error:
        raise FileFormatError(f"{name} is not an MGZ volume ({error}). Download it again.") from None
    return np.asarray(header["Pxyz_c"], np.float64)


def template_affine(place: Place, transform: str | None = None) -> tuple[Points, str]:
    """Return the affine (4, 4) from mm of T1w space to mm of MNI305, and the path that it is from.

    Parameters
    ----------
    transform
        `"xfm"` or `"lta"`: which of FreeSurfer's files. None: `talairach.xfm`, which is what FreeSurfer calls MNI305
        (https://surfer.nmr.mgh.harvard.edu/fswiki/CoordinateSystems), else `talairach.lta`, which registers the brain
        to FreeSurfer's own atlas in that space. Both are linear; on a real brain they differ by some millimetres.

    Raises
    ------
    DataNotDownloadedError
        The file is not there.
    FileFormatError
        It is no such transform.
    """
    if transform is not None and transform not in TRANSFORMS:
        raise SelectionError(did_you_mean("transform", transform, TRANSFORMS))
    paths = {kind: place.freesurfer("mri/transforms", name) for kind, name in TRANSFORMS.items()}
    for kind in TRANSFORMS if transform is None else [transform]:
        try:
            data = place.location.read_bytes(paths[kind])
        except DataNotDownloadedError:
            if transform is not None:
                raise
            continue
        name = place.location.show(paths[kind])
        raise_if_pointer(data[:512], name)
        text = data.decode("latin-1")
        try:
            matrix = _lta(text) if kind == "lta" else _xfm(text)
            if not (np.isfinite(matrix).all() and abs(np.linalg.det(matrix)) > 1e-9):
                raise ValueError("its matrix has no inverse")
        except (ValueError, IndexError, KeyError, AttributeError) as error:
            raise FileFormatError(f"{name} is not a linear transform of FreeSurfer ({error}). Download it.") from None
        return matrix, paths[kind]
    shown = " or ".join(place.location.show(path) for path in paths.values())
    raise DataNotDownloadedError(
        f"The transform of {place.subject} to MNI305 is not there: expected {shown}; download it."
    )


def _lta(text: str) -> Points:
    """Return the matrix of an LTA file in scanner mm.

    Read here to full precision: nitransforms keeps single precision, about 0.01 mm. What the numbers of the type mean:
    https://surfer.nmr.mgh.harvard.edu/fswiki/LinearTransforms.
    """
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    fields = dict(re.split(r"\s*=\s*", line, maxsplit=1) for line in lines if line.startswith(("type", "nxforms")))
    if int(fields["nxforms"]) != 1:
        raise ValueError(f"expected one transform, found {fields['nxforms']}")
    start = lines.index("1 4 4") + 1
    matrix = np.array([line.split() for line in lines[start : start + 4]], np.float64)
    if matrix.shape != (4, 4):
        raise ValueError(f"expected a matrix of 4 x 4, found {matrix.shape}")
    kind = int(fields["type"])
    if kind == 1:  # LINEAR_RAS_TO_RAS
        return matrix
    if kind != 0:  # LINEAR_VOX_TO_VOX
        raise ValueError(f"expected type 0 (voxel to voxel) or 1 (RAS to RAS), found {kind}")
    source, target = (_grid_affine(lines, name) for name in ("src volume info", "dst volume info"))
    return np.asarray(target @ matrix @ np.linalg.inv(source))


def _grid_affine(lines: Sequence[str], title: str) -> Points:
    """Return voxels -> scanner mm of a volume that an LTA file describes."""
    start = lines.index(title) + 1
    info = dict(re.split(r"\s*=\s*", line, maxsplit=1) for line in lines[start : start + 8])
    if info["valid"] != "1":
        raise ValueError(f"its {title} is not valid")
    numbers = {k: np.array(v.split(), np.float64) for k, v in info.items() if k not in ("valid", "filename")}
    affine = np.eye(4)
    affine[:3, :3] = np.stack([numbers["xras"], numbers["yras"], numbers["zras"]], axis=1) * numbers["voxelsize"]
    affine[:3, 3] = numbers["cras"] - affine[:3, :3] @ (numbers["volume"] / 2)
    return affine


def _xfm(text: str) -> Points:
    """Return the matrix of MNI's transform file: three rows after `Linear_Transform =`."""
    found = re.search(r"Linear_Transform\s*=([^;]*);", text)
    if found is None:
        raise ValueError("it has no Linear_Transform")
    return np.vstack([np.array(found[1].split(), np.float64).reshape(3, 4), [0, 0, 0, 1]])
