"""Writes the stimulus files: metadata, images, embeddings, segmentations, captions."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from laion_xr import layout
from laion_xr.simulate.annotations import caption_table, segmentation_masks, segmentation_table
from laion_xr.simulate.files import replacing, write_text
from laion_xr.simulate.images import StimulusTruth
from laion_xr.simulate.pictures import draw, encode
from laion_xr.simulate.settings import Settings
from laion_xr.simulate.streams import stream
from laion_xr.simulate.truth import Truth


def write_stimuli(root: Path, truth: Truth, settings: Settings) -> None:
    """Write the parts of the stimuli that the settings ask for."""
    parts, stimuli = settings.stimulus_parts, truth.stimuli
    if "metadata" in parts:
        _write_csv(root / layout.stimulus_path("metadata"), stimuli.metadata)
    if "images" in parts:
        _write_images(root / layout.stimulus_path("images"), stimuli, settings.image_size)
    if "embeddings" in parts:
        for model in stimuli.embedding_dims:
            _write_embedding(root / layout.embedding_path(model), stimuli, model)
    if "segmentations" in parts:
        _write_segmentations(root, stimuli, settings.image_size)
    if "captions" in parts:
        seen = [name for subject in truth.subjects.values() for name in subject.table["label"]]
        _write_csv(root / layout.stimulus_path("captions"), caption_table(stimuli, seen))


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def _write_images(path: Path, stimuli: StimulusTruth, size: int) -> None:
    names = stimuli.names
    turns = {".png": 0, ".jpg": 0}
    with replacing(path) as temporary, h5py.File(str(temporary), "w") as file:
        # bytes that hold zeros: a variable-length string would end at the first
        images = file.create_dataset("images", (len(names),), h5py.vlen_dtype(np.uint8))  # type: ignore[attr-defined]
        for row, (name, kind) in enumerate(zip(names, stimuli.kinds, strict=True)):
            ending = name[-4:]
            data = encode(draw(stimuli.seed, name, str(kind), size), name, turns.setdefault(ending, 0))
            images[row] = np.frombuffer(data, np.uint8)
            turns[ending] += 1


def _write_embedding(path: Path, stimuli: StimulusTruth, model: str) -> None:
    order = stream(stimuli.seed, "embedding", model, "order").permutation(len(stimuli.names))
    values = stimuli.embedding(model)[order]
    with replacing(path) as temporary, h5py.File(str(temporary), "w") as file:
        chunks = (min(256, len(values)), values.shape[1])
        file.create_dataset("embedding", data=values, chunks=chunks)
        file.create_dataset("image_ids", data=[stimuli.names[i] for i in order], dtype=h5py.string_dtype())
        file.create_dataset("valid", data=stimuli.valid(model)[order])


def _write_segmentations(root: Path, stimuli: StimulusTruth, size: int) -> None:
    table = segmentation_table(stimuli, size)
    _write_csv(root / layout.stimulus_path("segmentations_metadata"), table)
    with replacing(root / layout.stimulus_path("segmentations")) as temporary, h5py.File(str(temporary), "w") as file:
        masks = (
            file.create_dataset(
                "masks", (len(table), size, size), np.uint8, chunks=(1, size, size), compression="gzip", shuffle=True
            )
            if len(table)
            else file.create_dataset("masks", (0, size, size), np.uint8)
        )
        for row, mask in enumerate(segmentation_masks(stimuli, table, size)):
            masks[row] = mask
