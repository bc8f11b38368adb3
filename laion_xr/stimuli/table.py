"""The tables of the stimuli: metadata, captions, masks; and which file must be there for what."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from laion_xr import layout
from laion_xr.errors import FileFormatError, StimuliNotDownloadedError
from laion_xr.location import FileEntry, Location
from laion_xr.readers.annotations import parse_captions, parse_masks
from laion_xr.readers.tables import parse_table

Files = Mapping[str, FileEntry]
Names = npt.NDArray[np.object_]

ACCESS = "https://laion-fmri.hebartlab.com"
# kind of file -> what it is called in messages
_CALLED = {
    "metadata": "stimulus metadata",
    "images": "stimulus images",
    "segmentations": "segmentation masks",
    "segmentations_metadata": "tables of the segmentations",
    "captions": "captions",
}

_FETCHED = {
    "metadata": "download-captions ROOT",  # the smallest that it comes with
    "segmentations": "download-segmentations ROOT",
    "segmentations_metadata": "download-segmentations ROOT",
    "captions": "download-captions ROOT",
}

_CLUSTER = re.compile(r"_cluster_(\d+)_")
_OOD = re.compile(r"shared_(?:\d+rep_)?OOD_([^_]+)_")
_TEXT = ("image_name", "dataset", "participant", "unique_or_shared")


def stimulus_entry(location: Location, files: Files, kind: str) -> FileEntry:
    """Return the entry of a stimulus file; `kind` is one of `layout.STIMULUS_FILES`.

    Raises
    ------
    StimuliNotDownloadedError
        It is not there; the message says how to get it.
    """
    path = layout.stimulus_path(kind)
    if path in files:
        return files[path]
    how = (
        "they are given out under a Data Use Agreement: 'laion-xr download-stimuli ROOT' asks for access and fetches "
        f"them (or request access at {ACCESS}, and put the file there)"
        if kind == "images"
        else f"download them first with 'laion-xr {_FETCHED[kind]}'"
    )
    raise StimuliNotDownloadedError(f"The {_CALLED[kind]} are not there: expected {location.show(path)}; {how}.")


def read_metadata(location: Location, files: Files) -> pd.DataFrame | None:
    """Return the stimulus metadata, a row a stimulus; None where the file is not there.

    Raises
    ------
    FileFormatError
        It has no column `image_name`.
    """
    path = layout.stimulus_path("metadata")
    if path not in files:
        return None
    table = parse_table(location.read_bytes(files[path]), location.show(path), sep=",", text=_TEXT)
    if "image_name" not in table:
        raise FileFormatError(
            f"{location.show(path)} is not the stimulus metadata: expected a column 'image_name', found "
            f"{', '.join(map(str, table.columns))}; download it again."
        )
    return table


def read_stimulus_table(location: Location, files: Files) -> pd.DataFrame:
    """Return the stimulus metadata, each image in one row.

    Raises
    ------
    StimuliNotDownloadedError
        They are not there.
    FileFormatError
        An image has no name, or has two rows: then no row says which image it is.
    """
    entry = stimulus_entry(location, files, "metadata")
    table = read_metadata(location, files)
    assert table is not None
    names = table["image_name"]
    for wrong, what in ((names.duplicated(), "is there more than once"), (names == "", "has no name")):
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise FileFormatError(
                f"{location.show(entry.path)} does not name each image once: {names.iloc[row]!r} in row {row} {what}; "
                "download it again."
            )
    return table


def read_captions(location: Location, files: Files) -> pd.DataFrame:
    """Return the captions, a row a caption.

    Raises
    ------
    StimuliNotDownloadedError
        They are not there.
    """
    entry = stimulus_entry(location, files, "captions")
    return parse_captions(location.read_bytes(entry), location.show(entry.path))


def read_masks(location: Location, files: Files) -> pd.DataFrame:
    """Return the table of the segmentation masks, in the order of their rows.

    Raises
    ------
    StimuliNotDownloadedError
        It is not there.
    """
    entry = stimulus_entry(location, files, "segmentations_metadata")
    return parse_masks(location.read_bytes(entry), location.show(entry.path))


def name_columns(names: Names) -> dict[str, npt.NDArray[np.generic]]:
    """Return `ood_type` (`""` for none) and `cluster` (-1 for none), as the images' names tell them."""
    ood = [m[1] if (m := _OOD.match(str(name))) else "" for name in names]
    cluster = [int(m[1]) if (m := _CLUSTER.search(str(name))) else -1 for name in names]
    return {"ood_type": np.array(ood, dtype=object), "cluster": np.array(cluster, dtype=np.int64)}
