"""Sections on files: what is here, what is missing, what cannot be used, and where it all comes from."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import numpy as np
import xarray as xr

from laion_xr._version import __version__
from laion_xr.errors import SelectionError
from laion_xr.inventory import FileReport
from laion_xr.report.page import Block, Column, Facts, Items, Note, Table, Tiles, count, size, size_cell, text_cell
from laion_xr.report.subject import Source
from laion_xr.schema import STIMULUS, TRIAL, VOXEL

_TITLES = {
    "brain_mask": "Brain mask",
    "r2_mean": "R², mean over sessions",
    "noise_ceiling_12rep": "Noise ceiling, 12 repeats",
    "noise_ceiling_4rep": "Noise ceiling, 4 repeats",
    "noise_ceiling_Allrep": "Noise ceiling, all repeats",
    "metadata": "Metadata",
    "images": "Images (under agreement)",
    "segmentations": "Segmentations",
    "segmentations_metadata": "Segmentations, table",
    "captions": "Captions",
}


def tiles(source: Source) -> Iterator[Block]:
    """Return the numbers to see first."""
    files, ds = source.files, source.ds
    found: list[tuple[str, str, str]] = []
    if files is not None:
        with_betas = sum(not {"betas", "model"}.isdisjoint(s.present) for s in files.sessions)
        number = len(files.sessions)
        found.append((count(number), _noun("session", number), f"{count(with_betas)} with betas"))
        if ds is None:
            found.append((count(files.trials), "trials", ""))
            found.append((count(files.voxels), "voxels", "in the mask"))
    if ds is not None:
        if files is None and "session" in ds.coords:
            found.append((count(len(np.unique(ds["session"].values.astype(str)))), "sessions", "in this Dataset"))
        images = count(len(set(ds[STIMULUS].values.tolist())), "image") if STIMULUS in ds.coords else ""
        found.append((count(ds.sizes.get(TRIAL, 0)), "trials", f"of {images}" if images else ""))
        found.append((count(ds.sizes.get(VOXEL, 0)), "voxels", _voxel_size(ds)))
        ceiling = source.values("noise_ceiling")
        if ceiling is not None:
            found.append((f"{np.nanmedian(ceiling):.1f} %", "median noise ceiling", f"map {source.ceiling}"))
    if files is not None:
        empty = sum(1 for roi in files.rois if roi.voxels == 0)
        found.append((count(len(files.rois)), "ROIs", f"{empty} without a voxel in the mask" if empty else ""))
        found.append((size(files.size), "of files", count(files.files, "file")))
        number = len(files.missing)
        found.append((count(number), f"{_noun('file', number)} missing", "of the published layout"))
    yield Tiles(found)


def _noun(word: str, number: int) -> str:
    return word if number == 1 else f"{word}s"


def problems(source: Source) -> Iterator[Block]:
    """Return what is wrong, a sentence each."""
    said = [*source.why, *source.notes]
    if source.files is not None and source.found is not None:
        # what the opening said is often the same sentence
        said += [p for p in (*source.files.problems, *source.found.problems) if not any(p in other for other in said)]
    for text in said:
        yield Note(source.public(text), "problem")


def maps(source: Source) -> Iterator[Block]:
    """Return the mask and the subject's maps."""
    if source.files is None:
        raise SelectionError(_UNKNOWN)
    yield _file_table(source.files.maps, "maps-table", "The mask and the maps of the subject")


def missing(source: Source) -> Iterator[Block]:
    """Return what is not here."""
    if source.files is None:
        return
    absent = source.files.absent_sessions
    if absent:
        yield Note(f"Nothing is here of {', '.join(absent)}, though later sessions are.", "problem")
    paths = source.files.missing
    if paths:
        yield Items(f"{count(len(paths), 'path')} of the published layout {_be(paths)} not here", paths)
    else:
        yield Note("Every file of the published layout is here.")


def stimulus_files(source: Source) -> Iterator[Block]:
    """Return the stimulus files, and what the metadata count."""
    if source.found is None:
        raise SelectionError(_UNKNOWN)
    stimuli = source.found.stimuli
    yield Facts(
        [
            ("Images in the metadata", count(stimuli.images) if stimuli.images is not None else "not known"),
            ("Models with embeddings", ", ".join(stimuli.models) or "none"),
            ("Size of all stimulus files", size(stimuli.size)),
        ]
    )
    yield _file_table(stimuli.files, "stimuli-table", "Stimulus files")


def provenance(source: Source) -> Iterator[Block]:
    """Return versions, dates, and what tells this state of the files from another."""
    pairs = [("Dataset", source.root_name), ("Subject", source.name)]
    if source.ds is not None:
        attrs = source.ds.attrs
        grid = " x ".join(str(n) for n in attrs.get("grid_shape", ()))
        pairs += [
            ("Space", str(attrs.get("space", "not known"))),
            ("Grid", f"{grid} voxels" if grid else "not known"),
            (
                "Mask",
                {"anatomical": "brain mask", "rsquare": "voxels with an R²"}.get(str(attrs.get("mask_source")), "?"),
            ),
            ("Fingerprint of the files", str(attrs.get("fingerprint", "not known"))),
        ]
    pairs += [
        ("Made", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("By", f"laion_xr {__version__}, xarray {xr.__version__}, Python {platform.python_version()}"),
    ]
    yield Facts(pairs)


_UNKNOWN = "which files are here is not known, as the root of this Dataset cannot be looked at."


def _file_table(reports: Sequence[FileReport], id: str, caption: str) -> Table:
    rows = []
    for file in reports:
        title = _TITLES.get(file.kind) or f"Embeddings, {file.kind.removeprefix('embedding_')}"
        here = "missing" if file.size is None else "here"
        rows.append([text_cell(title), text_cell(here), size_cell(file.size), text_cell(file.path)])
    columns = [Column("File", False), Column("State", False), Column("Size"), Column("Path", False)]
    return Table(id, caption, columns, rows, stacked=True)


def _voxel_size(ds: xr.Dataset) -> str:
    affine = ds.attrs.get("affine")
    if affine is None:
        return ""
    sides = np.linalg.norm(np.asarray(affine, dtype=float).reshape(4, 4)[:3, :3], axis=0)
    same = np.allclose(sides, sides[0], rtol=1e-3)
    return f"{sides[0]:.2g} mm" if same else " x ".join(f"{s:.2g}" for s in sides) + " mm"


def _be(items: Sequence[object]) -> str:
    return "is" if len(items) == 1 else "are"
