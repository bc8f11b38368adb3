"""What is known of the simulated images: their features, and the embeddings that follow from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from laion_xr.errors import unknown_label
from laion_xr.quantities import count_text
from laion_xr.simulate.catalogue import FloatArray
from laion_xr.simulate.streams import stream

BoolArray = npt.NDArray[np.bool_]

# Noise of the embeddings: share of their variance that is not the image's features
EMBEDDING_NOISE = {"CLIP": 0.02, "DINOv2": 0.15, "PEcore": 0.3, "SigLIP2": 0.5}
INVALID_ROWS = 0.02


@dataclass(frozen=True, eq=False)
class StimulusTruth:
    """The images of a simulated dataset, in the order of the metadata table.

    Attributes
    ----------
    seed : int
        Seed of the simulation.
    names : tuple of str
        File names of the images.
    metadata : DataFrame
        The table as written: image_name, dataset, participant, unique_or_shared, n_reps.
    features : ndarray of float32, shape (stimulus, feature)
        Latent features. Over the population of images each has mean 0 and variance 1, and they are
        uncorrelated; over the images of one dataset that holds up to sampling.
    kinds : ndarray of str, shape (stimulus,)
        What each image shows, one of `laion_xr.simulate.catalogue.KINDS`.
    embedding_dims : mapping
        Embedding model -> number of its features.
    """

    seed: int
    names: tuple[str, ...]
    metadata: pd.DataFrame
    features: FloatArray
    kinds: npt.NDArray[np.str_]
    embedding_dims: Mapping[str, int]

    def __repr__(self) -> str:
        models = ", ".join(f"{model} ({n:,})" for model, n in self.embedding_dims.items())
        return (
            f"<StimulusTruth: {count_text(len(self.names), 'image')}, {self.features.shape[1]} latent features, "
            f"embeddings {models}, seed {self.seed}>"
        )

    def features_of(self, stimuli: Iterable[str]) -> FloatArray:
        """Return the latent features of the named images, float32 (stimulus, feature)."""
        row = {name: i for i, name in enumerate(self.names)}
        names = [stimuli] if isinstance(stimuli, str) else list(stimuli)
        try:
            return self.features[[row[name] for name in names]]
        except KeyError as error:
            raise unknown_label("stimulus", error.args[0], row) from None

    def embedding_map(self, model: str) -> FloatArray:
        """Return the linear map from features to the embedding of a model, float32 (feature, dim)."""
        shape = (self.features.shape[1], self.embedding_dims[model])
        scale = np.sqrt((1 - EMBEDDING_NOISE[model]) / shape[0])
        out: FloatArray = (scale * stream(self.seed, "embedding", model).standard_normal(shape)).astype(np.float32)
        return out

    def embedding(self, model: str) -> npt.NDArray[np.float16]:
        """Return the embeddings as written, but in the order of the metadata, float16 (stimulus, dim)."""
        out = self.features @ self.embedding_map(model)
        sd = np.float32(np.sqrt(EMBEDDING_NOISE[model]))
        for row, name in enumerate(self.names):
            out[row] += sd * stream(self.seed, "embedding", model, name).standard_normal(out.shape[1], np.float32)
        out[~self.valid(model)] = 0
        return out.astype(np.float16)

    def valid(self, model: str) -> BoolArray:
        """Return which images have an embedding, bool (stimulus,): all but 2 %, and but one at least."""
        n = len(self.metadata)
        out = np.ones(n, np.bool_)
        n_invalid = max(1, round(INVALID_ROWS * n)) if n > 10 else 0
        out[stream(self.seed, "embedding", model, "valid").permutation(n)[:n_invalid]] = False
        return out
