"""The captions, by the image's name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from laion_xr.errors import unknown_label
from laion_xr.stimuli.folder import StimulusFolder, counted, listed

HUMAN, AI = "human", "ai"


@dataclass(frozen=True, eq=False)
class Captions:
    """The captions of the stimuli: five by people a shared image, three a unique one; by a model for shared ones.

    An image that carries none has empty results. Every look-up raises `StimuliNotDownloadedError` where the file is
    not there.

    Examples
    --------
    >>> captions = load_stimuli(root).captions  # doctest: +SKIP
    >>> captions.human("shared_12rep_LAION_cluster_1003_i0.jpg")  # doctest: +SKIP
    """

    folder: StimulusFolder

    def __repr__(self) -> str:
        return f"<Captions: {counted(self.folder, 'caption_table', 'caption')}, of {self.folder.location.url}>"

    def __len__(self) -> int:
        return len(self.folder.caption_table)

    def human(self, name: str) -> list[str]:
        """Return what people wrote of an image."""
        return self._texts(name, HUMAN)

    def ai(self, name: str) -> list[str]:
        """Return what a model wrote of an image."""
        return self._texts(name, AI)

    def get(self, names: str | Iterable[str] | None = None, source: str | None = None) -> pd.DataFrame:
        """Return captions as a table, a row a caption, columns as in the file.

        Parameters
        ----------
        names
            An image or several: their captions, image by image in this order; None for all.
        source
            `"human"` or `"ai"`; None for both.

        Raises
        ------
        UnknownLabelError
            No image, or no source, has the name.
        """
        table = self.folder.caption_table
        if source is not None:
            if source not in (known := {HUMAN, AI, *table["source"]}):
                raise unknown_label("Caption source", source, sorted(known))
            table = table[table["source"] == source]
        if names is None:
            return table.reset_index(drop=True)
        # an image may be known by its captions alone, where there is no metadata file
        asked = [name for name in listed(names) if name in self._named or self.folder.known(name)]
        groups = table.groupby("image_name", sort=False).indices
        rows = [row for name in asked for row in groups.get(name, ())]
        return table.iloc[rows].reset_index(drop=True)

    @property
    def _named(self) -> frozenset[str]:
        return frozenset(self.folder.caption_table["image_name"])

    def _texts(self, name: str, source: str) -> list[str]:
        return [str(text) for text in self.get(name, source)["caption"]]
