"""The request id: nothing shows it, and its file is its owner's."""

from __future__ import annotations

import copy
import json
import os
import pickle
import stat
from pathlib import Path

import pytest

from laion_xr.access.credentials import Secret, request_id, request_id_path, save_request_id
from laion_xr.errors import AccessServiceError, SecretExposedWarning

SERVICE = "https://service.example"
TEXT = "lfm_0123456789abcdef"

posix = pytest.mark.skipif(os.name != "posix", reason="file modes are those of POSIX")


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the published loader, in a home of the test."""
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    return tmp_path / ".cache" / "laion-fmri" / "auth.json"


def write(path: Path, text: str, mode: int = 0o600) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_secret_is_not_shown() -> None:
    secret = Secret(TEXT)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!s:>40}", f"{secret!r}", repr([secret]), "%s" % secret]  # noqa: UP031 - a way of showing
    assert not any(TEXT in text for text in shown)
    assert not hasattr(secret, "__dict__")
    assert secret.reveal() == TEXT
    assert secret == Secret(TEXT)
    assert secret != Secret(TEXT + "x")
    assert secret != TEXT
    assert len({secret, Secret(TEXT)}) == 1
    for copied in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError):
            copied(secret)


def test_none_is_known() -> None:
    assert request_id(SERVICE) is None


def test_kept_and_found(file: Path) -> None:
    assert save_request_id(Secret(TEXT), SERVICE, "ada@university.example") == file == request_id_path()
    record = json.loads(file.read_text())
    # what the published loader reads
    assert {k: record[k] for k in ("server_url", "request_id", "email")} == {
        "server_url": SERVICE,
        "request_id": TEXT,
        "email": "ada@university.example",
    }
    assert request_id(SERVICE) == Secret(TEXT)
    assert [p.name for p in file.parent.iterdir()] == ["auth.json"]


@posix
def test_only_the_owner_reads_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    replace = os.replace

    def watched(source: str, target: Path) -> None:
        modes.append(mode(Path(source)))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    before = os.umask(0)
    try:
        write(file, "{}", 0o666)  # an old one that anybody reads
        save_request_id(Secret(TEXT), SERVICE)
    finally:
        os.umask(before)
    assert modes == [0o600]
    assert mode(file) == 0o600


def test_the_environment_wins(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(file, json.dumps({"request_id": "lfm_other"}))
    monkeypatch.setenv("LAION_FMRI_REQUEST_ID", f" {TEXT}\n")
    assert request_id(SERVICE) == Secret(TEXT)
    monkeypatch.setenv("LAION_FMRI_REQUEST_ID", " ")
    assert request_id(SERVICE) == Secret("lfm_other")


@posix
@pytest.mark.parametrize("open_to", [0o640, 0o604, 0o644, 0o666, 0o660])
def test_a_file_that_others_read_is_closed(file: Path, open_to: int) -> None:
    write(file, json.dumps({"request_id": TEXT}), open_to)
    with pytest.warns(
        SecretExposedWarning, match=rf"others could read it \(mode 0{open_to:o}\): it is now yours"
    ) as caught:
        assert request_id(SERVICE) == Secret(TEXT)
    assert TEXT not in str(caught[0].message)
    assert mode(file) == 0o600
    assert request_id(SERVICE) == Secret(TEXT)  # and no warning


@posix
def test_a_file_that_cannot_be_closed_is_not_used(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*args: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    write(file, json.dumps({"request_id": TEXT}), 0o644)
    monkeypatch.setattr(os, "fchmod", denied)
    with pytest.raises(AccessServiceError, match=r"others may read it \(mode 0644\).*chmod 600") as caught:
        request_id(SERVICE)
    assert TEXT not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"request_id": 3}', '{"request_id": " "}', f'"{TEXT}"'])
def test_a_file_without_an_id(file: Path, text: str) -> None:
    write(file, text)
    with pytest.raises(AccessServiceError, match="holds no request id") as caught:
        request_id(SERVICE)
    assert TEXT not in str(caught.value)


def test_an_id_is_not_sent_to_another_service(file: Path) -> None:
    save_request_id(Secret(TEXT), SERVICE)
    with pytest.raises(AccessServiceError, match=r"is for https://service\.example, and is not sent to https://other"):
        request_id("https://other.example")
    write(file, json.dumps({"request_id": TEXT, "server_url": f"{SERVICE}/"}))
    assert request_id(SERVICE) == Secret(TEXT)


def test_files_that_cannot_be_used(file: Path, tmp_path: Path) -> None:
    file.mkdir(parents=True)
    with pytest.raises(AccessServiceError, match="cannot be read"):
        request_id(SERVICE)
    file.rmdir()
    file.parent.rmdir()
    file.parent.touch()
    with pytest.raises(AccessServiceError, match="cannot be kept") as caught:
        save_request_id(Secret(TEXT), SERVICE)
    assert TEXT not in str(caught.value)
