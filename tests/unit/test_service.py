"""What the access service answers, and what its refusals become, without a network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laion_xr.access import service as service_module
from laion_xr.access.credentials import Secret
from laion_xr.access.service import AccessService, Applicant
from laion_xr.errors import (
    AccessNotFoundError,
    AccessRevokedError,
    AccessServiceError,
    LaionXRError,
    TermsOutdatedError,
)

URL = "https://service.example"
ID = Secret("lfm_0123456789abcdef")
FILE = {"name": "a.h5", "url": f"{URL}/a.h5?X-Amz-Signature=5ec4e7", "size": 3, "sha256": "AB" * 32}
WHO = Applicant("Ada", "ada@university.example", "Engines", "To relate images to responses.")


class Answered:
    """An answer, as `laion_xr.access.web` gives it."""

    def __init__(self, status: int, body: object) -> None:
        self.status, self.reason, self.headers = status, "Reason", {}
        self._content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def __enter__(self) -> Answered:
        return self

    def __exit__(self, *args: object) -> None:
        pass

    def read(self) -> bytes:
        return self._content


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Answered]]:
    """What the service answers, in order."""
    found: list[Answered] = []
    monkeypatch.setattr(service_module, "sent", lambda *args, **options: found.pop(0))
    yield found
    assert found == []


def test_links(answers: list[Answered]) -> None:
    answers.append(Answered(200, {"files": [FILE], "expires_at": "2026-01-01T00:00:00Z"}))
    grant = AccessService(f"{URL}/").refresh(ID)
    (file,) = grant.files
    assert (file.name, file.size, file.sha256, file.url.reveal()) == ("a.h5", 3, "ab" * 32, FILE["url"])
    assert (grant.request_id, grant.expires_at) == (ID, "2026-01-01T00:00:00Z")


def test_access(answers: list[Answered]) -> None:
    answers.append(Answered(200, {"current_terms_version": " 2.1 "}))
    answers.append(Answered(201, {"request_id": ID.reveal(), "files": []}))
    service = AccessService(URL)
    assert service.terms_version() == "2.1"
    grant = service.request(WHO, "2.1")
    assert (grant.request_id, grant.files, grant.expires_at) == (ID, (), "unknown")


REFUSALS: list[tuple[int, Any, type[AccessServiceError], str]] = [
    (
        403,
        {"detail": {"error": "terms_outdated", "current_terms_version": "3", "accept_url": f"{URL}/accept?t={ID}"}},
        TermsOutdatedError,
        r"version 3 has to be accepted: read https://service\.example/terms, then ask for access anew",
    ),
    (403, {"detail": {"error": "terms_outdated"}}, TermsOutdatedError, r"version \? .*: read https://service\.exa"),
    (403, {"detail": "Access revoked"}, AccessRevokedError, r"was revoked \(Access revoked\): write to the contact"),
    (403, {"detail": {"error": "revoked"}}, AccessRevokedError, "was revoked"),
    (403, {"detail": "no"}, AccessServiceError, r"refused \(HTTP 403 Reason\): no\."),
    (404, {"detail": "unknown id"}, AccessNotFoundError, "does not know this request id"),
    (
        422,
        {
            "detail": [
                {"loc": ["body", "email"], "msg": "not an address"},
                {"loc": ["body", "name"], "msg": "too short"},
            ]
        },
        AccessServiceError,
        r"did not take the request: email: not an address; name: too short\.",
    ),
    (422, {"detail": [{}, 3]}, AccessServiceError, "the request: not valid; the request: not valid"),
    (422, {"detail": "wrong"}, AccessServiceError, r"HTTP 422 Reason\): wrong"),
    (401, b"<html>", AccessServiceError, r"refused \(HTTP 401 Reason\)\. Check access_url"),
    (307, b"", AccessServiceError, "HTTP 307"),
    (200, b"<html>", AccessServiceError, "not a JSON object"),
    (200, [1], AccessServiceError, "not a JSON object"),
    (200, {}, AccessServiceError, "expected a list 'files', found none"),
    (200, {"files": [3]}, AccessServiceError, "expected a 'name' for each file"),
    (
        200,
        {"files": [FILE | {"url": "http://service.example/x"}]},
        AccessServiceError,
        "a link with https:// for 'a.h5'",
    ),
    (200, {"files": [FILE | {"size": True}]}, AccessServiceError, "a 'size' in bytes for 'a.h5'"),
    (200, {"files": [FILE | {"sha256": "zz" * 32}]}, AccessServiceError, "a 'sha256' of 64 digits"),
]


@pytest.mark.parametrize(("status", "body", "kind", "match"), REFUSALS)
def test_refusals(answers: list[Answered], status: int, body: Any, kind: type[AccessServiceError], match: str) -> None:
    answers.append(Answered(status, body))
    with pytest.raises(kind, match=match) as caught:
        AccessService(URL).refresh(ID)
    assert type(caught.value) is kind
    assert ID.reveal() not in str(caught.value)
    assert "5ec4e7" not in str(caught.value)


def test_without_an_id_a_404_is_not_about_one(answers: list[Answered]) -> None:
    answers.append(Answered(404, {"detail": "Not Found"}))
    with pytest.raises(AccessServiceError, match="refused") as caught:
        AccessService(URL).terms_version()
    assert type(caught.value) is AccessServiceError


@pytest.mark.parametrize("missing", [{}, {"request_id": ""}, {"request_id": 3, "files": []}])
def test_access_without_an_id(answers: list[Answered], missing: dict[str, Any]) -> None:
    answers.append(Answered(200, missing))
    with pytest.raises(AccessServiceError, match="expected 'request_id', found none"):
        AccessService(URL).request(WHO, "1")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from([ID.reveal(), FILE["url"]]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["detail", "files", "error", "loc", "msg", "message", "name", "url", "size", "sha256"]),
            inner,
        )
    ),
    max_leaves=8,
)


@given(st.integers(200, 407), JSON)
def test_whatever_it_answers_an_error_is_ours_and_shows_nothing(status: int, body: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            service_module, "sent", lambda *args, **options: Answered(status, {"detail": body, "files": body})
        )
        try:
            shown = [file.name for file in AccessService(URL).refresh(ID).files]
        except LaionXRError as error:
            shown = [str(error)]
    assert not any(ID.reveal() in text or "Signature=5ec4e7" in text for text in shown)


def test_long_texts_are_cut(answers: list[Answered]) -> None:
    answers.append(Answered(400, {"detail": "x" * 100_000}))
    with pytest.raises(AccessServiceError) as caught:
        AccessService(URL).refresh(ID)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("url", ["http://service.example", "ftp://service.example", "service.example", "", "https://"])
def test_addresses_that_are_not_for_secrets(url: str) -> None:
    with pytest.raises(AccessServiceError, match="expected https://"):
        AccessService(url)
