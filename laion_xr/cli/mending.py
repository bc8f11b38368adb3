"""The command that fetches a file, or what is missing, again: what `doctor` says to run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from laion_xr import layout
from laion_xr.access.bucket import BUCKET
from laion_xr.access.plan import layout_subject
from laion_xr.access.selection import ANATOMICAL, SURFACES, kind_of, session_of


@dataclass(frozen=True)
class Mending:
    """Commands for a data folder.

    Attributes
    ----------
    root
        The folder.
    source
        Address to fetch from, where it is not the bucket.
    subject
        One that is here: with any subject come the stimulus table and the files at the top.
    """

    root: Path
    source: str = BUCKET
    subject: str = "sub-01"

    def file(self, path: str, present: bool = True) -> str:
        """Return the command that brings one file, and reads it again where it is `present`: its size may be right."""
        subject, kind = layout_subject(path), kind_of(path)
        check = ["--check"] if present else []
        if not subject:
            return self._of_nobody(path, check)
        session = session_of(path)
        words = ["--subject", subject, *(["--session", session] if session else [])]
        words += ["--anatomical"] if kind == ANATOMICAL else []
        words += ["--surfaces"] if kind == SURFACES else []
        return self._download(*words, "--include", f"*{path.rpartition('/')[2]}", *check)

    def files(self, subject: str, sessions: Sequence[str] = (), include: str = "", check: bool = False) -> str:
        """Return the command that brings some kinds of files of a subject, and nothing beside them."""
        words = ["--subject", subject, *(["--session", ",".join(sessions)] if sessions else [])]
        words += ["--include", include] if include else []
        return self._download(*words, *(["--check"] if check else []))

    def several(self, paths: Sequence[str]) -> str:
        """Return the command that brings some files of one subject, those that are here too."""
        if len(paths) == 1:
            return self.file(paths[0])
        sessions = sorted({s for path in paths if (s := session_of(path))}, key=layout.natural_order)
        patterns = ",".join(f"*{path.rpartition('/')[2]}" for path in paths)
        return self.files(layout_subject(paths[0]), sessions, patterns, check=True)

    def embeddings(self, models: Sequence[str], *check: str) -> str:
        """Return the command that brings the embeddings of some models."""
        return self._shell("download-embeddings", "--model", ",".join(models), *check)

    def annotations(self, kind: str, *check: str) -> str:
        """Return the command that brings `"captions"` or `"segmentations"`."""
        return self._shell(f"download-{kind}", *check)

    def images(self) -> str:
        """Return the command that brings the images, which compares what is here by itself."""
        return shlex.join(["laion-xr", "download-stimuli", str(self.root)])

    def _of_nobody(self, path: str, check: Sequence[str]) -> str:
        if (model := layout.embedding_model(path)) is not None:
            return self.embeddings([model], *check)
        if path == layout.stimulus_path("images"):
            return self.images()
        if path == layout.stimulus_path("captions"):
            return self.annotations("captions", *check)
        if path in (layout.stimulus_path("segmentations"), layout.stimulus_path("segmentations_metadata")):
            return self.annotations("segmentations", *check)
        # the stimulus table and the files at the top come with the least that a subject has
        words = ["--subject", self.subject, "--session", "averages", "--include", "*_desc-brain_mask.nii*"]
        return self._download(*words, *check)

    def _download(self, *words: str) -> str:
        return self._shell("download", *words)

    def _shell(self, command: str, *words: str) -> str:
        source = ["--source", self.source] if self.source != BUCKET else []
        # --check stands at the end, where it is seen
        rest = [word for word in words if word != "--check"]
        check = ["--check"] if "--check" in words else []
        return shlex.join(["laion-xr", command, str(self.root), *rest, *source, *check])
