"""`to_torch`: from Datasets, arrays and trees of subjects to datasets of PyTorch."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed
import xarray as xr

from laion_xr.analysis.streaming import betas_variable
from laion_xr.analysis.subjects import subject_name, subject_nodes
from laion_xr.errors import ReadCostWarning, SelectionError, unknown_label
from laion_xr.schema import STIMULUS, TRIAL, VOXEL
from laion_xr.torch.items import fields_of
from laion_xr.torch.iterable import DRAWN, TrialStream
from laion_xr.torch.map_dataset import TrialDataset
from laion_xr.torch.shuffle import DROP, PAD, Order
from laion_xr.torch.sources import BetaSource, beta_source
from laion_xr.torch.trials import Item, Trials, label_digest

ITERABLE, MAP = "iterable", "map"
# Of the buffer of a worker, where the user names none: as many trials as fit, and no more than mix well
BUFFER_BYTES, BUFFER_TRIALS = 512 << 20, 4096
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

Obj = xr.Dataset | xr.DataArray | xr.DataTree


def to_torch(
    obj: Obj,
    *,
    kind: str = ITERABLE,
    image: Any = None,
    embedding: Any = None,
    caption: str | None = None,
    transform: Callable[[Item], Any] | None = None,
    batch_size: int | None = None,
    shuffle: bool = True,
    seed: int = 0,
    buffer: int | None = None,
    drop_last: bool = False,
    even: str | None = None,
    rank: int | None = None,
    world_size: int | None = None,
    dtype: Any = "float32",
    nan: float | None = None,
    root: Any = None,
    storage_options: Mapping[str, Any] | None = None,
) -> TrialStream | TrialDataset:
    """Return single trials as a dataset of PyTorch; nothing is read yet.

    Items and batches are dicts: `betas` (voxel,), `trial` (its number in the subject's table; means of repeats have
    none), `stimulus` (the image's name), `stimulus_index` (its row in the metadata), and `image`, `embedding` and
    `caption` when they are asked for; of a tree of subjects, `subject`.

    Parameters
    ----------
    obj
        A Dataset with `betas (trial, voxel)`, or the array: all of it, or a selection, z-scored or not; or means of
        repeats `(stimulus, voxel)`, which are computed here and kept in memory. Or a DataTree of subjects: a batch is
        then of one subject, as each has voxels of its own.
    kind
        `"iterable"`: shuffled in blocks that are cheap to read, sharded over ranks and workers, resumable. `"map"`:
        any trial by its number, for samplers of your own, which decide on order, batches and ranks.
    image
        Pixels, or (height, width), to resize to; True for the size in the file. Tensors `(rgb, y, x)` uint8.
    embedding
        A model: a tensor `(feature,)`; several: a dict of them. NaN where an image has none. Or an array of your own:
        a DataArray `(trial or stimulus, feature)`, matched by these labels as in `encode` (as is a table of pandas
        whose index has one of these names); one without labels has a row a trial.
    caption
        `"human"`, `"ai"` or `"any"`: one of the image's captions, drawn anew each epoch; `""` where it has none.
    transform
        Called with each item (a dict of tensors, numbers and texts) before it becomes part of a batch. It must be
        picklable where workers are spawned.
    batch_size
        Trials a batch (iterable): the dataset makes the batches, `DataLoader(dataset, batch_size=None)` or `Loader`
        takes them. None: items one by one.
    shuffle, seed
        Whether blocks and trials are shuffled, and by which seed; with the epoch it decides all that is random.
    buffer
        Trials that a worker holds and draws from, at least a block and a batch. None: what 512 MB hold, at most 4,096,
        and at least two blocks.
    drop_last
        Leave out the incomplete batch at the end (of each rank).
    even
        What makes the shares of ranks equal, so that all make as many batches: `"drop"` leaves out less than
        `world_size` trials at the end, `"pad"` repeats some. None: each trial exactly once.
    rank, world_size
        Which share, of how many. None: those of torch.distributed where it is initialised, else those that torchrun
        sets, else everything.
    dtype
        Of betas and embeddings: float16, bfloat16, float32 or float64 of PyTorch or NumPy, or its name.
    nan
        What missing betas become. None: they stay NaN.
    root, storage_options
        Where the dataset is, as for `laion_xr.analysis.images`.

    Returns
    -------
    TrialStream or TrialDataset

    Raises
    ------
    SelectionError
        No betas, no voxels or no trials, arguments that mean nothing, arrays of another length.
    UnknownLabelError
        No such kind, model or source of captions.
    StimuliNotDownloadedError
        The file of the images, embeddings or captions is not there.

    Warns
    -----
    ReadCostWarning
        `kind="map"` of data of which a trial costs a whole session.

    Examples
    --------
    >>> stream = ds.sel(roi="visual").laion.to_torch(batch_size=64, embedding="CLIP")  # doctest: +SKIP
    >>> for batch in laion_xr.torch.Loader(stream, num_workers=2):  # doctest: +SKIP
    ...     loss = model(batch["betas"], batch["embedding"])
    """
    if kind not in (ITERABLE, MAP):
        raise unknown_label("The kind of dataset", kind, [ITERABLE, MAP])
    _whole("batch_size", batch_size, 1)
    _whole("buffer", buffer, 1)
    _whole("seed", seed, 0)
    if transform is not None and not callable(transform):
        raise SelectionError(f"transform is called with each item: expected a function, found {transform!r}.")
    if nan is not None and (isinstance(nan, bool) or not isinstance(nan, (int, float, np.number))):
        raise SelectionError(f"nan is the number that missing betas become, or None to keep them, found {nan!r}.")
    for name, flag in (("shuffle", shuffle), ("drop_last", drop_last)):
        if not isinstance(flag, (bool, np.bool_)):
            raise SelectionError(f"{name} is True or False, found {flag!r}.")
    if even not in (None, DROP, PAD):
        raise SelectionError(f"even is 'drop', 'pad' or None, found {even!r}.")
    numbers = _dtype(dtype)
    options = {"image": image, "embedding": embedding, "caption": caption, "dtype": numbers}
    options |= {"root": root, "storage_options": storage_options}
    parts = _parts(obj, options, numbers, None if nan is None else float(nan))
    # Python's own numbers: a state of NumPy's is no JSON
    seed, batch_size = int(seed), batch_size if batch_size is None else int(batch_size)
    if kind == MAP:
        given = {"batch_size": batch_size, "buffer": buffer, "even": even, "rank": rank, "world_size": world_size}
        return _map(parts, seed, transform, {**given, "drop_last": drop_last or None})
    share = _share(rank, world_size)
    orders = []
    for part in parts:
        held = int(buffer) if buffer is not None else _buffer(part.betas, numbers.itemsize, len(parts))
        orders.append(
            Order(part.betas.blocks, batch_size or DRAWN, held, shuffle, drop_last and batch_size is not None, even)
        )
    return TrialStream(
        parts, orders, batch_size=batch_size, seed=seed, rank=share[0], world_size=share[1], transform=transform
    )


def _parts(obj: Obj, options: Mapping[str, Any], dtype: torch.dtype, nan: float | None) -> list[Trials]:
    if not isinstance(obj, xr.DataTree):
        return [_trials(obj, options, dtype, nan)]
    nodes = subject_nodes(obj, "to_torch")
    return [_trials(ds, options, dtype, nan, {"subject": subject_name(path, ds)}) for path, ds in nodes.items()]


def _trials(
    obj: xr.Dataset | xr.DataArray,
    options: Mapping[str, Any],
    dtype: torch.dtype,
    nan: float | None,
    constant: Mapping[str, Any] | None = None,
) -> Trials:
    betas = betas_variable(obj, "to_torch")
    dim = next((d for d in (TRIAL, STIMULUS) if d in betas.dims), None)
    if dim is None or set(betas.dims) != {dim, VOXEL}:
        raise SelectionError(
            f"to_torch needs the dims 'trial' (or 'stimulus') and 'voxel', found {betas.dims}: do it before what takes "
            "one of them away, and select with a list, as in roi=[...], to keep a dim of length 1."
        )
    if betas.dtype.kind != "f":
        raise SelectionError(f"to_torch needs real numbers, found {betas.dtype}.")
    labels = label_digest(obj, betas.dims)
    return Trials(
        beta_source(betas.transpose(dim, VOXEL)), fields_of(obj, dim, **options), dtype, nan, constant, labels
    )


def _map(
    parts: list[Trials], seed: int, transform: Callable[[Item], Any] | None, unused: Mapping[str, Any]
) -> TrialDataset:
    if len(parts) > 1:
        raise SelectionError(
            f"A map dataset is of one subject, found {len(parts)}: make one of each and join them with "
            "torch.utils.data.ConcatDataset, or use kind='iterable'."
        )
    if given := [name for name, value in unused.items() if value is not None]:
        raise SelectionError(
            f"The batches of a map dataset are the DataLoader's, and who takes which is its sampler's: give "
            f"{', '.join(given)} to these (rank, world_size and even: torch.utils.data.DistributedSampler), or use "
            "kind='iterable'."
        )
    if parts[0].betas.costs_whole_files:
        warnings.warn(
            "Any trial costs its whole session here, as in .nii.gz or after z-scoring, and so does each session of a "
            "batch: ingest the data and open them with store=, use kind='iterable', or .compute() the selection first.",
            ReadCostWarning,
            stacklevel=3,
        )
    return TrialDataset(parts[0], seed=seed, transform=transform)


def _buffer(betas: BetaSource, itemsize: int, n_parts: int) -> int:
    longest = max(len(block) for block in betas.blocks)
    fits = BUFFER_BYTES // n_parts // (betas.shape[1] * itemsize)
    return max(min(fits, BUFFER_TRIALS), 2 * longest)


def _share(rank: int | None, world_size: int | None) -> tuple[int, int]:
    if (rank is None) != (world_size is None):
        raise SelectionError(f"rank and world_size belong together, found {rank} and {world_size}: give both or none.")
    if rank is None or world_size is None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        rank, world_size = _of_environment("RANK", 0), _of_environment("WORLD_SIZE", 1)
    _whole("world_size", world_size, 1)
    _whole("rank", rank, 0)
    if rank >= world_size:
        raise SelectionError(f"rank is below world_size: expected 0 to {world_size - 1}, found {rank}.")
    return int(rank), int(world_size)


def _of_environment(name: str, otherwise: int) -> int:
    text = os.environ.get(name, "").strip()
    if text and not text.isdecimal():
        raise SelectionError(
            f"The environment variable {name}, which torchrun sets, is a whole number, found {text!r}: unset it, or "
            "give rank and world_size."
        )
    return int(text) if text else otherwise


def _whole(name: str, value: object, least: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise SelectionError(f"{name} is a whole number of {least} or more, found {value!r}.")


def _dtype(dtype: Any) -> torch.dtype:
    name = np.dtype(dtype).name if isinstance(dtype, (type, np.dtype)) else dtype
    found = getattr(torch, name, None) if isinstance(name, str) else name
    if not isinstance(found, torch.dtype) or found not in DTYPES:
        raise SelectionError(
            f"dtype is one of {', '.join(str(known).removeprefix('torch.') for known in DTYPES)}, or its name, found "
            f"{dtype!r}."
        )
    return found
