"""An S3 server on this machine (moto) that records what it is asked, and that fails where a test wants it to."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

moto = pytest.importorskip("moto.server", reason="needs moto[server]")

import s3fs  # noqa: E402
from werkzeug.serving import WSGIRequestHandler, make_server  # noqa: E402

REFUSALS = {
    403: ("403 Forbidden", "AccessDenied"),
    404: ("404 Not Found", "NoSuchKey"),
    429: ("429 Too Many Requests", "SlowDown"),
    500: ("500 Internal Server Error", "InternalError"),
    502: ("502 Bad Gateway", ""),
    503: ("503 Slow Down", "SlowDown"),
}


class Request(NamedTuple):
    """What the server was asked."""

    method: str
    path: str  # "/bucket/key"
    query: str
    range: str  # "bytes=0-99", or ""
    signed: bool

    @property
    def is_listing(self) -> bool:
        """Whether it lists a prefix."""
        return "list-type" in self.query

    @property
    def about(self) -> str:
        """Path and query, to look for a name in."""
        return f"{self.path}?{self.query}"


@dataclass
class Fault:
    """Requests that fail, and how: a status, `"reset"`, `"cut"` (half of the body), `"short"` (and its length says
    so), or seconds of delay."""

    matches: Callable[[Request], bool]
    kind: int | str | float
    left: float
    headers: dict[str, str] = field(default_factory=dict)
    hits: int = 0


@dataclass
class S3Server:
    """The server: its address, what it was asked, what is to fail."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._app = moto.DomainDispatcherApplication(moto.create_backend_app)

    @property
    def options(self) -> dict[str, Any]:
        """Storage options that lead here."""
        return {"endpoint_url": self.url}

    @property
    def fs(self) -> s3fs.S3FileSystem:
        """A file system with credentials, beside what is tested."""
        return s3fs.S3FileSystem(key="test", secret="test", endpoint_url=self.url)

    @property
    def objects(self) -> list[Request]:
        """Requests for objects."""
        return [r for r in self.requests if r.method == "GET" and not r.is_listing]

    @property
    def listings(self) -> list[Request]:
        """Requests for listings."""
        return [r for r in self.requests if r.is_listing]

    def put(self, folder: Path, bucket: str) -> None:
        """Copy a folder into a bucket that anyone may read."""
        self.fs.put(f"{folder}/", f"{bucket}/", recursive=True, ACL="public-read")

    def fail(self, part: str, kind: int | str | float, times: float = 1, method: str = "GET", **headers: str) -> Fault:
        """Let requests whose path or query holds `part` fail, the first `times` of them."""
        said = {name.replace("_", "-"): value for name, value in headers.items()}
        fault = Fault(lambda r: r.method == method and part in r.about, kind, times, said)
        self.faults.append(fault)
        return fault

    def reset(self) -> None:
        """Forget requests and faults."""
        self.requests.clear()
        self.faults.clear()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request, as WSGI has it."""
        request = Request(
            environ["REQUEST_METHOD"],
            environ["PATH_INFO"],
            environ.get("QUERY_STRING", ""),
            environ.get("HTTP_RANGE", ""),
            "HTTP_AUTHORIZATION" in environ,
        )
        with self._lock:
            self.requests.append(request)
            fault = next((f for f in self.faults if f.left > 0 and f.matches(request)), None)
            if fault is not None:
                fault.left -= 1
                fault.hits += 1
        kind = None if fault is None else fault.kind
        if kind in REFUSALS:
            status, code = REFUSALS[kind]  # type: ignore[index]
            body = f"<Error><Code>{code}</Code><Message>{status[4:]}</Message></Error>".encode() if code else b"oops"
            said = {"Content-Type": "application/xml", "Content-Length": str(len(body))}
            said |= fault.headers if fault is not None else {}
            start_response(status, list(said.items()))
            return [body]
        if isinstance(kind, float):
            time.sleep(kind)
        if kind == "reset":
            return self._hang_up(environ)
        if kind in ("cut", "short"):
            return self._partly(kind, environ, start_response)
        return self._app(environ, start_response)

    def _partly(self, kind: str, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        said: list[Any] = []
        body = b"".join(self._app(environ, lambda *args: said.extend(args)))
        headers = dict(said[1])
        half = body[: len(body) // 2]
        if kind == "short":
            headers["Content-Length"] = str(len(half))
        start_response(said[0], list(headers.items()))
        yield half
        if kind == "cut":
            yield from self._hang_up(environ)

    def _hang_up(self, environ: dict[str, Any]) -> Iterator[bytes]:
        connection: socket.socket = environ["werkzeug.socket"]
        # without the handshake that ends a connection: the other side sees a reset
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # at once, whoever else holds the socket here: what they still write breaks
        one, other = socket.socketpair()
        other.close()
        os.dup2(one.fileno(), connection.fileno())
        one.close()
        raise ConnectionResetError
        yield b""


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept, as S3 keeps them

    def log(self, *args: Any, **kwargs: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def s3_process() -> Iterator[S3Server]:
    """The server of the whole run: use `s3`."""
    server = S3Server()
    web = make_server("127.0.0.1", 0, server, threaded=True, request_handler=_Handler)
    web.daemon_threads = True
    server.url = f"http://127.0.0.1:{web.server_port}"
    thread = threading.Thread(target=web.serve_forever, daemon=True)
    thread.start()
    yield server
    web.shutdown()
    web.server_close()
    thread.join()


@pytest.fixture
def s3(s3_process: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The server, with nothing recorded and nothing failing; whoever has no credentials finds these."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-environment")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")  # it would be asked for credentials, for seconds
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    s3_process.reset()
    yield s3_process
    s3_process.reset()


def _fake_service() -> Any:
    """The module beside this file: tests are no package that it could be imported from."""
    if "fake_service" not in sys.modules:
        spec = importlib.util.spec_from_file_location("fake_service", Path(__file__).with_name("fake_service.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules["fake_service"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["fake_service"])
    return sys.modules["fake_service"]


@pytest.fixture
def access_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """An access service of this test's own (`fake_service.FakeService`), which the configuration leads to.

    The request id is looked for in a home folder of the test.
    """
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with _fake_service().serving() as service:
        monkeypatch.setenv("LAION_XR_ACCESS_URL", service.url)
        yield service


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let processes that a test starts hear Ctrl-C: those of a shell's background job are deaf to it by inheritance."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
