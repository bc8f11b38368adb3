"""Pointer files of git-LFS and git-annex."""

from __future__ import annotations

import pytest

from laion_xr.errors import FileFormatError
from laion_xr.readers.pointers import pointer_error, raise_if_pointer

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
UNLOCKED = b"/annex/objects/MD5E-s1234--abcd.nii.gz\n"
LINK_AS_TEXT = b"../../../.git/annex/objects/0X/kW/MD5E-s1234--abcd.nii.gz/MD5E-s1234--abcd.nii.gz"


@pytest.mark.parametrize(
    ("head", "kind", "remedy"),
    [(LFS, "git-LFS", "git lfs pull"), (UNLOCKED, "git-annex", "annex get"), (LINK_AS_TEXT, "git-annex", "annex get")],
)
def test_says_what_it_is_and_what_to_do(head: bytes, kind: str, remedy: str) -> None:
    with pytest.raises(FileFormatError, match=f"/data/f.nii.gz is a {kind} pointer.*{remedy}"):
        raise_if_pointer(head, "/data/f.nii.gz")


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\x1f\x8b\x08\x00",
        b"label\trun\n",
        b"a,b\nsomething about /annex/objects/ in a table\n",
        bytes(600) + b"/annex/objects/",
    ],
)
def test_other_files(head: bytes) -> None:
    assert pointer_error(head, "f") is None
    raise_if_pointer(head, "f")
