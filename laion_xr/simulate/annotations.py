"""Segmentations and captions of the simulated images, as tables; masks one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from laion_xr.simulate.images import StimulusTruth
from laion_xr.simulate.pictures import instance_mask, instances
from laion_xr.simulate.streams import stream

NOUNS = {
    "body": "person",
    "character": "sign",
    "face": "face",
    "food": "apple",
    "animal": "dog",
    "object": "chair",
    "place": "house",
    "pattern": "stripes",
}
AI_MODEL = "simulated-captioner-1"
_HUMAN = (
    "a {noun} in front of a coloured background",
    "{noun}, seen from the front",  # a comma
    'someone wrote "{noun}" here',  # quotes
    "first line: a {noun}\nsecond line: some colours",  # a newline
    "un café près d'une {noun} ☕",  # more than ASCII
)


def segmentation_table(stimuli: StimulusTruth, size: int) -> pd.DataFrame:
    """Return the table of the segmentations; its rows are not in the order of the masks: `mask_row` says which.

    Shared images only, one row a shape; one image of ten has none. Columns as published, boxes in pixels.
    """
    rows: list[dict[str, object]] = []
    for name, kind in _shared(stimuli):
        rng = stream(stimuli.seed, "segmentation", name)
        if rng.random() < 0.1:
            continue
        noun = NOUNS[kind]
        for number, instance in enumerate(instances(stimuli.seed, name)):
            ys, xs = np.nonzero(instance_mask(kind, instance, size))
            rows.append(
                {
                    "mask_row": len(rows),
                    "image_name": name,
                    "noun": noun,
                    "instance_id": number,
                    "score": round(float(rng.uniform(0.5, 1)), 4),
                    "box_x0": float(xs.min()),
                    "box_y0": float(ys.min()),
                    "box_x1": float(xs.max() + 1),
                    "box_y1": float(ys.max() + 1),
                    "localized": bool(rng.random() < 0.9),
                    "mask_file": f"{name.rpartition('.')[0]}_{noun}_{number}.png",
                }
            )
    columns = ["mask_row", "image_name", "noun", "instance_id", "score", "box_x0", "box_y0", "box_x1", "box_y1"]
    table = pd.DataFrame(rows, columns=[*columns, "localized", "mask_file"])
    order = stream(stimuli.seed, "segmentation", "order").permutation(len(table))
    return table.iloc[order].reset_index(drop=True)


def segmentation_masks(stimuli: StimulusTruth, table: pd.DataFrame, size: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the masks in the order of `mask_row`, uint8 (size, size), 1 inside."""
    kinds = dict(_shared(stimuli))
    rows = table.sort_values("mask_row")
    for name, number in zip(rows["image_name"], rows["instance_id"], strict=True):
        yield instance_mask(kinds[name], instances(stimuli.seed, name)[number], size)


def caption_table(stimuli: StimulusTruth, seen: Sequence[str]) -> pd.DataFrame:
    """Return the captions: five people a shared image, three a unique one, a model for the shared ones but OOD.

    Images that nobody saw have none. Some captions hold commas, quotes and newlines.
    """
    wanted = set(seen)
    rows = []
    for name, kind, collection, shared in zip(
        stimuli.names,
        stimuli.kinds,
        stimuli.metadata["dataset"],
        stimuli.metadata["unique_or_shared"] == "shared",
        strict=True,
    ):
        if name not in wanted:
            continue
        noun = NOUNS[kind]
        rng = stream(stimuli.seed, "captions", name)
        if shared and collection != "OOD":
            caption = f"A {noun} on a soft background, in a square picture."
            rows.append((name, 0, "ai", caption, collection, "", AI_MODEL))
        wordings = rng.permutation(len(_HUMAN))[: 5 if shared else 3]
        for index, wording in enumerate(wordings, start=1):
            person = f"rater-{int(rng.integers(200)):03d}"
            rows.append((name, index, "human", _HUMAN[wording].format(noun=noun), collection, person, ""))
    columns = ["image_name", "caption_idx", "source", "caption", "origin_collection", "participant_id", "ai_model"]
    return pd.DataFrame(rows, columns=columns)


def _shared(stimuli: StimulusTruth) -> list[tuple[str, str]]:
    shared = stimuli.metadata["unique_or_shared"] == "shared"
    return [(name, str(kind)) for name, kind, s in zip(stimuli.names, stimuli.kinds, shared, strict=True) if s]
