"""Requests with secret addresses: which are allowed, what their errors become, and what the log has of them."""

from __future__ import annotations

import http.server
import io
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from laion_xr.access import web
from laion_xr.access.credentials import Secret
from laion_xr.access.web import is_private, sent
from laion_xr.errors import UnreachableError
from laion_xr.remote import is_transient

LINK = "https://bucket.example/a.h5?X-Amz-Signature=5ec4e7"


@pytest.mark.parametrize("url", [LINK, "https://a", "http://127.0.0.1:8000/x", "http://localhost", "http://[::1]:1/"])
def test_private(url: str) -> None:
    assert is_private(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://bucket.example/a",
        "http://10.0.0.1",
        "http://127.0.0.1.example",
        "http://localhost.example",
        "https://",
        "https:/a",
        "ftp://localhost",
        "file:///etc/passwd",
        "/a",
        "",
        "http://[::1",
    ],
)
def test_not_private(url: str) -> None:
    assert not is_private(url)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (requests.ConnectionError(f"Max retries exceeded with url: {LINK}"), True),
        (requests.ReadTimeout(LINK), True),
        (requests.ConnectTimeout(LINK), True),
        (requests.exceptions.ChunkedEncodingError(LINK), True),
        (requests.exceptions.SSLError(LINK), False),
        (requests.exceptions.InvalidURL(LINK), False),
        (requests.TooManyRedirects(LINK), False),
    ],
)
def test_errors_name_no_address(monkeypatch: pytest.MonkeyPatch, error: Exception, passes: bool) -> None:
    def failing(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(requests.Session, "request", failing)
    with pytest.raises(OSError, match=r"\w") as caught:
        sent("GET", Secret(LINK))
    assert is_transient(caught.value) is passes
    assert isinstance(caught.value, UnreachableError) is not passes
    assert "5ec4e7" not in str(caught.value)
    assert caught.value.__context__ is None  # it would be shown by reports of errors, and holds the address
    assert caught.value.__cause__ is None


def test_the_log_of_others_is_theirs(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("urllib3.connectionpool")
    with caplog.at_level(logging.DEBUG):
        with web._unlogged():
            log.debug("ours %s", LINK)
        log.debug("theirs")
    assert caplog.messages == ["theirs"]


def test_no_passwords_of_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine bucket.example login user password word\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr(requests.utils, "get_netrc_auth", lambda *args, **options: ("user", "word"))
    found: list[requests.PreparedRequest] = []

    def caught(self: requests.Session, request: requests.PreparedRequest, **options: object) -> requests.Response:
        found.append(request)
        response = requests.Response()
        response.status_code, response.raw = 200, io.BytesIO()
        return response

    monkeypatch.setattr(requests.Session, "send", caught)
    with sent("GET", Secret(LINK), headers={"Range": "bytes=5-"}) as answer:
        assert answer.status == 200
    assert "Authorization" not in found[0].headers  # a signed link with one is refused by S3
    assert found[0].headers["Range"] == "bytes=5-"
    assert found[0].headers["Accept-Encoding"] == "identity"  # ranges are of the bytes as they are kept


class Proxy(http.server.BaseHTTPRequestHandler):
    """Keeps what it is asked; as a server it leads on to the address in `leads_to`."""

    asked: list[str]
    leads_to = ""

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(302 if self.leads_to and self.path == "/away" else 200)
        if self.leads_to:
            self.send_header("Location", self.leads_to)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def servers() -> Iterator[list[tuple[str, type[Proxy]]]]:
    """Two servers on this machine: address, and what keeps its requests."""
    found, running = [], []
    for _ in range(2):
        kind = type("One", (Proxy,), {"asked": []})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        found.append((f"http://127.0.0.1:{server.server_port}", kind))
    yield found
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_what_is_for_this_machine_goes_through_no_proxy(
    servers: list[tuple[str, type[Proxy]]], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    (service, at_service), (proxy, at_proxy) = servers
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, proxy)
    at_service.leads_to = f"{service}/there?secret"
    with sent("GET", Secret(f"{service}/away")) as answer:
        assert answer.status == 200
    assert (at_service.asked, at_proxy.asked) == (["/away", "/there?secret"], [])
    # anything else does
    requests.get("http://service.example/x", timeout=5)
    assert at_proxy.asked == ["http://service.example/x"]
