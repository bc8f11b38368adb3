"""`load_embeddings` and `Embeddings` of the published loader: rows of the embeddings' files, by the image's name."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from laion_xr import layout
from laion_xr.catalog import stimulus_files
from laion_xr.compat.config import get_data_dir
from laion_xr.errors import SelectionError, StimuliNotDownloadedError, UnknownLabelError, did_you_mean
from laion_xr.location import Location
from laion_xr.readers.embeddings import EmbeddingReader, EmbeddingTable, read_embedding_table

__all__ = ["AVAILABLE_MODELS", "Embeddings", "load_embeddings"]

AVAILABLE_MODELS = layout.EMBEDDING_MODELS

Features = npt.NDArray[np.float16]


class EmbeddingMatrix:
    """The embeddings of a model, `(image, feature)` float16 in the order of the file; what is indexed is read."""

    def __init__(self, reader: EmbeddingReader) -> None:
        self._reader = reader

    @property
    def shape(self) -> tuple[int, int]:
        """Number of images, number of features."""
        return self._reader.n_images, self._reader.n_features

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the numbers."""
        return self._reader.dtype

    ndim = 2

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        rows, rest = (key[0], key[1:]) if isinstance(key, tuple) and key else (key, ())
        picked = np.arange(len(self))[() if rows is Ellipsis else rows]
        values = self.take(np.atleast_1d(picked))
        # what is left of the key is of the features; a number for the row takes its axis away
        return values[0][rest] if np.ndim(picked) == 0 else values[(slice(None), *rest)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)

    def take(self, rows: npt.NDArray[np.integer]) -> Features:
        """Return rows in any order, repeats allowed; each stretch of the file is read once."""
        return np.asarray(self._reader.read(rows, np.arange(self._reader.n_features)))


class Embeddings:
    """The embeddings of one or more models. No file stays open.

    Parameters
    ----------
    models
        A model, or several of `AVAILABLE_MODELS`.
    data_dir
        The data folder; the configured one for None.

    Raises
    ------
    ValueError
        No such model.
    StimuliNotDownloadedError
        The file of a model is not there (a `FileNotFoundError`).
    """

    def __init__(self, models: str | Iterable[str], data_dir: str | os.PathLike[str] | Location | None = None) -> None:
        self._location = Location.of(get_data_dir() if data_dir is None else data_dir)
        self._models = (models,) if isinstance(models, str) else tuple(models)
        self._files = dict(stimulus_files(self._location))
        self._found: dict[str, dict[str, int]] = {}
        for model in self._models:
            if model not in AVAILABLE_MODELS:
                raise SelectionError(did_you_mean("Embedding model", model, AVAILABLE_MODELS))
            path = layout.embedding_path(model)
            if path not in self._files:
                raise StimuliNotDownloadedError(
                    f"The embeddings of {model} are not there: expected {self._location.show(path)}; download them."
                )

    @property
    def data_dir(self) -> Path:
        """The data folder."""
        return Path(self._location.url)

    def __enter__(self) -> Embeddings:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing: no file is open."""

    @property
    def models(self) -> list[str]:
        """The models, in the order that they were asked for in."""
        return list(self._models)

    @cached_property
    def image_ids(self) -> npt.NDArray[np.str_]:
        """Names of the images in the order of the rows of the first model."""
        return np.array(self._table(self._models[0]).image_ids.tolist(), dtype=str)

    def __len__(self) -> int:
        return len(self.image_ids)

    def __contains__(self, key: object) -> bool:
        if isinstance(key, tuple) and len(key) == 2:
            return key[0] in self._models and key[1] in self._rows(key[0])
        return key in self._models

    def __getitem__(self, model: str) -> EmbeddingMatrix:
        self._known(model)
        table = self._table(model)
        entry = self._files[layout.embedding_path(model)]
        return EmbeddingMatrix(EmbeddingReader(self._location, entry, table.shape[0], table.shape[1], table.dtype))

    def get(self, model: str, image_name: str | Iterable[str]) -> Features:
        """Return the embedding of an image, `(feature,)`, or of several, `(n, feature)`, in their order.

        Raises
        ------
        KeyError
            No such model here, or no embedding of an image.
        """
        matrix = self[model]
        asked = [image_name] if isinstance(image_name, str) else list(image_name)
        rows = self._rows(model)
        for name in asked:
            if name not in rows:
                raise UnknownLabelError(f"Unknown image name: {name!r} has no row in the embeddings of {model}.")
        found = matrix.take(np.array([rows[name] for name in asked], dtype=np.intp))
        return found[0] if isinstance(image_name, str) else found

    def _rows(self, model: str) -> dict[str, int]:
        # each file has an order of its own, whatever the published ones agree on
        if model not in self._found:
            self._found[model] = {str(name): row for row, name in enumerate(self._table(model).image_ids)}
        return self._found[model]

    def _known(self, model: str) -> None:
        if model not in self._models:
            raise UnknownLabelError(did_you_mean("Embedding model", model, self._models))

    def _table(self, model: str) -> EmbeddingTable:
        return read_embedding_table(self._location, self._files[layout.embedding_path(model)])


def load_embeddings(models: str | Iterable[str] = "all", data_dir: str | os.PathLike[str] | None = None) -> Embeddings:
    """Return the embeddings of a model, of several, or of `"all"`; raises as `Embeddings`.

    Examples
    --------
    >>> load_embeddings("CLIP")["CLIP"][0].shape  # doctest: +SKIP
    (1024,)
    """
    return Embeddings(AVAILABLE_MODELS if isinstance(models, str) and models == "all" else models, data_dir)
