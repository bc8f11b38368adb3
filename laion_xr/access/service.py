"""The client of the service that gives access to the images: requests, signed links, and what its refusals mean.

Request ids and links are secrets: they are held as such, and are in no message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from laion_xr.access.credentials import REQUEST_ID_VARIABLE, Secret, request_id_path
from laion_xr.access.web import AnswerError, is_private, sent
from laion_xr.errors import (
    AccessNotFoundError,
    AccessRevokedError,
    AccessServiceError,
    LaionXRError,
    TermsOutdatedError,
    TooManyRequestsError,
    UnreachableError,
)
from laion_xr.remote import TRANSIENT_STATUS, persistently, retry_after

T = TypeVar("T")

DATASET_VERSION = "v1"
LONGEST_DETAIL = 300
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_QUERY = re.compile(r"\?[^\s\"'<>]+")


@dataclass(frozen=True)
class Applicant:
    """Who asks for the images, and what for. Nothing of it is shown."""

    name: str = field(repr=False)
    email: str = field(repr=False)
    institution: str = field(repr=False)
    research_purpose: str = field(repr=False)
    pi_or_supervisor: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class SignedFile:
    """A file that the service gives: its name, its link, its size in bytes and its SHA-256."""

    name: str
    url: Secret
    size: int
    sha256: str


@dataclass(frozen=True)
class Grant:
    """Links to the files, and until when they are valid, as the service says it."""

    request_id: Secret
    files: tuple[SignedFile, ...]
    expires_at: str


class AccessService:
    """The service at an address.

    Parameters
    ----------
    url
        Its address, without a slash at the end: https, or http on this machine.

    Raises
    ------
    AccessServiceError
        The address would send secrets in the clear.
    """

    def __init__(self, url: str) -> None:
        if not is_private(url):
            raise AccessServiceError(
                f"{_QUERY.sub('', url)} is not an address for secrets: expected https:// for the access service."
            )
        self.url = url.rstrip("/")

    def terms_version(self) -> str:
        """Return the version of the agreement that is in force.

        Raises
        ------
        AccessServiceError, UnreachableError
            As every request: the service refuses, or does not answer.
        """
        return _told(lambda: _text(self._ask("GET", "/api/v1/manifest"), "current_terms_version"))

    def request(self, applicant: Applicant, terms_version: str) -> Grant:
        """Ask for access: details of the applicant, who has accepted this version of the agreement."""

        def body() -> dict[str, Any]:
            return {
                "name": applicant.name,
                "email": applicant.email,
                "institution": applicant.institution,
                "pi_or_supervisor": applicant.pi_or_supervisor,
                "research_purpose": applicant.research_purpose,
                "accepted_terms": True,
                "terms_version": terms_version,
                "source": "cli",
            }

        return _told(lambda: _grant(self._ask("POST", "/api/v1/access/request", body)))

    def refresh(self, request_id: Secret) -> Grant:
        """Ask for new links."""

        def body() -> dict[str, Any]:
            return {"request_id": request_id.reveal(), "dataset_version": DATASET_VERSION}

        return _told(lambda: _grant(self._ask("POST", "/api/v1/refresh", body, request_id), request_id))

    def _ask(
        self,
        method: str,
        path: str,
        body: Callable[[], dict[str, Any]] | None = None,
        secret: Secret | None = None,
    ) -> dict[str, Any]:
        """Return what the service answers. Asked twice, after a broken connection, it grants the same twice."""
        last: AnswerError | None = None

        def attempt() -> tuple[int, str, bytes]:
            nonlocal last
            last = None
            with sent(method, self.url + path, body, follow=False) as answer:
                if answer.status in TRANSIENT_STATUS:
                    last = AnswerError(answer)
                    raise last
                return answer.status, answer.reason, answer.read()

        problem: LaionXRError | None = None
        try:
            status, reason, content = persistently(attempt, lambda: f"The access service {self.url}")
        except UnreachableError as error:
            problem = _too_many(self.url, last) if last is not None and last.status == 429 else error
        if problem is not None:
            raise problem
        answer = _json(content)
        if status >= 300:
            raise _refusal(self.url, status, reason, answer, secret)
        if not isinstance(answer, dict):
            raise AccessServiceError(
                f"The access service {self.url} answered something that is not a JSON object: check access_url "
                "(`laion-xr config`), or try again later."
            )
        return answer


def _told(ask: Callable[[], T]) -> T:
    """Return what a request gives; an error of one begins here, without the frames that held the answer.

    Reports of errors may show every local variable, and an answer has secrets in it.
    """
    try:
        return ask()
    except LaionXRError as error:
        problem = error.with_traceback(None)
    raise problem


def _json(content: bytes) -> object:
    try:
        return json.loads(content)
    except ValueError:
        return None


def _text(answer: Mapping[str, Any], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str) or not value.strip():
        raise _unusable(f"{name!r}")
    return value.strip()


def _grant(answer: Mapping[str, Any], known: Secret | None = None) -> Grant:
    request_id = Secret(_text(answer, "request_id")) if known is None else known
    rows = answer.get("files")
    if not isinstance(rows, list):
        raise _unusable("a list 'files'")
    return Grant(
        request_id, tuple(_signed(row, request_id) for row in rows), str(answer.get("expires_at") or "unknown")
    )


def _signed(row: object, request_id: Secret) -> SignedFile:
    found = row if isinstance(row, dict) else {}
    name, url, size, sha256 = (found.get(key) for key in ("name", "url", "size", "sha256"))
    # a name is shown: a link or an id is none
    if not isinstance(name, str) or not name or "?" in name or request_id.reveal() in name:
        raise _unusable("a 'name' for each file")
    if not isinstance(url, str) or not is_private(url):
        raise _unusable(f"a link with https:// for {name!r}")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise _unusable(f"a 'size' in bytes for {name!r}")
    if not isinstance(sha256, str) or _SHA256.fullmatch(sha256) is None:
        raise _unusable(f"a 'sha256' of 64 digits for {name!r}")
    return SignedFile(name, Secret(url), size, sha256.lower())


def _unusable(expected: str) -> AccessServiceError:
    return AccessServiceError(
        f"The answer of the access service cannot be used: expected {expected}, found none. Update laion-xr, or try "
        "again later."
    )


def _too_many(url: str, answer: AnswerError) -> TooManyRequestsError:
    asked = retry_after(answer)
    when = "later" if asked is None else f"in {asked:.0f} s, as it asks"
    return TooManyRequestsError(f"The access service {url} was asked too often (HTTP 429): try again {when}.")


def _refusal(url: str, status: int, reason: str, answer: object, secret: Secret | None) -> AccessServiceError:
    """Return the error for a refusal of the service, in words, with nothing secret in it."""
    detail = answer.get("detail", answer) if isinstance(answer, dict) else None
    said = _said(detail, secret)
    code = str(detail.get("error", "")) if isinstance(detail, dict) else ""
    if status == 403 and code == "terms_outdated":
        assert isinstance(detail, dict)
        version = _safe(str(detail.get("current_terms_version", "?")), secret)
        # where the service would have it accepted may be an address with the id in it, which cannot be shown
        return TermsOutdatedError(
            f"The agreement on the images has changed, and version {version} has to be accepted: read {url}/terms, "
            "then ask for access anew, with name, email, institution, research_purpose and accept_licenses=True; unset "
            f"{REQUEST_ID_VARIABLE} if it is set, for its id is that of the older agreement."
        )
    if status == 403 and "revoked" in f"{code} {said}".lower():
        return AccessRevokedError(
            f"Access to the images was revoked{said and f' ({said})'}: write to the contact named at {url}/terms."
        )
    if status == 404 and secret is not None:
        return AccessNotFoundError(
            f"The access service {url} does not know this request id (HTTP 404): it is mistyped, has expired, or is of "
            f"another service. Ask for access anew: unset {REQUEST_ID_VARIABLE} if it is set, remove "
            f"{request_id_path()}, and give the applicant's details."
        )
    if status == 422 and isinstance(detail, Sequence) and not isinstance(detail, str):
        return AccessServiceError(f"The access service did not take the request: {_fields(detail, secret)}.")
    return AccessServiceError(
        f"The access service {url} refused (HTTP {status} {reason}){said and f': {said}'}. Check access_url "
        "(`laion-xr config`), or try again later."
    )


def _fields(problems: Sequence[object], secret: Secret | None) -> str:
    found = []
    for problem in problems:
        # "input" is what was sent, and is not repeated
        row = problem if isinstance(problem, dict) else {}
        place = row.get("loc")
        named = [str(part) for part in place if part != "body"] if isinstance(place, list) else []
        found.append(f"{'.'.join(named) or 'the request'}: {row.get('msg', 'not valid')}")
    return _safe("; ".join(found), secret)


def _said(detail: object, secret: Secret | None) -> str:
    if isinstance(detail, dict):
        detail = detail.get("message") or detail.get("error")
    return _safe(detail, secret).rstrip(".") if isinstance(detail, str) else ""


def _safe(text: str, secret: Secret | None) -> str:
    if secret is not None:
        text = text.replace(secret.reveal(), "<hidden>")
    text = " ".join(_QUERY.sub("?<hidden>", text).split())
    return text if len(text) <= LONGEST_DETAIL else f"{text[:LONGEST_DETAIL]} ..."
