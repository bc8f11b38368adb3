"""The gated images against a service on this machine: access, refusals, broken transfers, kills, and secrets."""

from __future__ import annotations

import csv
import io
import itertools
import json
import logging
import os
import pickle
import signal
import stat
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import laion_xr
from laion_xr import remote
from laion_xr.access import gated, partial, transfer
from laion_xr.access.credentials import Secret
from laion_xr.access.gated import Links, download_stimuli
from laion_xr.access.service import AccessService, Applicant
from laion_xr.errors import (
    AccessNotFoundError,
    AccessRevokedError,
    AccessServiceError,
    CorruptFileError,
    FileAccessError,
    LaionXRError,
    LicenseNotAcceptedError,
    NoSpaceError,
    NotALaionDatasetError,
    SelectionError,
    TermsOutdatedError,
    TooManyRequestsError,
    UnreachableError,
    UnsafePathError,
)

IMAGES, METADATA = "task-images_stimuli.h5", "task-images_metadata.csv"
WHO = {
    "name": "Ada Lovelace",
    "email": "ada@university.example",
    "institution": "Analytical Engines",
    "research_purpose": "To relate images to responses of the ventral stream.",
}
SIZE = 3_000_001  # an odd number of bytes, and enough for a record of what has come


@pytest.fixture
def service(access_service: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The service with files, and pauses that do not take long."""
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(remote, "LONGEST_PAUSE", 0.004)
    rng = np.random.default_rng(8)
    table = io.StringIO()
    csv.writer(table).writerows([["image_name", "n_reps"], ["shared_12rep_LAION_cluster_1_i0.jpg", 12]])
    access_service.files = {IMAGES: rng.bytes(SIZE), METADATA: table.getvalue().encode()}
    return access_service


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def known(service: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """A request id that the service knows, in the environment."""
    found = service.grant()
    monkeypatch.setenv("LAION_FMRI_REQUEST_ID", found)
    return found


def auth_file() -> Path:
    # as the published loader's documentation names it
    return Path(os.environ["HOME"]) / ".cache" / "laion-fmri" / "auth.json"


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def whole(service: Any, root: Path) -> bool:
    """Whether both files are there, as they are, and nothing beside them."""
    return files_below(root) == {f"stimuli/{name}": data for name, data in service.files.items()}


def test_the_first_time_asks_for_access_and_later_ones_do_not(service: Any, root: Path) -> None:
    found = download_stimuli(root, **WHO, pi_or_supervisor="Charles Babbage", accept_licenses=True)
    assert found == {name: root / "stimuli" / name for name in (IMAGES, METADATA)}
    assert whole(service, root)
    (asked,) = service.of("/access/request")
    assert asked.body == {
        **WHO,
        "pi_or_supervisor": "Charles Babbage",
        "accepted_terms": True,
        "terms_version": "2.1",
        "source": "cli",
    }
    record = json.loads(auth_file().read_text())
    assert [record["request_id"]] == list(service.ids)
    assert (record["server_url"], record["email"]) == (service.url, WHO["email"])
    assert stat.S_IMODE(auth_file().stat().st_mode) == 0o600
    assert stat.S_IMODE(auth_file().parent.stat().st_mode) & 0o077 == 0

    before = {p: p.stat().st_mtime_ns for p in found.values()}
    service.asked.clear()
    assert download_stimuli(root) == found
    assert [a.path for a in service.asked] == ["/api/v1/refresh"]
    assert service.asked[0].body == {"request_id": record["request_id"], "dataset_version": "v1"}
    assert {p: p.stat().st_mtime_ns for p in found.values()} == before


def test_the_configured_folder(service: Any, root: Path, known: str) -> None:
    with laion_xr.config.set(data_dir=root):
        laion_xr.download_stimuli()
    assert whole(service, root)
    assert not auth_file().exists()  # an id of the environment is not written down


def test_what_is_here_and_broken_is_fetched_again(service: Any, root: Path, known: str) -> None:
    target = root / "stimuli" / IMAGES
    target.parent.mkdir(parents=True)
    target.write_bytes(bytes(SIZE))  # its size is right
    download_stimuli(root)
    assert whole(service, root)


@pytest.mark.parametrize("kind", [500, 502, 503, 429, 408, "reset", "cut", "short", "corrupt"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_transfer_that_breaks_goes_on(service: Any, root: Path, known: str, kind: int | str, times: int) -> None:
    fault = service.fail(IMAGES, kind, times)
    download_stimuli(root)
    assert fault.hits == times
    assert whole(service, root)


@pytest.mark.parametrize(("kind", "again"), [("whole", 0), ("before", 0), ("after", 1)])
def test_another_range_than_was_asked_for(service: Any, root: Path, known: str, kind: str, again: int) -> None:
    service.fail(IMAGES, "cut")
    fault = service.fail(IMAGES, kind)
    download_stimuli(root)
    assert fault.hits == 1
    # what holds the bytes that were asked for is used, whatever else it holds
    assert len(service.of(IMAGES)) == 2 + again
    assert whole(service, root)


@pytest.mark.parametrize("kind", ["reset", "cut", 500])
@pytest.mark.parametrize("part", ["/refresh", "/manifest", "/access/request"])
def test_the_service_breaks_and_is_asked_again(service: Any, root: Path, kind: int | str, part: str) -> None:
    if part == "/refresh":
        download_stimuli(root, **WHO, accept_licenses=True)
    fault = service.fail(part, kind, 2)
    download_stimuli(root, **WHO, accept_licenses=True)
    assert fault.hits == 2
    assert whole(service, root)


@pytest.mark.parametrize("kind", ["reset", "cut", 503])
def test_what_never_passes_leaves_nothing_with_a_final_name(
    service: Any, root: Path, known: str, kind: int | str
) -> None:
    service.fail(IMAGES, kind, np.inf)
    with pytest.raises(UnreachableError, match=IMAGES):
        download_stimuli(root)
    assert [p for p in files_below(root) if not Path(p).name.startswith(".")] == []
    service.faults.clear()
    service.asked.clear()
    download_stimuli(root)
    assert whole(service, root)
    if kind == "cut":
        # more than half has come before, and is not asked for again
        assert service.of(IMAGES)[0].start > SIZE // 2


def test_a_wrong_checksum_is_never_kept(service: Any, root: Path, known: str) -> None:
    service.fail(IMAGES, "corrupt", np.inf)
    with pytest.raises(CorruptFileError, match=f"{IMAGES} came 3 times with a wrong checksum"):
        download_stimuli(root)
    assert files_below(root) == {}


@pytest.mark.parametrize("says", [{"size": SIZE - 1}, {"size": SIZE + 1}, {"sha256": "0" * 64}])
def test_a_list_that_is_wrong_about_a_file(service: Any, root: Path, known: str, says: dict[str, Any]) -> None:
    service.listed[IMAGES] = says
    with pytest.raises((CorruptFileError, UnreachableError)):
        download_stimuli(root)
    assert [p for p in files_below(root) if not Path(p).name.startswith(".")] == []


def test_links_that_have_expired_are_renewed_once(
    service: Any, root: Path, known: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh = AccessService.refresh

    def stale(self: AccessService, request_id: Secret) -> Any:
        found = refresh(self, request_id)
        if len(service.of("/refresh")) == 1:
            service.expire_links()
        return found

    monkeypatch.setattr(AccessService, "refresh", stale)
    download_stimuli(root)
    assert whole(service, root)
    # one for both files: the second finds the new links
    assert len(service.of("/refresh")) == 2


def test_a_link_that_expires_half_way(service: Any, root: Path, known: str) -> None:
    service.fail(IMAGES, "cut")
    service.fail(IMAGES, 403)
    download_stimuli(root)
    assert whole(service, root)
    assert [a.status for a in service.of(IMAGES)] == [200, 403, 206]
    assert service.of(IMAGES)[-1].start > 0


def test_a_link_that_is_always_refused(service: Any, root: Path, known: str) -> None:
    service.fail(IMAGES, 403, np.inf)
    with pytest.raises(FileAccessError, match=r"may not be read \(HTTP 403\), also with a new link"):
        download_stimuli(root)
    assert len(service.of(IMAGES)) == 2
    assert len(service.of("/refresh")) == 2


def test_access_that_is_revoked_while_a_file_comes(
    service: Any, root: Path, known: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.fail(IMAGES, "cut")
    service.fail(IMAGES, 403)
    refresh = AccessService.refresh
    calls = itertools.count()

    def revoking(self: AccessService, request_id: Secret) -> Any:
        if next(calls) == 1:
            service.revoked.add(known)
        return refresh(self, request_id)

    monkeypatch.setattr(AccessService, "refresh", revoking)
    with pytest.raises(AccessRevokedError):
        download_stimuli(root)


def test_a_file_that_changes_while_it_comes(service: Any, root: Path, known: str) -> None:
    links = Links(AccessService(service.url), AccessService(service.url).refresh(Secret(known)))
    service.files[IMAGES] += b"!"
    service.expire_links()
    (source,) = [gated.LinkedSource(links, f) for f in links.files if f.name == IMAGES]
    with pytest.raises(CorruptFileError, match="was changed while it was fetched"):
        transfer.fetch_file(source, root / IMAGES)
    assert not (root / IMAGES).exists()


def test_threads_renew_a_link_once(service: Any, known: str) -> None:
    links = Links(AccessService(service.url), AccessService(service.url).refresh(Secret(known)))
    old = links.current(IMAGES)
    found: list[Secret] = []
    threads = [threading.Thread(target=lambda: found.append(links.renew(IMAGES, old))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert old not in found
    assert len(service.of("/refresh")) == 2


def test_a_long_file_in_parts(service: Any, root: Path, known: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "IN_PARTS_FROM", 1 << 20)
    monkeypatch.setattr(transfer, "PART", 1 << 20)
    download_stimuli(root)
    assert whole(service, root)
    assert sorted(a.start for a in service.of(IMAGES)) == [0, 1 << 20, 2 << 20]


def test_connections_are_used_again(service: Any, root: Path, known: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "IN_PARTS_FROM", 1 << 16)
    monkeypatch.setattr(transfer, "PART", 1 << 16)
    download_stimuli(root)
    assert whole(service, root)
    assert len(service.of(IMAGES)) == -(-SIZE // (1 << 16))
    # one to the service, and one for each of the parts that come at once
    assert service.connections <= 1 + transfer.PARTS_AT_ONCE


@pytest.mark.parametrize("asked", ["3600", "Thu, 31 Dec 2099 23:59:59 GMT"])
def test_too_many_requests_and_a_long_pause(service: Any, root: Path, known: str, asked: str) -> None:
    fault = service.fail("/refresh", 429, np.inf, Retry_After=asked)
    begun = time.monotonic()
    with pytest.raises(TooManyRequestsError, match=r"asked too often \(HTTP 429\): try again in \d{4,} s, as it asks"):
        download_stimuli(root)
    assert time.monotonic() - begun < 5
    assert fault.hits == 1


def test_too_many_requests_and_a_short_pause(service: Any, root: Path, known: str) -> None:
    service.fail("/refresh", 429, 1, Retry_After="1")
    begun = time.monotonic()
    download_stimuli(root)
    assert time.monotonic() - begun >= 1


def test_terms_that_are_outdated(service: Any, root: Path, known: str) -> None:
    service.terms_version = "3.0"
    for details in ({}, {**WHO, "accept_licenses": True}):  # the id of the environment would win again
        with pytest.raises(
            TermsOutdatedError, match=r"read http://127[^ ]*/terms, .*unset LAION_FMRI_REQUEST_ID"
        ) as caught:
            download_stimuli(root, **details)
        assert known not in str(caught.value)
        assert "<hidden>" not in str(caught.value)
    assert service.of("/access/request") == []


def test_terms_that_are_outdated_are_accepted_anew(service: Any, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    download_stimuli(root, **WHO, accept_licenses=True)
    before = json.loads(auth_file().read_text())["request_id"]
    service.terms_version = "3.0"
    for details in ({}, WHO, {"accept_licenses": True}):  # never silently
        with pytest.raises(TermsOutdatedError, match="accept_licenses=True"):
            download_stimuli(root, **details)
    download_stimuli(root, **WHO, accept_licenses=True)
    assert service.of("/access/request")[-1].body["terms_version"] == "3.0"
    after = json.loads(auth_file().read_text())["request_id"]
    assert after != before
    assert whole(service, root)
    download_stimuli(root)  # with the new id, and no details
    # at a terminal they are asked for
    service.terms_version = "4.0"
    monkeypatch.setattr("laion_xr.access.agreement.someone_is_there", lambda: True)
    answers = [WHO["name"], WHO["email"], WHO["institution"], "", WHO["research_purpose"], "yes"]
    monkeypatch.setattr("builtins.input", lambda question: answers.pop(0))
    download_stimuli(root)
    assert answers == []
    assert service.of("/access/request")[-1].body["terms_version"] == "4.0"


@pytest.mark.parametrize("key", [*WHO, "pi_or_supervisor"])
def test_details_that_are_no_texts(service: Any, root: Path, key: str) -> None:
    with pytest.raises(SelectionError, match=rf"{key}=3 is not understood: expected a text"):
        download_stimuli(root, **{**WHO, key: 3}, accept_licenses=True)  # type: ignore[arg-type]
    assert service.asked == []


def test_an_id_that_is_revoked(service: Any, root: Path, known: str) -> None:
    service.revoked.add(known)
    with pytest.raises(AccessRevokedError, match="was revoked by the data controller") as caught:
        download_stimuli(root)
    assert known not in str(caught.value)


def test_an_id_that_nobody_knows(service: Any, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    download_stimuli(root, **WHO, accept_licenses=True)
    service.ids.clear()
    with pytest.raises(AccessNotFoundError, match="does not know this request id"):
        download_stimuli(root)
    # with who asks, access is asked for anew
    download_stimuli(root, **WHO, accept_licenses=True)
    assert [json.loads(auth_file().read_text())["request_id"]] == list(service.ids)
    # one of the environment would be tried again and again: that is for the user to change
    monkeypatch.setenv("LAION_FMRI_REQUEST_ID", "lfm_unknown")
    with pytest.raises(AccessNotFoundError):
        download_stimuli(root, **WHO, accept_licenses=True)


def test_details_that_are_not_valid_are_named(service: Any, root: Path) -> None:
    with pytest.raises(AccessServiceError, match=r"did not take the request: email: Field required\.") as caught:
        download_stimuli(root, **WHO | {"email": "nobody"}, accept_licenses=True)
    assert WHO["name"] not in str(caught.value)
    assert not auth_file().exists()


def test_nothing_is_accepted_silently(service: Any, root: Path) -> None:
    with pytest.raises(LicenseNotAcceptedError, match=r"/terms \(version 2\.1\).*accept_licenses=True"):
        download_stimuli(root, **WHO)
    with pytest.raises(AccessServiceError, match="found no email, research_purpose"):
        download_stimuli(root, name="A", institution="B", accept_licenses=True)
    assert service.of("/access/request") == []
    assert not root.exists()


@pytest.mark.parametrize("agrees", [True, False])
def test_asked_at_a_terminal(service: Any, root: Path, monkeypatch: pytest.MonkeyPatch, agrees: bool) -> None:
    monkeypatch.setattr("laion_xr.access.agreement.someone_is_there", lambda: True)
    answers = [WHO["name"], WHO["institution"], "", WHO["research_purpose"], "yes" if agrees else "no"]
    questions: list[str] = []
    monkeypatch.setattr("builtins.input", lambda question: questions.append(question) or answers.pop(0))
    if agrees:
        download_stimuli(root, email=WHO["email"])
        (asked,) = service.of("/access/request")
        assert {k: asked.body[k] for k in WHO} == WHO
        assert asked.body["pi_or_supervisor"] is None
        assert whole(service, root)
    else:
        with pytest.raises(LicenseNotAcceptedError):
            download_stimuli(root, email=WHO["email"])
        assert service.of("/access/request") == []
    assert not any("mail" in q for q in questions)  # it was given
    assert "2.1" in questions[-1]


@pytest.mark.parametrize(
    "name",
    [
        "../evil.csv",
        "/etc/evil",
        "a/../../evil",
        "C:\\evil",
        "C:evil",
        "..\\evil",
        "stimuli/../../evil",
        "evil\x00",
        "",
    ],
)
def test_a_list_that_leads_out_of_the_folder(service: Any, root: Path, known: str, name: str) -> None:
    service.listed[METADATA] = {"name": name}
    with pytest.raises((UnsafePathError, AccessServiceError), match=r"lead out of it|'name' for each file"):
        download_stimuli(root)
    assert files_below(root.parent) == {}
    assert service.of("/files/") == []


def test_a_link_that_leads_out_of_the_folder(service: Any, root: Path, known: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    root.mkdir()
    (root / "stimuli").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafePathError, match="is a link that leads out"):
        download_stimuli(root)
    assert files_below(tmp_path / "elsewhere") == {}


def test_what_is_listed_beside_the_images_is_left(service: Any, root: Path, known: str) -> None:
    service.files["task-images_desc-captions.csv"] = b"not asked for"
    download_stimuli(root)
    assert sorted(files_below(root)) == [f"stimuli/{METADATA}", f"stimuli/{IMAGES}"]
    del service.files[IMAGES]
    with pytest.raises(AccessServiceError, match=f"does not list {IMAGES}: found task-images_desc-captions"):
        download_stimuli(root)


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        ({"url": "http://other.example/x?X-Amz-Signature=leak"}, "a link with https://"),
        ({"url": 3}, "a link with https://"),
        ({"size": -1}, "a 'size' in bytes"),
        ({"size": "10"}, "a 'size' in bytes"),
        ({"sha256": "abc"}, "a 'sha256' of 64 digits"),
        ({"name": None}, "a 'name' for each file"),
    ],
)
def test_an_answer_that_cannot_be_used(
    service: Any, root: Path, known: str, says: dict[str, Any], expected: str
) -> None:
    service.listed[IMAGES] = says
    with pytest.raises(AccessServiceError, match=expected) as caught:
        download_stimuli(root)
    assert "leak" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "match"), [("nonsense", "not a JSON object"), ("away", "HTTP 307"), (400, "HTTP 400")]
)
def test_a_service_that_is_none(service: Any, root: Path, known: str, kind: int | str, match: str) -> None:
    service.fail("/refresh", kind)
    with pytest.raises(AccessServiceError, match=match):
        download_stimuli(root)


def test_an_address_without_a_service(service: Any, root: Path, known: str) -> None:
    with pytest.raises(AccessServiceError, match=r"refused \(HTTP 404"):
        AccessService(service.url + "/elsewhere").terms_version()
    with pytest.raises(AccessServiceError, match="expected https://"):
        download_stimuli(root, access_url="http://service.example")
    with pytest.raises(UnreachableError, match="The access service http://127"):
        download_stimuli(root, access_url="http://127.0.0.1:9")
    with pytest.raises(NotALaionDatasetError, match="is an address"):
        download_stimuli("s3://bucket/root")


def test_a_redirect_to_a_place_that_is_not_private_is_not_followed(service: Any, root: Path, known: str) -> None:
    service.fail(IMAGES, "away")
    with pytest.raises(UnreachableError) as caught:
        download_stimuli(root)
    assert "other.invalid" not in str(caught.value)


def test_no_room(service: Any, root: Path, known: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1_000_000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(NoSpaceError, match=r"need 3\.00 MB, and .* has 1\.00 MB free"):
        download_stimuli(root)
    assert service.of("/files/") == []


SCRIPT = "import sys, laion_xr; laion_xr.download_stimuli(sys.argv[1])"


def test_killed_and_run_again(service: Any, root: Path, known: str) -> None:
    service.fail(IMAGES, 0.1, np.inf)  # 3 MB in 5 s
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(root)])
    record = partial.beside(root / "stimuli" / IMAGES, partial.RECORD)
    deadline = time.monotonic() + 30
    while not record.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = files_below(root)
    assert left
    assert all(Path(p).name.startswith(".") for p in left)
    assert not any(secret.encode() in data for secret in service.secrets for data in left.values())
    service.faults.clear()
    service.asked.clear()
    download_stimuli(root)
    assert whole(service, root)
    assert service.of(IMAGES)[0].start > 1 << 20


def test_processes_fetch_a_file_once(service: Any, root: Path, known: str) -> None:
    service.fail(IMAGES, 0.01, np.inf)
    processes = [subprocess.Popen([sys.executable, "-c", SCRIPT, str(root)]) for _ in range(2)]
    assert [p.wait(60) for p in processes] == [0, 0]
    assert whole(service, root)
    assert [len(service.of(name)) for name in (IMAGES, METADATA)] == [1, 1]


def leaks(service: Any, text: str) -> list[str]:
    return [secret for secret in service.secrets if secret in text]


def told(error: BaseException) -> str:
    """Everything that a report of an error may show: messages of the whole chain, and every local variable."""
    assert error.__traceback__ is not None
    error = error.with_traceback(error.__traceback__.tb_next)  # the test knows secrets
    lines: list[str] = []
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        lines += [repr(error), str(error), repr(error.args)]
        lines += traceback.TracebackException.from_exception(error, capture_locals=True).format()
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return "\n".join(lines)


FAILURES: list[Callable[[Any, str], None]] = [
    lambda s, known: s.fail(IMAGES, "reset", np.inf),
    lambda s, known: s.fail(IMAGES, "cut", np.inf),
    lambda s, known: s.fail(IMAGES, 403, np.inf),
    lambda s, known: s.fail(IMAGES, 404, np.inf),
    lambda s, known: s.fail(IMAGES, 500, np.inf),
    lambda s, known: s.fail(IMAGES, "corrupt", np.inf),
    lambda s, known: s.fail(IMAGES, "away", np.inf),
    lambda s, known: s.fail("/refresh", "reset", np.inf),
    lambda s, known: s.fail("/refresh", 429, np.inf),
    lambda s, known: s.fail("/refresh", 400, np.inf),
    lambda s, known: s.fail("/refresh", "nonsense", np.inf),
    lambda s, known: s.revoked.add(known),
    lambda s, known: setattr(s, "terms_version", "9"),
    lambda s, known: s.listed.update({IMAGES: {"url": f"{s.url}/files/{IMAGES}/{'x' * 9}?X-Amz-Signature={known}"}}),
]


def only_in_the_file(text: str, mode: int = 0o600) -> Callable[[Any, str], None]:
    """Have the id in the file and not in the environment, within a text that holds it."""

    def fail(service: Any, known: str) -> None:
        del os.environ["LAION_FMRI_REQUEST_ID"]  # `known` puts it back
        auth_file().parent.mkdir(parents=True)
        auth_file().write_text(text % known)
        auth_file().chmod(mode)

    return fail


def nowhere_to_keep_it(service: Any, known: str) -> None:
    """An id that is given, and cannot be written down."""
    del os.environ["LAION_FMRI_REQUEST_ID"]
    Path(os.environ["HOME"]).mkdir(exist_ok=True)
    (Path(os.environ["HOME"]) / ".cache").symlink_to("nowhere")


# the id as a file keeps it that cannot be used
FAILURES += [
    only_in_the_file('{"server_url": "https://other.example", "request_id": "%s"}'),
    only_in_the_file('{"request_id": "%s"'),
    only_in_the_file('"%s"'),
    only_in_the_file('["%s"]'),
    only_in_the_file('{"request_id": ["%s"]}'),
    only_in_the_file('{"id": "%s"}'),
    nowhere_to_keep_it,
]


@pytest.mark.parametrize("failure", range(len(FAILURES)))
def test_no_failure_shows_a_secret(
    service: Any,
    root: Path,
    known: str,
    failure: int,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    FAILURES[failure](service, known)
    with caplog.at_level(logging.DEBUG), pytest.raises(LaionXRError) as caught:
        download_stimuli(root, **WHO, accept_licenses=True)
    assert leaks(service, told(caught.value)) == []
    assert leaks(service, caplog.text + "".join(repr(r.__dict__) for r in caplog.records)) == []
    assert leaks(service, "".join(capfd.readouterr())) == []
    written = {name: data for name, data in files_below(root.parent).items() if root.parent / name != auth_file()}
    assert all(leaks(service, name + data.decode("latin-1")) == [] for name, data in written.items())


def test_no_success_shows_a_secret(
    service: Any, root: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        download_stimuli(root, **WHO, accept_licenses=True)
        logging.getLogger("urllib3.connectionpool").debug("of somebody else")
    assert "of somebody else" in caplog.text  # only our requests are kept out of the log
    assert leaks(service, caplog.text) == []
    assert leaks(service, "".join(capfd.readouterr())) == []
    kept = files_below(root.parent)
    (holder,) = [name for name, data in kept.items() if leaks(service, data.decode("latin-1"))]
    assert root.parent / holder == auth_file()
    assert not any(signature.encode() in data for signature in service.every_signature for data in kept.values())
    shown = repr(laion_xr.config.settings()) + repr(vars(laion_xr.config))
    assert leaks(service, shown) == []


def test_what_holds_secrets_shows_none(service: Any, known: str) -> None:
    grant = AccessService(service.url).refresh(Secret(known))
    links = Links(AccessService(service.url), grant)
    source = gated.LinkedSource(links, grant.files[0])
    who = Applicant(*WHO.values())
    shown = [repr(x) + str(x) + f"{x}" for x in (grant, links, source, *grant.files, links.current(IMAGES))]
    assert leaks(service, "".join(shown)) == []
    assert not any(text in repr(who) for text in WHO.values())
    for holder in (grant, source, links):
        with pytest.raises(TypeError):
            pickle.dumps(holder)
