"""Simulates a dataset in the published layout: the one function that users call."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from tqdm.auto import tqdm

from laion_xr import layout
from laion_xr.errors import SelectionError
from laion_xr.simulate.files import write_json, write_text
from laion_xr.simulate.sessions import write_session
from laion_xr.simulate.settings import Names, Settings, settings
from laion_xr.simulate.subject import make_truth
from laion_xr.simulate.subjects import write_subject
from laion_xr.simulate.truth import Truth

_DESCRIPTION = "dataset_description.json"
_GENERATOR = "laion_xr.simulate"
_FOLDERS = (layout.BETAS_DIR, layout.ROIS_DIR, layout.ANATOMICAL_DIR, layout.FREESURFER_DIR, layout.STIMULI_DIR)


def simulate(
    root: str | os.PathLike[str],
    subjects: Names | None = None,
    sessions: Names | None = None,
    trials: int | Sequence[int] | Mapping[str, int] | None = None,
    grid: int | Sequence[int] | None = None,
    seed: int = 0,
    *,
    n_shared_12: int | None = None,
    n_shared_4: int | None = None,
    n_features: int = 12,
    brain_fraction: float | None = None,
    image_names: Iterable[str] | None = None,
    image_size: int = 64,
    embedding_dims: int | str | Mapping[str, int] | None = None,
    full_size: bool = False,
    stimuli: bool | Collection[str] | None = None,
    surfaces: bool | None = None,
    models: bool | None = None,
    model_layout: str = "grid",
    compress_level: int = 2,
    overwrite: bool = False,
    write: bool = True,
    progress: bool = False,
) -> Truth:
    pass
