"""Writes the GLMsingle model file of a session: the betas once more, and diagnostics, in HDF5."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from laion_xr.simulate.files import replacing
from laion_xr.simulate.maps import Values
from laion_xr.simulate.streams import stream
from laion_xr.simulate.truth import SubjectTruth

Floats = npt.NDArray[np.float32]

_BLOCK_BYTES = 8_000_000


@contextmanager
def model_file(
    path: Path, subject: SubjectTruth, session: str, rows: str, maps: Mapping[str, Values]
) -> Iterator[Callable[[Floats], None]]:
    """Write a model file; gives the function that takes the betas (voxel,) of the next trial.

    `rows` says what a row of an array is: `"grid"` keeps three axes, `"flat"` is the grid in C order,
    `"anatomical"` and `"rsquare"` are the voxels of that mask.
    """
    shape = {
        "grid": subject.mask.shape,
        "flat": (subject.mask.size,),
        "anatomical": (len(subject.voxels),),
        "rsquare": (len(subject.rsquare_voxels),),
    }[rows]
    kept = subject.positions(subject.rsquare_voxels) if rows == "rsquare" else slice(None)

    def laid_out(values: Values) -> Values:
        if rows in ("grid", "flat"):
            return subject.volume(values).reshape(shape)
        return values[kept]

    n_trials = len(subject.trials[session])
    block = int(np.clip(_BLOCK_BYTES // (4 * np.prod(shape)), 1, n_trials))
    with replacing(path) as temporary, h5py.File(str(temporary), "w") as file:
        _write_diagnostics(file, subject, session, {name: laid_out(values) for name, values in maps.items()})
        betas = file.create_dataset(
            "betasmd", (*shape, n_trials), np.float32, chunks=(*shape, block), compression="gzip", compression_opts=1
        )
        # whole chunks only: a chunk written a trial at a time would be compressed once a trial
        buffer = np.empty((*shape, block), np.float32)
        done = 0

        def add(values: Floats) -> None:
            nonlocal done
            buffer[..., done % block] = laid_out(values)
            done += 1
            if done % block == 0 or done == n_trials:
                start = (done - 1) // block * block
                betas[..., start:done] = buffer[..., : done - start]

        yield add


def _write_diagnostics(file: h5py.File, subject: SubjectTruth, session: str, maps: Mapping[str, Values]) -> None:
    rng = stream(subject.seed, subject.name, session, "model")
    r2 = maps["r2"].astype(np.float32)
    n_runs = int(subject.trials[session]["run"].max())
    file["R2"] = r2
    file["R2run"] = np.stack([r2 * np.float32(1 + 0.02 * run) for run in range(n_runs)], axis=-1)
    file["HRFindex"] = maps["hrf_index"]
    file["FRACvalue"] = maps["frac_ridge"]
    file["noisepool"] = np.nan_to_num(r2) < 1
    file["meanvol"] = (900 + 40 * np.sin(np.arange(r2.size))).astype(np.float32).reshape(r2.shape)
    file["xvaltrend"] = np.sort(rng.normal(-3, 0.4, 11))
    file["pcnum"] = np.int64(4)
    file["glmbadness"] = np.float64(0.31)
    regressors = file.create_group("pcregressors")
    for run in range(1, n_runs + 1):
        regressors[f"run-{run:02d}"] = rng.standard_normal((40, 4)).astype(np.float32)
    file.attrs["modelmd"] = "TYPED_FITHRF_GLMDENOISE_RR"
