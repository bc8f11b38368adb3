"""The CC0 notice: accepted once, by somebody, and noted where the published loader notes it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import laion_xr
from laion_xr.access import licence
from laion_xr.access.licence import accept_license, is_accepted
from laion_xr.errors import DataDirNotSetError, FileAccessError, LicenseNotAcceptedError, NotALaionDatasetError


def marker(root: Path) -> Path:
    # as the published documentation has it
    return root / ".laion_fmri" / "license_accepted"


def answer(monkeypatch: pytest.MonkeyPatch, text: str | type[BaseException]) -> list[str]:
    asked: list[str] = []

    def reply(question: str) -> str:
        asked.append(question)
        if isinstance(text, str):
            return text
        raise text

    monkeypatch.setattr(licence, "someone_is_there", lambda: True)
    monkeypatch.setattr("builtins.input", reply)
    return asked


def test_accepted_by_the_argument(tmp_path: Path) -> None:
    assert not is_accepted(tmp_path)
    laion_xr.accept_license(tmp_path, accept_licenses=True)
    assert is_accepted(tmp_path)
    assert marker(tmp_path).is_file()
    accept_license(tmp_path)  # once is enough


def test_accepted_with_the_published_loader(tmp_path: Path) -> None:
    marker(tmp_path).parent.mkdir()
    marker(tmp_path).touch()
    assert is_accepted(tmp_path)
    accept_license(str(tmp_path))


@pytest.mark.parametrize("said", ["I AGREE", "  I AGREE \n"])
def test_accepted_at_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    (asked,) = [answer(monkeypatch, said)]
    accept_license(tmp_path)
    accept_license(tmp_path)
    assert marker(tmp_path).is_file()
    assert len(asked) == 1
    assert "CC0" in asked[0]
    assert "https://creativecommons.org/publicdomain/zero/1.0/" in asked[0]
    assert "images are not among them" in asked[0]


@pytest.mark.parametrize("said", ["", "no", "i agree", "y", "I AGREE NOT", EOFError])
def test_declined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str | type[BaseException]) -> None:
    answer(monkeypatch, said)
    with pytest.raises(LicenseNotAcceptedError, match="was not accepted, so nothing is downloaded"):
        accept_license(tmp_path)
    assert not is_accepted(tmp_path)


def test_an_interrupt_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        accept_license(tmp_path)
    assert not is_accepted(tmp_path)


def test_nobody_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(question: str) -> str:
        raise AssertionError("nobody is there to be asked")

    monkeypatch.setattr("builtins.input", never)
    for streams in ({"stdin": None}, {"stdout": None}, {}):
        with monkeypatch.context() as patch:
            for name, stream in streams.items():
                patch.setattr(sys, name, stream)
            with pytest.raises(LicenseNotAcceptedError, match=r"no terminal to ask at: .*accept_licenses=True"):
                accept_license(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_configured_folder(tmp_path: Path) -> None:
    with pytest.raises(DataDirNotSetError):
        accept_license(accept_licenses=True)
    with laion_xr.config.set(data_dir=tmp_path / "new"):
        accept_license(accept_licenses=True)
    assert marker(tmp_path / "new").is_file()


def test_where_it_cannot_be_noted(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileAccessError, match="license_accepted, which notes that the licence was accepted"):
        accept_license(tmp_path / "file", accept_licenses=True)
    with pytest.raises(NotALaionDatasetError, match="is an address"):
        accept_license("s3://laion-fmri", accept_licenses=True)
