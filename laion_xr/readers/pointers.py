"""Recognises the small text files that git-LFS and git-annex leave where the data were not fetched.

Pure: bytes in, an error out.
"""

from __future__ import annotations

import re

from laion_xr.errors import FileFormatError

LFS_MAGIC = b"version https://git-lfs"
ANNEX_MAGIC = re.compile(rb"[^\n]*/annex/objects/")
# an annex pointer is one line that holds one key; the longest file names are 255 bytes
_HEAD = 512


def pointer_error(head: bytes, name: str) -> FileFormatError | None:
    """Return the error for a file that is a pointer, or None where it is something else.

    Parameters
    ----------
    head
        The first bytes of the file; 512 are enough.
    name
        Full address of the file, for the message.

    Returns
    -------
    The error to raise, or None.
    """
    if head.startswith(LFS_MAGIC):
        return FileFormatError(
            f"{name} is a git-LFS pointer of a few lines, not the data: "
            "fetch the data with 'git lfs pull' in its repository, or download the file."
        )
    if ANNEX_MAGIC.match(head[:_HEAD]):
        return FileFormatError(
            f"{name} is a git-annex pointer, not the data: "
            "fetch the data with 'git annex get' (or 'datalad get') in its repository, or download the file."
        )
    return None


def raise_if_pointer(head: bytes, name: str) -> None:
    """Raise the error for a file that is a pointer.

    Raises
    ------
    FileFormatError
        The file's first bytes are those of a git-LFS or git-annex pointer.
    """
    error = pointer_error(head, name)
    if error is not None:
        raise error
