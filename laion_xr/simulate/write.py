"""Simulates a dataset in the published layout: the one function that users call."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from laion_xr import layout
from laion_xr.errors import SelectionError
from laion_xr.progress import trial_bar
from laion_xr.simulate.files import write_json, write_text
from laion_xr.simulate.freesurfer import write_freesurfer
from laion_xr.simulate.make_truth import make_truth
from laion_xr.simulate.sessions import write_session
from laion_xr.simulate.settings import Names, Settings, settings
from laion_xr.simulate.stimuli import write_stimuli
from laion_xr.simulate.subjects import write_subject
from laion_xr.simulate.truth import Truth

_DESCRIPTION = "dataset_description.json"
_TABLES = ("participants.tsv", "participants.json")
_README = "README"
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
    """Write a simulated dataset in the published layout, with a known truth.

    Betas are the tuning of each voxel to the latent features of the image, plus noise of the voxel, times a gain
    and plus an offset of the session. Every number follows from `seed` and from names: another session, subject
    or image changes none (but the noise ceilings over sessions, which count repeats). A volume is made and
    written at a time.

    Parameters
    ----------
    root
        Folder to write to; made where it is missing.
    subjects
        How many of the published subjects, or their names or numbers (`[3]`, `["03"]`, `"sub-03"`); default 2
        (sub-01 and sub-03), 1 at full size.
    sessions
        How many, or names or numbers, gaps allowed (`[1, 2, 5]`); default 3, 1 at full size. Within sessions 1
        to 3, 4 to 6, ... a shared image gets all its 12 or 4 repeats: 4 a session, or 2 + 1 + 1.
    trials
        Trials a session: one number, one a session, or a mapping; default 60, 1,044 at full size.
    grid
        Voxels along each axis, one number or three; default (24, 26, 22), 143 at full size. Voxels are 1.778 mm.
    seed
        Seed of everything random.
    n_shared_12, n_shared_4
        Shared images of 12 and of 4 repeats in each block of three sessions. The default follows from the
        number of trials; give both to keep it when sessions of fewer trials are added.
    n_features
        Latent features of an image, 8 or more.
    brain_fraction
        Share of the grid that is brain; default 0.21, at full size 0.0923 (270,000 voxels).
    image_names
        Names of images to use in place of invented ones (of the published splits, say): `shared_12rep_`,
        `shared_4rep_` and `unique_...p01` decide what they are. All get into the metadata, in trials as needed.
    image_size
        Side of the images and segmentation masks in pixels; 1,000 in the published data.
    embedding_dims
        Dims of the embeddings: one number, a mapping by model, or `"published"` (1024, 1024, 1024, 1152);
        default 64 (SigLIP2: 72).
    full_size
        One session of 143^3 voxels and 1,044 trials, without stimuli, surfaces and models unless asked for.
    stimuli
        Whether to write the stimulus files, or which: "metadata", "images", "embeddings", "segmentations",
        "captions".
    surfaces
        Whether to write FreeSurfer surfaces, and the ROIs on them.
    models
        Whether to write the GLMsingle model files.
    model_layout
        What a row of the model's arrays is: `"grid"` (X, Y, Z), `"flat"` (the grid in C order), `"anatomical"`
        or `"rsquare"` (the voxels of that mask).
    compress_level
        gzip level of the betas, 0 to 9.
    overwrite
        Replace a simulated dataset; anything else in `root` is never touched.
    write
        False writes nothing, and returns what would be true of the dataset.
    progress
        Show a bar over trials, where the output is a terminal or a notebook.

    Returns
    -------
    Truth
        Everything that an analysis of the files can be checked against.

    Raises
    ------
    SelectionError
        An argument means nothing, or `root` holds a dataset.

    Examples
    --------
    >>> import tempfile
    >>> from laion_xr.simulate import simulate
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     truth = simulate(folder, subjects=[3], sessions=1, trials=12, grid=8, stimuli=False, surfaces=False)
    >>> truth["sub-03"].trials["ses-01"].shape
    (12, 4)
    """
    chosen = settings(
        subjects,
        sessions,
        trials,
        grid,
        seed,
        n_shared_12=n_shared_12,
        n_shared_4=n_shared_4,
        n_features=n_features,
        brain_fraction=brain_fraction,
        image_names=image_names,
        image_size=image_size,
        embedding_dims=embedding_dims,
        full_size=full_size,
        stimuli=stimuli,
        surfaces=surfaces,
        models=models,
        model_layout=model_layout,
        compress_level=compress_level,
    )
    folder = Path(root).expanduser()
    truth = make_truth(folder, chosen)
    if write:
        _make_room(folder, overwrite)
        _write_dataset_level(folder, truth, chosen, complete=False)
        _write_all(folder, truth, chosen, progress)
        _write_dataset_level(folder, truth, chosen, complete=True)
    return truth


def _make_room(root: Path, overwrite: bool) -> None:
    """Make sure that nothing of a dataset is in the way; only what the simulator wrote is ever removed."""
    if root.exists() and not root.is_dir():
        raise SelectionError(f"{root} is a file: give a folder for the simulated dataset.")
    present = [name for name in (*_FOLDERS, *_TABLES, _DESCRIPTION) if (root / name).exists()]
    if not present:
        return
    if not _is_simulated(root):
        raise SelectionError(
            f"{root} holds data that was not simulated ({present[0]}), which is never overwritten: give another folder."
        )
    if not overwrite:
        raise SelectionError(f"{root} holds a simulated dataset already: give another folder, or overwrite=True.")
    for name in _FOLDERS:
        shutil.rmtree(root / name, ignore_errors=True)


def _is_simulated(root: Path) -> bool:
    try:
        description = json.loads((root / _DESCRIPTION).read_text())
        return any(tool.get("Name") == _GENERATOR for tool in description.get("GeneratedBy", []))
    except (OSError, ValueError, AttributeError):
        return False


def _write_all(root: Path, truth: Truth, chosen: Settings, progress: bool) -> None:
    if chosen.stimulus_parts:
        write_stimuli(root, truth, chosen)
    n_trials = len(chosen.subjects) * sum(chosen.trials)
    with trial_bar(n_trials, progress) as bar:
        for subject in truth.subjects.values():
            write_subject(root, subject)
            if chosen.surfaces:
                write_freesurfer(root, subject)
            for session in subject.sessions:
                write_session(root, truth, subject, session, chosen, bar.update)


def _write_dataset_level(root: Path, truth: Truth, chosen: Settings, *, complete: bool) -> None:
    root.mkdir(parents=True, exist_ok=True)
    tool = {"Name": _GENERATOR, "Description": "Simulated, not measured.", "Seed": chosen.seed, "Complete": complete}
    description = {"Name": "LAION-fMRI (simulated)", "BIDSVersion": "1.8.0", "DatasetType": "derivative"}
    write_json(root / _DESCRIPTION, {**description, "GeneratedBy": [tool]})
    rows = "".join(f"{subject}\n" for subject in truth.subjects)
    table, sidecar = (root / name for name in _TABLES)
    write_text(table, f"participant_id\n{rows}")
    write_json(sidecar, {"participant_id": {"Description": "Subject"}})
    if not (root / _README).exists():  # the folder's own, perhaps
        write_text(root / _README, "Simulated data in the layout of the LAION-fMRI dataset; nothing was measured.\n")
