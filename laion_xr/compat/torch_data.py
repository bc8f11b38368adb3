"""`LaionFMRIDataset` of the published loader: one session as a PyTorch dataset. Needs the extra `torch`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from laion_xr.compat.arguments import Session, one_session
from laion_xr.compat.regions import Query
from laion_xr.compat.trialwise import SubjectTrials, session_trials
from laion_xr.errors import TrialTableError, missing_extra

try:
    import torch
except ImportError:
    raise missing_extra("torch", "torch", "LaionFMRIDataset") from None

__all__ = ["LaionFMRIDataset"]


class SubjectBetas(SubjectTrials, Protocol):
    """What is needed of a `Subject`: its trials and its betas."""

    @property
    def subject_id(self) -> str:
        """Its name."""

    def get_betas(self, session: str, *args: Any, **kwargs: Any) -> Any:
        """Return betas."""


class LaionFMRIDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """One session of a subject, an item a trial; for whole subjects, and larger than memory, `laion_xr.torch`.

    An item is a dict: `betas` `(voxel,)` float32, `image` `(3, y, x)` float32 in 0-1 (what the transform makes of
    it), `image_name`, `session`, and `rep_index`: 0 for the first time in the session, 1 for the second ...

    Parameters
    ----------
    subject
        A `Subject`.
    session
        Its session.
    roi, mask, nc_threshold, mask_source
        The voxels, as in `Subject.get_betas`.
    image_transform
        Called with each image.
    """

    def __init__(
        self,
        subject: SubjectBetas,
        session: Session,
        roi: Query | None = None,
        mask: npt.NDArray[Any] | None = None,
        nc_threshold: float | None = None,
        image_transform: Callable[[torch.Tensor], Any] | None = None,
        mask_source: str = "anatomical",
    ) -> None:
        name = one_session(session)
        self._subject, self._session, self._transform = subject, name, image_transform
        self._betas = subject.get_betas(name, roi=roi, mask=mask, nc_threshold=nc_threshold, mask_source=mask_source)
        table = session_trials(subject, name)
        if len(table) != len(self._betas):
            raise TrialTableError(
                f"{subject.subject_id} {name} has {len(self._betas)} trials of betas and {len(table)} in its table."
            )
        self._names = [str(name) for name in table["image_name"]]
        self._repeats = table.groupby("image_name").cumcount().tolist()

    def __len__(self) -> int:
        return len(self._betas)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        pixels = np.asarray(self._subject._tables.picture(self._names[idx]), dtype=np.float32) / 255.0
        image: Any = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        return {
            "betas": torch.tensor(self._betas[idx], dtype=torch.float32),
            "image": image if self._transform is None else self._transform(image),
            "image_name": self._names[idx],
            "session": self._session,
            "rep_index": int(self._repeats[idx]),
        }
