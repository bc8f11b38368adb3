"""Writes what belongs to a session: betas a volume at a time, trial table, maps, GLMsingle model, sidecars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from zlib_ng import zlib_ng

from laion_xr import layout
from laion_xr.simulate.files import GZIP, header_of, replacing, write_json, write_map, write_text
from laion_xr.simulate.glmsingle import model_file
from laion_xr.simulate.maps import SESSION_DESCRIPTIONS, session_maps
from laion_xr.simulate.settings import Settings
from laion_xr.simulate.truth import SubjectTruth, Truth, trial_betas

Floats = npt.NDArray[np.float32]

_COLUMNS = {
    "session": "Session",
    "run": "Run within the session, from 1",
    "beta_index": "Volume in the beta file, from 0",
    "label": "File name of the image",
}


def write_session(
    root: Path, truth: Truth, subject: SubjectTruth, session: str, settings: Settings, tick: Callable[[], object]
) -> None:
    """Write every file of a session; `tick` is called after each trial."""
    table = subject.trials[session]
    trials_path = layout.session_path(subject.name, session, "trials")
    write_text(root / trials_path, table.to_csv(sep="\t", index=False, lineterminator="\n"))
    columns = {name: {"Description": text} for name, text in _COLUMNS.items()}
    write_json(root / layout.sidecar_path(trials_path), columns)
    summary = {"subject": subject.name, "session": session, "n_trials": len(table), "n_runs": int(table["run"].max())}
    write_json(root / layout.summary_path(subject.name, session), summary)
    maps = session_maps(subject, session)
    for kind, values in maps.items():
        path = root / layout.session_path(subject.name, session, kind)
        write_map(path, subject.volume(values), subject.affine, SESSION_DESCRIPTIONS[kind])

    betas_path = layout.session_path(subject.name, session, "betas")
    model_path = layout.session_path(subject.name, session, "model")
    sidecar = {"Description": SESSION_DESCRIPTIONS["betas"], "Units": "percent signal change"}
    write_json(root / layout.sidecar_path(betas_path), sidecar)
    with ExitStack() as stack:
        consumers = [stack.enter_context(_betas_file(root / betas_path, subject, len(table), settings.compress_level))]
        if settings.models:
            write_json(root / layout.sidecar_path(model_path), {"Description": "Full output of GLMsingle."})
            rows = settings.model_layout
            consumers.append(stack.enter_context(model_file(root / model_path, subject, session, rows, maps)))
        features = truth.stimuli.features_of(table["label"])
        for trial in range(len(table)):
            betas = trial_betas(subject, session, trial, features[trial])
            for consume in consumers:
                consume(betas)
            tick()


@contextmanager
def _betas_file(path: Path, subject: SubjectTruth, n_trials: int, level: int) -> Iterator[Callable[[Floats], None]]:
    """Write the 4-D NIfTI of a session; gives the function that takes the betas (voxel,) of the next trial."""
    shape = subject.mask.shape
    header = header_of((*shape, n_trials), np.float32, subject.affine)
    # NIfTI stores the first axis fastest, the voxel axis is in C order
    fortran = np.ravel_multi_index(np.unravel_index(subject.voxels, shape), shape, order="F")
    volume = np.zeros(subject.mask.size, np.float32)
    compressor = zlib_ng.compressobj(level, zlib_ng.DEFLATED, GZIP)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(compressor.compress(header.binaryblock + bytes(4)))

        def add(values: Floats) -> None:
            volume[fortran] = values
            file.write(compressor.compress(volume.data))

        yield add
        file.write(compressor.flush())
