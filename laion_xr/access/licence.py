"""The notice that the data are CC0, which is accepted once for a data folder, and never silently.

The marker is that of the published loader, so that who accepted with one has accepted with the other.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from laion_xr.access.configuration import PUBLISHED_ACCESS_URL, STATE_FOLDER, folder_of
from laion_xr.errors import FileAccessError, LicenseNotAcceptedError

MARKER = "license_accepted"
ANSWER = "I AGREE"
NOTICE = f"""\
LAION-fMRI: brain data, embeddings, segmentations and captions

They are dedicated to the public domain (CC0 1.0): use, change and share them for any purpose, without asking. Nobody
warrants them. The deed: https://creativecommons.org/publicdomain/zero/1.0/

The stimulus images are not among them: they belong to others, may not be passed on, and are given under an agreement
of their own ({PUBLISHED_ACCESS_URL}/terms), which `download_stimuli` asks for.
"""


def licence_marker(root: str | os.PathLike[str]) -> Path:
    """Return the file whose presence says that the notice was accepted for a data folder."""
    return Path(root) / STATE_FOLDER / MARKER


def is_accepted(root: str | os.PathLike[str]) -> bool:
    """Whether the notice was accepted for a data folder, with this package or the published loader."""
    return licence_marker(root).is_file()


def accept_license(root: str | os.PathLike[str] | None = None, *, accept_licenses: bool = False) -> None:
    """Have the CC0 notice accepted, unless it was: by the argument, else by asking at the terminal.

    Parameters
    ----------
    root
        The data folder; the configured one where it is left out.
    accept_licenses
        True: whoever calls has read the notice, and accepts it. False asks, where there is a terminal.

    Raises
    ------
    LicenseNotAcceptedError
        It was declined, or there is nobody to ask.
    FileAccessError
        The acceptance cannot be noted in the folder.
    """
    folder = folder_of(root)
    if is_accepted(folder):
        return
    if not accept_licenses:
        _ask(folder)
    marker = licence_marker(folder)
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    except OSError as error:
        raise FileAccessError(
            f"{marker}, which notes that the licence was accepted, cannot be written ({error.strerror}): check the "
            "permissions of the data folder."
        ) from None


def someone_is_there() -> bool:
    """Whether a person can be asked: standard input and output are a terminal."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def _ask(folder: Path) -> None:
    if not someone_is_there():
        raise LicenseNotAcceptedError(
            f"The data licence (CC0 1.0, https://creativecommons.org/publicdomain/zero/1.0/) has not been accepted for "
            f"{folder}, and there is no terminal to ask at: read it, then pass accept_licenses=True."
        )
    try:
        said = input(f'{NOTICE}\nType "{ANSWER}" to accept: ')
    except EOFError:
        said = ""
    if said.strip() != ANSWER:
        raise LicenseNotAcceptedError(
            f"The data licence (CC0 1.0) was not accepted, so nothing is downloaded into {folder}: expected the answer "
            f'"{ANSWER}". Run the same again to be asked again.'
        )
