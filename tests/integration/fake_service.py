"""An access service on this machine, as FORMAT.md describes the real one, that misbehaves where a test wants it to.

It signs links that expire, answers ranges, and records what it was asked. Use the fixture `access_service`.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

REQUIRED = ("name", "email", "institution", "research_purpose")


class Asked(NamedTuple):
    """What the service was asked."""

    method: str
    path: str
    start: int  # of the range; 0 without one
    status: int
    body: dict[str, Any]


@dataclass
class Fault:
    """Requests that fail, and how.

    A status; `"reset"`; `"cut"` (half of the body, then a reset); `"short"` (half, and a length that says so);
    `"corrupt"` (one byte wrong); `"whole"` (the range is not heeded); `"before"`, `"after"` (a range that begins
    elsewhere); `"nonsense"` (not JSON); `"away"` (a redirect to another host); or seconds between pieces of 64 kB.
    """

    part: str
    kind: int | str | float
    left: float
    headers: Mapping[str, str] = field(default_factory=dict)
    hits: int = 0


@dataclass
class FakeService:
    """The service: its address, its files, who has access, what it was asked, what is to fail."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    terms_version: str = "2.1"
    ids: dict[str, str] = field(default_factory=dict)  # id -> version that was accepted
    revoked: set[str] = field(default_factory=set)
    listed: dict[str, dict[str, Any]] = field(default_factory=dict)  # name -> what the list says otherwise
    asked: list[Asked] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    signatures: set[str] = field(default_factory=set)
    every_signature: set[str] = field(default_factory=set)
    connections: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def secrets(self) -> set[str]:
        """Everything that nobody may see: ids and signatures."""
        return {*self.ids, *self.every_signature}

    def grant(self) -> str:
        """Return an id that has access."""
        found = f"lfm_{secrets.token_hex(16)}"
        self.ids[found] = self.terms_version
        return found

    def expire_links(self) -> None:
        """Let every link that was given be refused."""
        self.signatures.clear()

    def fail(self, part: str, kind: int | str | float, times: float = 1, **headers: str) -> Fault:
        """Let requests whose path holds `part` fail, the first `times` of them."""
        fault = Fault(part, kind, times, {name.replace("_", "-"): value for name, value in headers.items()})
        self.faults.append(fault)
        return fault

    def of(self, part: str) -> list[Asked]:
        """Return what was asked of paths that hold `part`."""
        return [a for a in self.asked if part in a.path]

    def fault_for(self, path: str) -> Fault | None:
        """Return the fault of a request, and count it."""
        with self.lock:
            fault = next((f for f in self.faults if f.left > 0 and f.part in path), None)
            if fault is not None:
                fault.left -= 1
                fault.hits += 1
            return fault

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, object]:
        """Return status and JSON for a request of the interface."""
        if path == "/api/v1/manifest":
            return 200, {"current_terms_version": self.terms_version, "files": [{"name": name} for name in self.files]}
        if path == "/api/v1/access/request":
            missing = [key for key in REQUIRED if not body.get(key)]
            if missing or "@" not in body["email"]:
                wrong = missing or ["email"]
                problems = [{"loc": ["body", k], "msg": "Field required", "input": body} for k in wrong]
                return 422, {"detail": problems}
            if body.get("accepted_terms") is not True:
                return 400, {"detail": "terms not accepted"}
            if body.get("terms_version") != self.terms_version:
                return 403, {"detail": self._outdated("new")}
            return 200, {"request_id": self.grant(), **self._links()}
        if path == "/api/v1/refresh":
            known = body.get("request_id", "")
            if known in self.revoked:
                return 403, {"detail": f"access of {known} was revoked by the data controller"}
            if known not in self.ids:
                return 404, {"detail": f"unknown request_id {known}"}
            if self.ids[known] != self.terms_version:
                return 403, {"detail": self._outdated(known)}
            return 200, self._links()
        return 404, {"detail": "Not Found"}

    def _outdated(self, known: str) -> dict[str, str]:
        return {
            "error": "terms_outdated",
            "current_terms_version": self.terms_version,
            "accept_url": f"{self.url}/terms/accept?token={known}",
        }

    def _links(self) -> dict[str, object]:
        rows = []
        for name, data in self.files.items():
            signature = secrets.token_hex(16)
            self.signatures.add(signature)
            self.every_signature.add(signature)
            row = {
                "name": name,
                "url": f"{self.url}/files/{name}?X-Amz-Expires=3600&X-Amz-Signature={signature}",
                "size": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
            rows.append(row | self.listed.get(name, {}))
        return {"expires_at": "2026-01-01T01:00:00Z", "files": rows}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: FakeService

    def setup(self) -> None:
        """Begin a connection."""
        with self.service.lock:
            self.service.connections += 1
        super().setup()

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._handle({})

    def do_POST(self) -> None:
        self._handle(json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}"))

    def _handle(self, body: dict[str, Any]) -> None:
        parts = urlsplit(self.path)
        asked = (self.headers.get("Range") or "bytes=0-").removeprefix("bytes=")
        start = int(asked.partition("-")[0])
        fault = self.service.fault_for(parts.path)
        kind = None if fault is None else fault.kind
        status, data, headers = self._answered(parts.path, parts.query, body, asked, kind)
        if fault is not None:
            headers |= fault.headers
        self.service.asked.append(Asked(self.command, parts.path, start, status, body))
        if kind == "reset":
            self._hang_up()
            return
        half = data[: len(data) // 2]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(half if kind == "short" else data)))
        self.end_headers()
        try:
            if kind in ("cut", "short"):
                self.wfile.write(half)
                if kind == "cut":
                    self._hang_up()
            elif isinstance(kind, float):
                for position in range(0, len(data), 65536):
                    self.wfile.write(data[position : position + 65536])
                    time.sleep(kind)
            else:
                self.wfile.write(data)
        except OSError:
            self.close_connection = True  # whoever asked has gone

    def _answered(
        self, path: str, query: str, body: dict[str, Any], asked: str, kind: int | str | float | None
    ) -> tuple[int, bytes, dict[str, str]]:
        if isinstance(kind, int):
            return kind, json.dumps({"detail": f"said on purpose, see {self.service.url}/x?{query}"}).encode(), {}
        if kind == "away":
            return 307, b"", {"Location": f"http://other.invalid{self.path}"}
        if kind == "nonsense":
            return 200, b"<html>maintenance</html>", {}
        if not path.startswith("/files/"):
            status, found = self.service.answer(path, body)
            return status, json.dumps(found).encode(), {"Content-Type": "application/json"}
        name = path.removeprefix("/files/")
        if parse_qs(query).get("X-Amz-Signature", [""])[0] not in self.service.signatures:
            return 403, b"<Error><Message>Request has expired</Message></Error>", {}
        data = self.service.files[name]
        if kind == "corrupt":
            data = bytes([data[0] ^ 1]) + data[1:]
        if "Range" not in self.headers or kind == "whole":
            return 200, data, {}
        first, _, last = asked.partition("-")
        start, end = int(first) + {"before": -1, "after": 1}.get(str(kind), 0), int(last or len(data) - 1) + 1
        return 206, data[start:end], {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}

    def _hang_up(self) -> None:
        # without the handshake that ends a connection: the other side sees a reset
        self.wfile.flush()
        time.sleep(0.05)  # what was sent arrives first
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def finish(self) -> None:
        """End the request; the connection may be gone."""
        try:
            super().finish()
        except (OSError, ValueError):
            self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that tests break."""

    def shutdown_request(self, request: Any) -> None:
        """End a connection, which may be closed."""
        try:
            super().shutdown_request(request)
        except (OSError, ValueError):
            request.close()


@contextmanager
def serving() -> Iterator[FakeService]:
    """Start a service on a free port of this machine; it ends with the block."""
    service = FakeService()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"service": service}))
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
