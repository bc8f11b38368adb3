"""The embeddings, by model and by the image's name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from laion_xr.quantities import count_text
from laion_xr.schema import STIMULUS
from laion_xr.stimuli.folder import StimulusFolder, listed
from laion_xr.stimuli.variables import embedding_models, embedding_variable


@dataclass(frozen=True, eq=False)
class Embeddings:
    """The embeddings of the stimuli: lazy arrays, rows by name.

    Examples
    --------
    >>> embeddings = load_stimuli(root).embeddings  # doctest: +SKIP
    >>> embeddings.models  # doctest: +SKIP
    ['CLIP', 'DINOv2', 'PEcore', 'SigLIP2']
    >>> embeddings.get("CLIP", "shared_12rep_LAION_cluster_1003_i0.jpg")  # doctest: +SKIP
    """

    folder: StimulusFolder

    def __repr__(self) -> str:
        models = f" ({', '.join(self.models)})" if self.models else ""
        return f"<Embeddings: {count_text(len(self.models), 'model')}{models}, of {self.folder.location.url}>"

    @property
    def models(self) -> list[str]:
        """Models whose file is there."""
        return embedding_models(self.folder.files)

    def __contains__(self, model: object) -> bool:
        return model in self.models

    def __getitem__(self, model: str) -> xr.DataArray:
        return self.get(model)

    def get(self, model: str, names: str | Iterable[str] | None = None) -> xr.DataArray:
        """Return the embeddings of images, float16, read when they are computed.

        Parameters
        ----------
        model
            One of `models`.
        names
            An image: `(feature_{model},)`; several, in any order, repeats allowed: `(stimulus, feature_{model})`; None
            for all, in the order of the metadata.

        Returns
        -------
        xr.DataArray
            Rows of images that have no valid embedding are NaN.

        Raises
        ------
        StimuliNotDownloadedError
            The file of the model is not there.
        UnknownLabelError
            No model, or no image, has the name.
        """
        asked = self.folder.names if names is None else np.array(self._known(names), dtype=object)
        variable = embedding_variable(self.folder.location, self.folder.files, model, asked, STIMULUS)
        found = xr.Dataset({f"embedding_{model}": variable}).assign_coords({STIMULUS: (STIMULUS, asked)})
        array = found[f"embedding_{model}"]
        return array.isel({STIMULUS: 0}) if isinstance(names, str) else array

    def _known(self, names: str | Iterable[str]) -> list[str]:
        asked = listed(names)
        return self.folder.known(asked) if asked else []
