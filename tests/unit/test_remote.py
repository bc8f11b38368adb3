"""`Retry-After`: how long a server asks to wait, and that it is not asked before. The rest: test_location_remote.py."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests

from laion_xr import remote
from laion_xr.errors import UnreachableError
from laion_xr.remote import is_transient, persistently, retry_after, status_of


class AnsweredError(OSError):
    """As aiohttp keeps an answer."""

    def __init__(self, status: int, **headers: str) -> None:
        super().__init__(f"HTTP {status}")
        self.status, self.headers = status, {k.replace("_", "-"): v for k, v in headers.items()}


class BotoError(Exception):
    """As botocore keeps one."""

    def __init__(self, status: int, asked: str) -> None:
        super().__init__("ClientError")
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {"retry-after": asked}}}


def of_requests(status: int, asked: str) -> Exception:
    response = requests.Response()
    response.status_code = status
    response.headers["Retry-After"] = asked
    return requests.HTTPError("x", response=response)


@pytest.mark.parametrize("make", [lambda s, a: AnsweredError(s, Retry_After=a), BotoError, of_requests])
def test_found_wherever_libraries_keep_it(make) -> None:
    error = make(429, "7")
    assert retry_after(error) == 7
    assert status_of(error) == 429
    assert is_transient(error)
    outer = RuntimeError("x")
    outer.__cause__ = error
    assert retry_after(outer) == 7


@pytest.mark.parametrize("text", ["", "soon", "-3", "1.5e", "nan", "Thu, 99 Foo 2026"])
def test_what_means_nothing_is_not_heeded(text: str) -> None:
    assert retry_after(AnsweredError(503, Retry_After=text)) is None


def test_dates() -> None:
    for when, least, most in ((timedelta(seconds=90), 85, 90), (-timedelta(hours=1), 0, 0)):
        text = format_datetime(datetime.now(UTC) + when, usegmt=True)
        found = retry_after(AnsweredError(503, Retry_After=text))
        assert found is not None
        assert least <= found <= most
    bare = (datetime.now(UTC) + timedelta(seconds=90)).strftime("%a, %d %b %Y %H:%M:%S -0000")
    assert 85 <= (retry_after(AnsweredError(503, retry_after=bare)) or 0) <= 90
    assert retry_after(OSError()) is None
    assert retry_after(None) is None


def test_a_server_is_not_asked_before(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    errors = [AnsweredError(429, Retry_After="5"), AnsweredError(503), AnsweredError(503, Retry_After="0")]

    def request() -> str:
        if errors:
            raise errors.pop(0)
        return "answer"

    assert persistently(request, lambda: "x") == "answer"
    for pause, least in zip(pauses, (5, 0.5, 1), strict=True):
        assert least <= pause <= least + remote.FIRST_PAUSE


def test_longer_than_the_patience_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("nobody waits that long"))
    calls = []

    def request() -> None:
        calls.append(1)
        raise AnsweredError(429, Retry_After="3600")

    with pytest.raises(UnreachableError, match=r"found after one attempt: .*try again in 3600 s, as the server asks\."):
        persistently(request, lambda: "x")
    assert len(calls) == 1
