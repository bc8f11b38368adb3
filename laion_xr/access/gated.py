"""The stimulus images, which are given under an agreement: access once, then links that expire, then the files.

What the service lists is fetched into the layout as any other file is, by `laion_xr.access.transfer`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath

from laion_xr import layout
from laion_xr.access import configuration
from laion_xr.access.agreement import granted
from laion_xr.access.credentials import Secret
from laion_xr.access.paths import safe_target
from laion_xr.access.room import block_size, free_space, on_disk
from laion_xr.access.service import AccessService, Grant, SignedFile
from laion_xr.access.transfer import fetch_file, is_present
from laion_xr.access.web import AnswerError, Connections, sent
from laion_xr.errors import (
    AccessServiceError,
    CorruptFileError,
    FileAccessError,
    NoSpaceError,
)
from laion_xr.progress import byte_bar
from laion_xr.quantities import size_text

# Of what the service lists, what is fetched, and whether there has to be one
WANTED = {layout.stimulus_path("images"): True, layout.stimulus_path("metadata"): False}


def download_stimuli(
    root: str | os.PathLike[str] | None = None,
    *,
    name: str | None = None,
    email: str | None = None,
    institution: str | None = None,
    research_purpose: str | None = None,
    pi_or_supervisor: str | None = None,
    accept_licenses: bool = False,
    access_url: str | None = None,
    progress: bool = True,
) -> dict[str, Path]:
    """Download the stimulus images, which are given under a Data Use Agreement.

    The first time the access service wants to know who asks and what for, and the agreement accepted: both by
    arguments, or by answering at a terminal. It gives a request id, a secret, which is kept in a file that only you can
    read, and used from then on. Files that are here and whole are not fetched again; what was interrupted goes on.

    Parameters
    ----------
    root
        The data folder; the configured one where it is left out.
    name, email, institution
        Who asks: full name, address at the institution, institution.
    research_purpose
        What the images are for, in a sentence or two.
    pi_or_supervisor
        Who supervises, where somebody does.
    accept_licenses
        True: you have read the agreement that is in force (its address is in the error that you get without), and
        accept it. It is never accepted silently.
    access_url
        Address of the access service; the configured one where it is left out.
    progress
        A bar, where the output is a terminal or a notebook.

    Returns
    -------
    The files, by name.

    Raises
    ------
    LicenseNotAcceptedError
        The agreement was declined, or there is nobody to ask.
    AccessServiceError
        The service refused: `TermsOutdatedError`, `AccessRevokedError`, `AccessNotFoundError`, `TooManyRequestsError`,
        or the details are missing or not valid.
    UnreachableError
        The service does not answer.
    UnsafePathError
        It lists a file whose name leads out of the folder.
    NoSpaceError
        There is no room; the message says how much is needed and free.
    CorruptFileError
        A file came with a wrong checksum again and again; it is not kept.

    Examples
    --------
    >>> import laion_xr
    >>> laion_xr.download_stimuli("my-data")  # doctest: +SKIP
    {'task-images_stimuli.h5': ..., 'task-images_metadata.csv': ...}
    """
    folder = configuration.folder_of(root)
    service = AccessService(access_url or configuration.access_url())
    details = {
        "name": name,
        "email": email,
        "institution": institution,
        "research_purpose": research_purpose,
        "pi_or_supervisor": pi_or_supervisor,
    }
    links = Links(service, granted(service, details, accept_licenses))
    targets = {file.name: safe_target(folder, f"{layout.STIMULI_DIR}/{file.name}") for file in links.files}
    sources = _wanted(links)
    _check_space(folder, [(source, targets[source.name]) for source in sources])
    lock = threading.Lock()
    with byte_bar(sum(source.size for source in sources), progress, "images") as bar, closing(links):

        def count(n: int) -> None:
            with lock:
                bar.update(n)

        for source in sources:
            fetch_file(source, targets[source.name], progress=count, recheck=True)
    return {source.name: targets[source.name] for source in sources}


class Links:
    """The links of a grant, renewed when they have expired; for several threads.

    Parameters
    ----------
    service
        What renews them.
    grant
        The first ones.
    """

    def __init__(self, service: AccessService, grant: Grant) -> None:
        self._service, self._request_id = service, grant.request_id
        self.connections = Connections()
        self._lock = threading.Lock()
        self._take(grant)

    def close(self) -> None:
        """Close the connections to where the links lead."""
        self.connections.close()

    @property
    def files(self) -> tuple[SignedFile, ...]:
        """What the service lists."""
        return self._files

    def current(self, name: str) -> Secret:
        """Return the link of a file."""
        with self._lock:
            return self._by_name[name].url

    def renew(self, name: str, expired: Secret) -> Secret:
        """Return a link that is newer than one that was refused.

        Raises
        ------
        AccessServiceError
            The service gives none.
        CorruptFileError
            The file is another one by now.
        """
        with self._lock:
            if self._by_name[name].url == expired:
                before = self._by_name[name]
                self._take(self._service.refresh(self._request_id))
                after = self._by_name.get(name)
                if after is None or (after.size, after.sha256) != (before.size, before.sha256):
                    raise CorruptFileError(f"{name} was changed while it was fetched: run the same again.")
            return self._by_name[name].url

    def _take(self, grant: Grant) -> None:
        self._files = grant.files
        self._by_name = {file.name: file for file in grant.files}


class LinkedSource:
    """A file behind signed links, as `laion_xr.access.transfer` fetches it."""

    def __init__(self, links: Links, file: SignedFile) -> None:
        self._links = links
        self.name = file.name
        self.size: int = file.size
        self.checksum = ("sha256", file.sha256)
        self.validator = file.sha256

    def open(self, start: int) -> Iterator[bytes]:
        """Yield the bytes from a position to the end."""
        return self.part(start, self.size)

    def part(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from `start` up to `end`; a link that has expired is renewed, once."""
        headers = {"Range": f"bytes={start}-{end - 1}"} if (start, end) != (0, self.size) else {}
        link, connections = self._links.current(self.name), self._links.connections
        answer = sent("GET", link, headers=headers, connections=connections)
        if answer.status in (401, 403):
            with answer:
                link = self._links.renew(self.name, link)
            answer = sent("GET", link, headers=headers, connections=connections)
        with answer:
            if answer.status in (401, 403):
                raise FileAccessError(
                    f"{self.name} may not be read (HTTP {answer.status}), also with a new link: check the clock of "
                    "this machine, and try again later."
                )
            if answer.status not in (200, 206):
                raise AnswerError(answer)
            skipped = start if answer.status == 200 else start - _first(answer.headers.get("content-range"), start)
            if skipped < 0:
                raise ConnectionError("the server sent another part of the file than was asked for")
            if answer.status == 206 and skipped == 0:
                yield from answer.blocks()
            else:
                yield from _between(answer.blocks(), skipped, end - start)


def _wanted(links: Links) -> list[LinkedSource]:
    by_name = {file.name: file for file in links.files}
    found = []
    for path, needed in WANTED.items():
        name = PurePosixPath(path).name
        if name in by_name:
            found.append(LinkedSource(links, by_name[name]))
        elif needed:
            listed = ", ".join(sorted(by_name)) or "nothing"
            raise AccessServiceError(
                f"The access service does not list {name}: found {listed}. Update laion-xr, or try again later."
            )
    return found


def _check_space(folder: Path, files: list[tuple[LinkedSource, Path]]) -> None:
    sizes = [source.size for source, target in files if not is_present(source, target)]
    needed, free = sum(sizes), free_space(folder)
    if on_disk(sizes, block_size(folder)) > free:
        raise NoSpaceError(
            f"The images need {size_text(needed)}, and {folder} has {size_text(free)} free: make room, or choose "
            "another folder."
        )


def _first(content_range: str | None, asked: int) -> int:
    """Return where the part of an answer begins; where it should, if it does not say."""
    first = (content_range or "").removeprefix("bytes ").partition("-")[0].strip()
    return int(first) if first.isdecimal() else asked


def _between(blocks: Iterator[bytes], skipped: int, length: int) -> Iterator[bytes]:
    """Yield a part of a stream that holds more; a server may answer with the whole file."""
    for block in blocks:
        kept = block[min(skipped, len(block)) :]
        skipped -= len(block) - len(kept)
        if kept := kept[:length]:
            length -= len(kept)
            yield kept
        if length == 0:
            return
