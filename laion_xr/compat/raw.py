"""The raw BIDS tree of a subject, where it was downloaded: events, and images as the published loader masks them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from laion_xr import layout
from laion_xr.access.selection import entities
from laion_xr.compat.arguments import Session, one_session
from laion_xr.compat.files import SubjectFiles
from laion_xr.compat.tables import published_table
from laion_xr.errors import DataNotDownloadedError, SelectionError
from laion_xr.location import FileEntry
from laion_xr.readers.nifti import NiftiReader

Names = str | int | None


class SubjectRaw:
    """The methods of `Subject` that read `sub-03/ses-01/func`, which `download_raw` brings."""

    _files: SubjectFiles

    def has_raw(self, session: Session | None = None) -> bool:
        """Whether raw files of a session are there, or of any session for None."""
        subject = self._files.subject
        folder = subject if session is None else f"{subject}/{one_session(session)}"
        return bool(self._files.location.files(folder))

    def get_events(self, session: Session, run: Names = None) -> pd.DataFrame:
        """Return the raw events of a session's runs of images, a row an event.

        Parameters
        ----------
        session
            `"ses-01"`.
        run
            `"01"`, or None for all, one below the other.

        Returns
        -------
        The columns of the files as pandas reads them, and `run` as it is in the files' names.

        Raises
        ------
        DataNotDownloadedError
            There are none.
        FileFormatError
            One is damaged (a `ValueError`).
        """
        tables = []
        for file in self._raw(session, "events", run=run):
            table = published_table(self._files.location, file, "the events", sep="\t")
            tables.append(table.assign(run=entities(file.path).get("run", "")))
        return pd.concat(tables, ignore_index=True)

    def get_raw_bold(
        self, session: Session, run: Names, echo: Names = "1", part: str = "mag", mask_source: str = "anatomical"
    ) -> npt.NDArray[np.float32]:
        """Return the raw images of a run within the brain mask, `(volume, voxel)` float32.

        Parameters
        ----------
        session, run, echo, part
            Which file: `"ses-01"`, `"01"`, `"1"`, `"mag"` or `"phase"`.
        mask_source
            As in `get_betas`.

        Raises
        ------
        DataNotDownloadedError
            It is not there.
        FileFormatError
            It is not on the grid of the brain mask (a `ValueError`): open the file with nibabel.
        """
        return self._masked(self._one(session, "bold", run=run, echo=echo, part=part), mask_source)

    def get_sbref(
        self, session: Session, run: Names, echo: Names = "1", mask_source: str = "anatomical"
    ) -> npt.NDArray[np.float32]:
        """Return the single-band reference of a run within the brain mask, `(voxel,)`; as `get_raw_bold`."""
        found: npt.NDArray[np.float32] = self._masked(self._one(session, "sbref", run=run, echo=echo), mask_source)[0]
        return found

    def _masked(self, file: FileEntry, mask_source: str) -> npt.NDArray[np.float32]:
        axis = self._files.axis(mask_source)
        reader = NiftiReader(self._files.location, file, axis.grid, None)
        return np.asarray(reader.read(slice(0, reader.shape[0]), axis.ids.astype(np.int64)), dtype=np.float32)

    def _one(self, session: Session, suffix: str, **names: Names) -> FileEntry:
        found = self._raw(session, suffix, **names)
        if len(found) > 1:
            raise SelectionError(
                f"{len(found)} files answer to {names} in {session}: {', '.join(f.path for f in found)}; say which."
            )
        return found[0]

    def _raw(self, session: Session, suffix: str, **names: Names) -> list[FileEntry]:
        """Return the raw files of the images of a session, run by run."""
        name = one_session(session)
        folder = f"{self._files.subject}/{name}/func"
        wanted = {"task": "images"} | {key: str(value) for key, value in names.items() if value is not None}
        ends = (".tsv",) if suffix == "events" else tuple(layout.NIFTI_ENDINGS)
        found = []
        for file in self._files.location.files(folder):
            has = entities(file.path)
            if has["suffix"] != suffix or not file.path.endswith(ends):
                continue
            if all(_same(has.get(key), value) for key, value in wanted.items()):
                found.append(file)
        if not found:
            which = ", ".join(f"{key} {value}" for key, value in wanted.items())
            raise DataNotDownloadedError(
                f"No raw {suffix} of {self._files.subject} {name} ({which}) in {self._files.location.show(folder)}: "
                f"download them with laion_xr.compat.download.download_raw({self._files.subject!r}, ses={name!r}, "
                f"suffix={suffix!r})."
            )
        return sorted(found, key=lambda file: layout.natural_order(file.path))


def _same(has: str | None, wanted: str) -> bool:
    # "1" is "01"; a file that does not say its part is of both
    return has is None or has.lstrip("0") == wanted.rpartition("-")[2].lstrip("0")
