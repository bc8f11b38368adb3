"""What an item has beside its betas: trial, stimulus, image, embedding and caption, for rows in any order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import xarray as xr

from laion_xr.analysis.features import matched_rows
from laion_xr.analysis.stimuli import captions, embeddings, images
from laion_xr.errors import SelectionError
from laion_xr.lazy.array import plan_of
from laion_xr.lazy.items import ItemSource, item_plan_of
from laion_xr.readers.base import IntArray, Reader
from laion_xr.schema import STIMULUS, TRIAL
from laion_xr.torch.shuffle import CAPTIONS, stream
from laion_xr.torch.slots import aligned

# Embeddings of the images that are shown are kept in the memory of each worker up to this; larger ones are read by row
EMBEDDING_BYTES = 512 << 20


class Field(Protocol):
    """One key of the items, for rows in any order: picklable, safe in a forked process."""

    @property
    def item_bytes(self) -> int:
        """Bytes of its tensors in an item; 0 for texts."""

    def values(self, rows: IntArray, seed: int, epoch: int) -> Sequence[Any]:
        """Return a value a row."""


class Numbers:
    """Whole numbers."""

    def __init__(self, values: npt.ArrayLike) -> None:
        self.numbers = np.asarray(values, np.int64)

    @property
    def item_bytes(self) -> int:
        """Bytes of its tensors in an item."""
        return self.numbers.itemsize

    def values(self, rows: IntArray, seed: int, epoch: int) -> Sequence[Any]:
        """Return Python's own numbers, of which PyTorch makes an int64 tensor."""
        found: list[int] = self.numbers[rows].tolist()
        return found


class Names:
    """Texts, each kept once."""

    def __init__(self, codes: IntArray, names: Sequence[str]) -> None:
        self.codes, self.names = codes.astype(np.int32), list(names)

    @property
    def item_bytes(self) -> int:
        """Bytes of its tensors in an item."""
        return 0

    def values(self, rows: IntArray, seed: int, epoch: int) -> Sequence[Any]:
        """Return texts."""
        return [self.names[code] for code in self.codes[rows].tolist()]


class ShownImages:
    """Images as uint8 tensors `(rgb, y, x)`; one that repeats is decoded once."""

    def __init__(self, codes: IntArray, source: ItemSource, items: Sequence[Any]) -> None:
        self.codes, self.source, self.items = codes.astype(np.int32), source, list(items)

    @property
    def item_bytes(self) -> int:
        """Bytes of its tensors in an item."""
        return math.prod(self.source.shape) * self.source.dtype.itemsize

    def values(self, rows: IntArray, seed: int, epoch: int) -> Sequence[Any]:
        """Return images, read in the order of the file; a trial's is its own, to be changed in place."""
        distinct, at = np.unique(self.codes[rows], return_inverse=True)
        pixels = torch.from_numpy(self.source.read([self.items[code] for code in distinct.tolist()]))
        at = at.ravel()
        if len(distinct) < len(at):
            pixels, at = pixels[torch.from_numpy(at)], np.arange(len(at))
        return [pixels[i].permute(2, 0, 1) for i in at.tolist()]


class ShownEmbeddings:
    """Embeddings of a model as tensors `(feature,)`; NaN where an image has none."""

    def __init__(self, codes: IntArray, reader: Reader, at: IntArray, features: IntArray, dtype: torch.dtype) -> None:
        self.codes, self.reader, self.at, self.features = codes.astype(np.int32), reader, at, features
        self.dtype = dtype
        self._kept: torch.Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": None}  # another process reads its own

    @property
    def item_bytes(self) -> int:
        """Bytes of its tensors in an item."""
        return len(self.features) * self.dtype.itemsize

    def values(self, rows: IntArray, seed: int, epoch: int) -> Sequence[Any]:
        """Return embeddings, copies of those that are kept, which are read when the first are asked for."""
        codes = self.codes[rows]
        n_bytes = len(self.at) * len(self.features) * self.dtype.itemsize
        if n_bytes > EMBEDDING_BYTES:
            distinct, where = np.unique(codes, return_inverse=True)
            return list(self._read(self.at[distinct])[torch.from_numpy(where.ravel())])
        if self._kept is None:
            self._kept = self._read(self.at)
        return list(self._kept[torch.from_numpy(codes)])

    def _read(self, at: IntArray) -> torch.Tensor:
        return torch.from_numpy(self.reader.read(at, self.features)).to(self.dtype)


class Rows:
    """Rows of an array with one row a trial."""

    def __init__(self, values: npt.NDArray[Any], dtype: torch.dtype) -> None:
        self.tensor = torch.tensor(values).to(dtype)

    @property
    def item_bytes(self) -> int:
        """Bytes of its tensors in an item."""
        return self.tensor[:1].nbytes

    def values(self, rows: IntArray, seed: int, epoch: int) -> Sequence[Any]:
        """Return rows as tensors."""
        return list(self.tensor[torch.from_numpy(np.asarray(rows))])


class Caption:
    """One of the captions of the image, drawn anew for each trial and epoch; `""` where there is none."""

    def __init__(self, codes: IntArray, texts: Sequence[Sequence[str]]) -> None:
        self.codes, self.texts = codes.astype(np.int32), [list(of_image) for of_image in texts]

    @property
    def item_bytes(self) -> int:
        """Bytes of its tensors in an item."""
        return 0

    def values(self, rows: IntArray, seed: int, epoch: int) -> Sequence[Any]:
        """Return texts: the same for the same seed, epoch and row."""
        drawn = stream(seed, epoch, CAPTIONS).random(len(self.codes))[rows]
        found = [self.texts[code] for code in self.codes[rows].tolist()]
        return [texts[int(u * len(texts))] if texts else "" for texts, u in zip(found, drawn.tolist(), strict=True)]


def fields_of(
    obj: xr.Dataset | xr.DataArray,
    dim: str,
    *,
    image: Any = None,
    embedding: Any = None,
    caption: str | None = None,
    dtype: torch.dtype = torch.float32,
    root: Any = None,
    storage_options: Mapping[str, Any] | None = None,
) -> dict[str, Field]:
    """Return the fields of the items along a dim of an object: see `to_torch`.

    Raises
    ------
    SelectionError
        Images, embeddings or captions are asked for and no coordinate `stimulus` says of what; an array has not a row
        a trial.
    StimuliNotDownloadedError
        Their file is not there.
    """
    n = obj.sizes[dim]
    found: dict[str, Field] = {}
    if dim == TRIAL:  # means of repeats are of no trial
        found["trial"] = Numbers(obj[TRIAL].values if TRIAL in obj.coords else np.arange(n))
    if STIMULUS not in obj.coords or obj[STIMULUS].dims != (dim,):
        if image is not None or caption is not None or _is_model(embedding):
            raise SelectionError(
                f"Images, embeddings and captions are found by the image's name: expected a coordinate 'stimulus' on "
                f"{dim!r}, found {', '.join(map(str, obj.coords)) or 'none'}; keep it when you select."
            )
        if embedding is not None:
            found["embedding"] = _rows(embedding, obj, dim, dtype)
        return found
    codes, names = pd.factorize(obj[STIMULUS].values.astype(object))
    found[STIMULUS] = Names(codes, [str(name) for name in names])
    if "stimulus_index" in obj.coords and obj["stimulus_index"].dims == (dim,):
        found["stimulus_index"] = Numbers(obj["stimulus_index"].values)
    # the images that are shown, each once; of an array in memory its betas stay behind
    lazy = isinstance(obj, xr.DataArray) and obj.chunks is not None
    base = obj if lazy or isinstance(obj, xr.Dataset) else obj.coords.to_dataset()
    if isinstance(base, xr.Dataset):
        base = base.drop_vars([name for name, variable in base.data_vars.items() if variable.chunks is None])
    first = np.unique(codes, return_index=True)[1]
    shown, place = base.isel({dim: first}), {"root": root, "storage_options": storage_options}
    if image is not None and image is not False:
        plan = item_plan_of(images(shown, None if image is True else image, **place).data)
        assert plan is not None
        found["image"] = ShownImages(codes, plan.source, plan.items)
    if _is_model(embedding):
        models = [embedding] if isinstance(embedding, str) else list(embedding)
        if not models:
            raise SelectionError("Expected the names of embedding models, found none: leave embedding out for none.")
        of_models = {m: _embeddings(codes, embeddings(shown, m, **place), dtype) for m in models}
        found["embedding"] = of_models[embedding] if isinstance(embedding, str) else Several(of_models)
    elif embedding is not None:
        found["embedding"] = _rows(embedding, obj, dim, dtype)
    if caption is not None:
        texts = captions(shown, None if caption == "any" else caption, **place).values
        found["caption"] = Caption(codes, [[str(text) for text in of_image if text] for of_image in texts])
    return found


class Several:
    """Fields of several models: a dict an item."""

    def __init__(self, fields: Mapping[str, Field]) -> None:
        self.fields = dict(fields)

    @property
    def item_bytes(self) -> int:
        """Bytes of its tensors in an item."""
        return sum(aligned(field.item_bytes) for field in self.fields.values())

    def values(self, rows: IntArray, seed: int, epoch: int) -> Sequence[Any]:
        """Return dicts, name of the model -> value."""
        columns = [field.values(rows, seed, epoch) for field in self.fields.values()]
        return [dict(zip(self.fields, values, strict=True)) for values in zip(*columns, strict=True)]


def _is_model(embedding: Any) -> bool:
    if isinstance(embedding, str):
        return True
    is_list = isinstance(embedding, Iterable) and not hasattr(embedding, "shape")
    return is_list and all(isinstance(name, str) for name in embedding)


def _embeddings(codes: IntArray, array: xr.DataArray, dtype: torch.dtype) -> Field:
    plan = plan_of(array.data)
    assert plan is not None
    at = np.arange(plan.readers[0].shape[0]) if plan.trials is None else plan.trials
    return ShownEmbeddings(codes, plan.readers[0], at, plan.voxels.ids, dtype)


def _rows(values: Any, obj: xr.Dataset | xr.DataArray, dim: str, dtype: torch.dtype) -> Field:
    """Return rows of an array: by their labels where it has some, else in the order in which they stand."""
    n = obj.sizes[dim]
    labelled = _labelled(values)
    if labelled is not None:
        found = matched_rows(labelled, obj, dim)
        values = found.values.reshape((n, *labelled.shape[1:]) if labelled.ndim == 1 else found.shape)
    values = np.asarray(values)
    if values.ndim < 1 or len(values) != n:
        raise SelectionError(
            f"An array as embedding has a row a {dim}: expected {n}, found the shape {values.shape}; make it of the "
            "same selection, give it the coordinate trial or stimulus, or name a model."
        )
    if values.dtype.kind not in "fiub":
        raise SelectionError(f"An array as embedding holds real numbers, found {values.dtype}: code them first.")
    return Rows(np.ascontiguousarray(values, values.dtype if values.dtype.itemsize <= 8 else np.float64), dtype)


def _labelled(values: Any) -> xr.DataArray | None:
    """Return an array, or a table of pandas, that says whose its rows are."""
    if isinstance(values, xr.DataArray):
        return values if values.ndim <= 2 and {TRIAL, STIMULUS} & {*values.dims} else None
    if isinstance(values, (pd.Series, pd.DataFrame)) and values.index.name in (TRIAL, STIMULUS):
        dims = (str(values.index.name), "feature")[: values.ndim]
        return xr.DataArray(values.to_numpy(), {dims[0]: values.index.to_numpy()}, dims)
    return None
