"""`load_subjects` and `Group` of the published loader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from laion_xr import layout
from laion_xr.compat.arguments import Sessions, listed
from laion_xr.compat.config import get_data_dir
from laion_xr.compat.errors import SubjectNameTypeError
from laion_xr.compat.regions import Query
from laion_xr.compat.subject import Subject, load_subject
from laion_xr.errors import DataNotDownloadedError, UnknownLabelError, did_you_mean
from laion_xr.location import Location

__all__ = ["Group", "load_subjects"]


def load_subjects(subjects: str | Iterable[str]) -> Group:
    """Load several subjects.

    Parameters
    ----------
    subjects
        Their names; or `"all"` for those that are in the data folder (the published loader asks the bucket).

    Raises
    ------
    TypeError
        Neither a name nor a list; it is a `SubjectNotFoundError` too, as in `load_subject`.
    DataNotDownloadedError
        There is nothing of a subject.

    Examples
    --------
    >>> group = load_subjects(["sub-01", "sub-03"])  # doctest: +SKIP
    >>> {name: sub.get_n_voxels() for name, sub in group}  # doctest: +SKIP
    """
    names = [subjects] if isinstance(subjects, str) else listed(subjects)
    if names is None:
        raise SubjectNameTypeError(
            f"subjects is 'all', a name such as 'sub-03', or a list of them: found {subjects!r}, a "
            f"{type(subjects).__name__}."
        )
    if names == ["all"]:
        root = Location.of(get_data_dir())
        names = [name for name in root.folders(layout.BETAS_DIR) if layout.is_subject(name)]
        if not names:
            raise DataNotDownloadedError(f"No subject is in {root.show(layout.BETAS_DIR)}: download one first.")
    loaded = [load_subject(name) for name in names]
    return Group({subject.subject_id: subject for subject in loaded})


class Group:
    """Several subjects, in the order of their names; iterating gives (name, `Subject`).

    Parameters
    ----------
    subjects_dict
        Name -> `Subject`.
    """

    def __init__(self, subjects_dict: Mapping[str, Subject]) -> None:
        self._subjects = {name: subjects_dict[name] for name in sorted(subjects_dict)}

    def __repr__(self) -> str:
        return f"<Group of {', '.join(self._subjects) or 'no subjects'}>"

    def __len__(self) -> int:
        return len(self._subjects)

    def __getitem__(self, key: int | str) -> Subject:
        if isinstance(key, str):
            if key not in self._subjects:
                raise UnknownLabelError(did_you_mean("Subject", key, self._subjects))
            return self._subjects[key]
        if isinstance(key, bool) or not isinstance(key, (int, np.integer)):
            raise TypeError(f"A group is indexed by a name or a number, found {type(key).__name__}.")
        return list(self._subjects.values())[key]

    def __iter__(self) -> Iterator[tuple[str, Subject]]:
        return iter(self._subjects.items())

    def get_shared_betas(
        self,
        session: Sessions,
        roi: Query | None = None,
        mask: npt.NDArray[Any] | None = None,
        nc_threshold: float | None = None,
        streaming: bool = False,
        mask_source: str = "anatomical",
    ) -> dict[str, Any]:
        """Return the betas of a session's trials of shared images, subject by subject.

        Trials stay in the order of each subject's session: row i of two subjects is not the same image. For that see
        `.laion.shared()` of a DataTree.

        Parameters
        ----------
        session, roi, mask, nc_threshold, streaming, mask_source
            As in `Subject.get_betas`.

        Returns
        -------
        dict
            Name -> `(trial, voxel)` float32.
        """
        several = listed(session)  # a generator would be empty for the second subject
        asked = session if several is None else several
        return {
            name: subject.get_betas(
                asked,
                roi=roi,
                mask=mask,
                nc_threshold=nc_threshold,
                stimuli="shared",
                streaming=streaming,
                mask_source=mask_source,
            )
            for name, subject in self
        }

    def get_shared_stimulus_metadata(self) -> pd.DataFrame:
        """Return the stimulus metadata of the shared images, a row an image."""
        table = self[0]._tables.with_columns("unique_or_shared")
        return table[table["unique_or_shared"] == "shared"].reset_index(drop=True)

    def get_shared_images(self, format: str = "pil") -> Any:
        """Return the shared images, in the order of `get_shared_stimulus_metadata`; see `Subject.get_images`."""
        return self[0].get_images("shared", format)
