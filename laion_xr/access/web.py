"""Requests whose addresses are secrets: signed links, and what is said to the service that makes them.

An error of the HTTP library holds the address that was asked, and its log every address: none is passed on, chained or
logged.
"""

from __future__ import annotations

import ipaddress
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

from laion_xr.access.credentials import Secret
from laion_xr.errors import UnreachableError

# To connect, and without a byte after that
TIMEOUTS = (10.0, 60.0)
BLOCK = 1 << 18


def is_private(url: str) -> bool:
    """Whether an address may be asked with a secret: over TLS, or on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(host)
    return parts.scheme == "http" and _is_here(host)


def _is_here(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Connections:
    """Connections that are used again: a long file comes in hundreds of ranges. Close it in the end."""

    def __init__(self) -> None:
        self._idle: list[_Session] = []
        self._lock = threading.Lock()
        self._closed = False

    def take(self) -> _Session:
        """Return a session that nobody else uses."""
        with self._lock:
            return self._idle.pop() if self._idle else _Session()

    def give(self, session: _Session) -> None:
        """Take a session back whose answers have all been read."""
        with self._lock:
            if not self._closed:
                self._idle.append(session)
                return
        session.close()

    def close(self) -> None:
        """Close what nobody uses, and what is given back from now on."""
        with self._lock:
            self._closed, idle, self._idle = True, self._idle, []
        for session in idle:
            session.close()


class Answer:
    """An answer whose body has not been read; a context manager, which closes the connection, or gives it back.

    What goes wrong while the body is read is a `ConnectionError` or a `TimeoutError` that names no address, and may be
    tried again.
    """

    def __init__(self, session: _Session, response: requests.Response, connections: Connections | None) -> None:
        self._session, self._response, self._connections = session, response, connections
        self._read = False
        self.status, self.reason = response.status_code, response.reason or ""
        self.headers = {name.lower(): value for name, value in response.headers.items()}

    def __enter__(self) -> Answer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._response.close()
        if self._connections is not None and self._read:
            self._connections.give(self._session)
        else:
            self._session.close()

    def blocks(self) -> Iterator[bytes]:
        """Yield the body."""
        problem: Exception | None = None
        try:
            yield from self._response.iter_content(BLOCK)
            self._read = True
        except requests.RequestException as error:
            problem = _broken(error)
        if problem is not None:
            raise problem

    def read(self) -> bytes:
        """Return the body."""
        return b"".join(self.blocks())


class AnswerError(OSError):
    """An answer of a server that is a refusal; `laion_xr.remote` judges it by its status."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"HTTP {answer.status} {answer.reason}".strip())
        self.status, self.headers = answer.status, answer.headers


def sent(
    method: str,
    url: str | Secret,
    body: Callable[[], dict[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
    follow: bool = True,
    connections: Connections | None = None,
) -> Answer:
    """Send a request, and return the answer.

    Raises
    ------
    ConnectionError, TimeoutError
        There was none, and may be one the next time.
    UnreachableError
        There was none, and there will be none: a certificate that is not trusted, say.
    """
    problem: Exception | None = None
    session = _Session() if connections is None else connections.take()
    session.follow = follow
    try:
        with _unlogged():
            response = session.request(
                method,
                url.reveal() if isinstance(url, Secret) else url,
                json=None if body is None else body(),
                headers={"Accept-Encoding": "identity", **(headers or {})},
                timeout=TIMEOUTS,
                stream=True,
                allow_redirects=follow,
            )
    except requests.RequestException as error:
        problem = _broken(error)
    # out of the handler, so that the library's error, which holds the address, is not even its context
    if problem is not None:
        session.close()
        raise problem
    return Answer(session, response, connections)


class _Session(requests.Session):
    """Proxies and certificates of the environment, but no passwords of `.netrc`: a link is signed already."""

    def __init__(self) -> None:
        super().__init__()
        self.auth = _unchanged
        self.follow = True

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send a request, and what follows on it; what is for this machine through no proxy, which is another one."""
        if _is_here(urlsplit(request.url or "").hostname or ""):
            kwargs["proxies"] = {}
        return super().send(request, **kwargs)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return where an answer leads to, if it may be followed there."""
        target: str | None = super().get_redirect_target(resp) if self.follow else None
        if target is not None and not is_private(urljoin(resp.url, target)):
            raise requests.exceptions.InvalidURL("the server leads to an address that is not https")
        return target


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _broken(error: requests.RequestException) -> Exception:
    if isinstance(error, requests.exceptions.SSLError):
        return UnreachableError(
            "The server's certificate is not trusted: check the clock of this machine, its certificates, and whether a "
            "proxy stands between (REQUESTS_CA_BUNDLE names the certificates of one)."
        )
    if isinstance(error, requests.Timeout):
        return TimeoutError("no answer in time")
    if isinstance(error, (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        return ConnectionError("the connection was not made, or broke")
    return UnreachableError(
        f"The request cannot be made ({type(error).__name__}): check access_url (`laion-xr config`) and the proxies of "
        "the environment (HTTPS_PROXY)."
    )


class _Unlogged(logging.Filter):
    """Drops what urllib3 logs of a request of ours: it logs addresses, and those of links are secrets."""

    def __init__(self) -> None:
        super().__init__()
        self.state = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(self.state, "active", False)


_FILTER = _Unlogged()
for _name in ("connection", "connectionpool", "poolmanager", "response", "util.retry"):
    logging.getLogger(f"urllib3.{_name}").addFilter(_FILTER)


@contextmanager
def _unlogged() -> Iterator[None]:
    _FILTER.state.active = True
    try:
        yield
    finally:
        _FILTER.state.active = False
