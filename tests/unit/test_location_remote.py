"""Remote places: which file system an address gets, what is tried again, and what is said when it does not help."""

from __future__ import annotations

import contextlib
import errno
import http.server
import io
import os
import pickle
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import xarray as xr
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from laion_xr import address, ranged, remote
from laion_xr.address import CONNECTIONS, advice, effective_options, file_system, independent_options
from laion_xr.catalog import Catalog
from laion_xr.errors import (
    AddressError,
    DataNotDownloadedError,
    FileAccessError,
    LaionXRError,
    MissingExtraError,
    NotALaionDatasetError,
    UnreachableError,
)
from laion_xr.location import FileEntry, Location
from laion_xr.ranged import RangedFile
from laion_xr.readers.stream import open_stream
from laion_xr.remote import explained, is_foreign, is_transient, persistently, status_of

# which file system, with which options


@pytest.mark.parametrize(
    ("url", "given", "anonymous"),
    [
        ("s3://laion-fmri", {}, True),
        ("s3a://laion-fmri/derivatives", {}, True),
        ("s3://laion-fmri", {"endpoint_url": "http://localhost"}, True),
        ("s3://laion-fmri", {"anon": False}, False),
        ("s3://laion-fmri", {"key": "k", "secret": "s"}, None),
        ("s3://laion-fmri", {"profile": "lab"}, None),
        ("s3://laion-fmri", {"client_kwargs": {"aws_access_key_id": "k"}}, None),
        ("s3://laion-fmri", {"client_kwargs": {"region_name": "eu-central-1"}}, True),
        ("s3://laion-fmri-private", {}, None),
        ("s3://lab/laion-fmri", {}, None),
        ("https://laion-fmri", {}, None),
        ("memory://laion-fmri", {}, None),
        ("/laion-fmri", {}, None),
    ],
)
def test_anonymous_for_the_public_bucket_only(url: str, given: dict[str, Any], anonymous: bool | None) -> None:
    before = dict(given)
    assert effective_options(url, given).get("anon") is anonymous
    assert given == before
    assert effective_options(url, given, {"mode": "standard"}).get("anon") is anonymous


def test_options_of_a_chained_address_are_those_of_its_last_link() -> None:
    url = "simplecache::s3://laion-fmri"
    assert effective_options(url, {}) == {"s3": {"anon": True}}
    assert effective_options(url, {"s3": {"anon": False}, "simplecache": {"x": 1}}) == {
        "s3": {"anon": False},
        "simplecache": {"x": 1},
    }
    assert "anonymously" in advice(url, {})


def test_what_the_user_says_of_connections_and_retries_wins() -> None:
    given = {"config_kwargs": {"max_pool_connections": 3, "retries": {"mode": "adaptive"}}, "max_concurrency": 4}
    for options in (effective_options("s3://lab", given, {"mode": "standard"}), independent_options("s3://lab", given)):
        assert options["config_kwargs"] == given["config_kwargs"]
        assert options["max_concurrency"] == 4
    ours = independent_options("s3://lab", {"config_kwargs": {"read_timeout": 3}})
    assert ours["config_kwargs"]["max_pool_connections"] == CONNECTIONS
    assert ours["config_kwargs"]["read_timeout"] == 3
    assert ours["config_kwargs"]["retries"]["total_max_attempts"] == remote.ATTEMPTS
    assert independent_options("memory://x", {"a": 1}) == {"a": 1}


def test_only_one_place_tries_again() -> None:
    fs, base = file_system("s3://lab/data", {"anon": True})
    assert (fs.retries, base) == (1, "lab/data")
    assert fs.config_kwargs["retries"] == {"total_max_attempts": 1}
    users_own = fsspec.filesystem("s3", anon=True)
    assert users_own is not fs
    assert users_own.retries > 1
    own = {"anon": True, "config_kwargs": {"retries": {"total_max_attempts": 3}}}
    assert file_system("s3://lab/data", own)[0].retries > 1


def test_one_file_system_for_all_threads() -> None:
    location = Location.of("s3://lab", {"anon": True})
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: location.fs, range(6)))
    assert {id(fs) for fs in found} == {id(location.fs)}
    assert Location.of("s3://lab", {"anon": False}).fs is not location.fs


@pytest.mark.parametrize("url", ["foo://bucket/data", "simplecache::foo://bucket/data"])
def test_unknown_protocol(url: str) -> None:
    said = r"foo://bucket/data has a protocol that is not known: expected .* s3://.*, found foo://. Check the spelling"
    with pytest.raises(AddressError, match=said):
        Location.of(url).folders("")
    with pytest.raises(AddressError, match=said):
        xr.open_dataset(url, engine="laion_fmri")


def test_options_that_a_file_system_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AddressError, match=r"s3://lab cannot be opened with these storage_options \(.*max_concurrency"):
        Location.of("s3://lab", {"max_concurrency": 0}).folders("")


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    address._shared.cache_clear()
    for protocol in ("s3", "gs"):  # what was imported before
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, protocol, raising=False)
    for package in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, package, None)
    for url in ("s3://laion-fmri", "simplecache::s3://laion-fmri"):
        with pytest.raises(MissingExtraError, match=rf"Reading {url} needs .*'s3fs'.* pip install 'laion-xr\[s3\]'"):
            xr.open_dataset(url, engine="laion_fmri")
    with pytest.raises(MissingExtraError, match=r"Reading gs://lab needs a package .*gcsfs"):
        Location.of("gs://lab").folders("")


# what passes, and what does not


class ClientError(Exception):
    """As botocore's: it keeps the answer."""

    def __init__(self, status: int) -> None:
        super().__init__(f"An error occurred ({status})")
        self.response = {"Error": {"Code": str(status)}, "ResponseMetadata": {"HTTPStatusCode": status}}


class ClientResponseError(Exception):
    """As aiohttp's."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status}, message='x'")
        self.status = status


class EndpointConnectionError(type("ConnectionError", (Exception,), {})):  # type: ignore[misc]
    """As botocore's: by the name of what it derives from."""


class ServerDisconnectedError(type("ClientConnectionError", (Exception,), {})):  # type: ignore[misc]
    """As aiohttp's."""


class NoCredentialsError(Exception):
    """As botocore's."""


def translated(error: OSError, status: int) -> OSError:
    """As s3fs has it: an OSError, whose cause is the answer."""
    error.__cause__ = ClientError(status)
    return error


PASSES = [
    *(ClientError(status) for status in (408, 429, 500, 502, 503, 504)),
    *(ClientResponseError(status) for status in (500, 503)),
    translated(OSError(errno.EBUSY, "Please reduce your request rate"), 503),
    translated(OSError(errno.EIO, "Bad Gateway"), 502),
    OSError(errno.EREMOTEIO, "We encountered an internal error"),
    ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    BrokenPipeError(),
    TimeoutError("no answer"),
    socket.gaierror(-3, "Temporary failure in name resolution"),
    OSError(errno.EHOSTUNREACH, "No route to host"),
    EndpointConnectionError("Could not connect to the endpoint URL"),
    ServerDisconnectedError("Server disconnected"),
]
STAYS = [
    *(ClientError(status) for status in (301, 400, 401, 403, 404, 416, 501)),
    ClientResponseError(403),
    translated(OSError(errno.EBUSY, "conflict"), 409),
    OSError(errno.EINVAL, "Invalid"),
    FileNotFoundError("gone"),
    PermissionError("no"),
    NoCredentialsError("Unable to locate credentials"),
    ValueError("wrong"),
    KeyboardInterrupt(),
    # said already
    UnreachableError("gave up"),
]


@pytest.mark.parametrize("error", PASSES, ids=repr)
def test_what_may_pass(error: Exception) -> None:
    assert is_transient(error)
    assert is_foreign(error)
    found = explained(error, "s3://b/f", 7, 12.3)
    assert isinstance(found, UnreachableError)
    assert str(found).startswith("s3://b/f cannot be reached: expected an answer, found after 7 attempts in 12 s: ")


@pytest.mark.parametrize("error", STAYS, ids=repr)
def test_what_does_not_pass(error: BaseException) -> None:
    assert not is_transient(error)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ClientError(403), PermissionError),
        (ClientResponseError(401), PermissionError),
        (PermissionError("Access Denied"), PermissionError),
        (NoCredentialsError("Unable to locate credentials"), PermissionError),
        (ClientError(404), FileNotFoundError),
        (FileNotFoundError("x"), FileNotFoundError),
        (ClientError(400), UnreachableError),
        (OSError(errno.EINVAL, "Invalid"), UnreachableError),
    ],
)
def test_kinds_of_refusal(error: Exception, kind: type[Exception]) -> None:
    assert type(explained(error, "s3://b/f")) is kind


def test_status_is_found_behind_other_errors() -> None:
    outer = RuntimeError("x")
    outer.__cause__ = translated(OSError("y"), 503)
    assert status_of(outer) == 503
    assert status_of(ValueError()) is None
    answered = ClientResponseError(200)
    assert status_of(answered) is None


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(remote, "LONGEST_PAUSE", 0.004)


class Flaky:
    """A request that fails some times."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors, self.calls = list(errors), 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("n", range(remote.ATTEMPTS))
def test_tried_until_it_works(n: int) -> None:
    request = Flaky(*[TimeoutError()] * n)
    assert persistently(request, lambda: "x") == "answer"
    assert request.calls == n + 1


@pytest.mark.usefixtures("quick")
def test_gives_up_and_says_what_was_tried(caplog: pytest.LogCaptureFixture) -> None:
    request = Flaky(*[ClientError(503)] * 100)
    with caplog.at_level("INFO", "laion_xr.remote"), pytest.raises(UnreachableError) as caught:
        persistently(request, lambda: "s3://b/f")
    assert request.calls == remote.ATTEMPTS
    assert re.fullmatch(
        r"s3://b/f cannot be reached: expected an answer, found after 7 attempts in \d+ s: ClientError: An error "
        r"occurred \(503\)\. Check the network and the address .*, or try again later\.",
        str(caught.value),
    )
    assert caught.value.__suppress_context__
    assert isinstance(caught.value, OSError)
    # a user who waits is told why, once it takes long
    assert [r.levelname for r in caplog.records] == ["INFO"] * 3 + ["WARNING"] * 3
    assert "attempt 2 of 7" in caplog.messages[0]


def test_pauses_grow_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    with pytest.raises(UnreachableError):
        persistently(Flaky(*[TimeoutError()] * 100), lambda: "x")
    for pause, least in zip(pauses, (0.25, 0.5, 1, 2, 4, 8), strict=True):
        assert least <= pause <= least + 0.25
    assert sum(pauses) < remote.PATIENCE


def test_no_attempt_begins_when_the_patience_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PATIENCE", 0.6)
    request = Flaky(*[TimeoutError()] * 100)
    with pytest.raises(UnreachableError, match="2 attempts"):
        persistently(request, lambda: "x")
    assert request.calls == 2


@pytest.mark.parametrize("error", [e for e in STAYS if isinstance(e, Exception)], ids=repr)
def test_what_does_not_pass_is_not_tried_again(error: Exception) -> None:
    request = Flaky(error, error)
    with pytest.raises(OSError if not isinstance(error, LaionXRError) else type(error)):
        persistently(request, lambda: "x")
    assert request.calls == 1


def test_errors_of_our_own_making_pass_as_they_are() -> None:
    for error in (MemoryError(), AttributeError("bug"), ZeroDivisionError()):
        with pytest.raises(type(error)):
            persistently(Flaky(error), lambda: "x")


def test_stopped_while_it_waits() -> None:
    stop = threading.Event()
    request = Flaky(*[TimeoutError()] * 100)
    threading.Timer(0.05, stop.set).start()
    begun = time.monotonic()
    with pytest.raises(UnreachableError):
        persistently(request, lambda: "x", stop)
    assert time.monotonic() - begun < 5
    assert request.calls < remote.ATTEMPTS


# places: fsspec's memory, made to fail

FILES = {"a.txt": b"one", "b.txt": b"two", "c.txt": b""}


@pytest.fixture
def memory(quick: None) -> Iterator[Location]:
    fs = fsspec.filesystem("memory")
    fs.pipe({f"/remote-test/{name}": data for name, data in FILES.items()})
    yield Location.of("memory://remote-test")
    fs.rm("/remote-test", recursive=True)


def failing(monkeypatch: pytest.MonkeyPatch, method: str, errors: dict[str, list[BaseException]]) -> list[str]:
    """Let calls about some files fail; return the names that were asked for."""
    asked: list[str] = []
    real = getattr(MemoryFileSystem, method)

    def called(self: MemoryFileSystem, path: str, *args: Any, **kwargs: Any) -> Any:
        name = path.rpartition("/")[2]
        asked.append(name)
        if errors.get(name):
            raise errors[name].pop(0)
        return real(self, path, *args, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, method, called)
    return asked


def test_of_many_files_only_those_that_failed_are_asked_for_again(
    memory: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = failing(monkeypatch, "cat_file", {"b.txt": [TimeoutError(), ClientError(500)]})
    assert memory.read_many(FILES) == FILES
    assert sorted(asked) == ["a.txt", "b.txt", "b.txt", "b.txt", "c.txt"]


def test_refused_files_are_told_apart(memory: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = failing(monkeypatch, "cat_file", {"b.txt": [PermissionError("held out")] * 2, "a.txt": [TimeoutError()]})
    refused: dict[str, LaionXRError] = {}
    assert memory.read_many(FILES, refused=refused) == {"a.txt": b"one", "c.txt": b""}
    assert list(refused) == ["b.txt"]
    assert "memory://remote-test/b.txt may not be read: access was denied (held out)" in str(refused["b.txt"])
    assert asked.count("b.txt") == 1
    with pytest.raises(FileAccessError, match=r"b\.txt may not be read"):
        memory.read_many(FILES)


def test_message_names_the_file_that_fails(memory: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, "cat_file", {"b.txt": [TimeoutError()] * 100})
    with pytest.raises(UnreachableError, match=r"memory://remote-test/b\.txt cannot be reached"):
        memory.read_many(FILES)


def test_empty_file_of_a_place_that_knows_no_empty_range(memory: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, "cat_file", {"c.txt": [translated(OSError(errno.EINVAL, "InvalidRange"), 416)] * 2})
    assert memory.read_bytes("c.txt") == b""
    assert memory.read_range("c.txt", 10, 20) == b""


def test_listings_are_tried_again(memory: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = failing(monkeypatch, "find", {"": [TimeoutError()]})
    failing(monkeypatch, "ls", {"remote-test": [ConnectionResetError()]})
    assert [e.path for e in memory.files("")] == sorted(FILES)
    assert len(asked) == 2
    assert memory.folders("") == []
    monkeypatch.setattr(MemoryFileSystem, "ls", partial(_raise, TimeoutError("slow")))
    with pytest.raises(UnreachableError, match=r"memory://remote-test/folder cannot be reached.*slow"):
        memory.folders("folder")


def _raise(error: Exception, *args: object, **kwargs: object) -> None:
    raise error


def test_a_stream_that_is_closed_waits_for_no_further_attempt(
    memory: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "FIRST_PAUSE", 5.0)
    monkeypatch.setattr(remote, "LONGEST_PAUSE", 5.0)
    entry = FileEntry("a.txt", 3, "")
    stream = open_stream(memory, entry)
    failing(monkeypatch, "cat_file", {"a.txt": [TimeoutError()] * 100})

    def read() -> None:
        with contextlib.suppress(UnreachableError):
            stream.read(1)

    reading = threading.Thread(target=read)
    reading.start()
    time.sleep(0.1)
    begun = time.monotonic()
    stream.close()
    reading.join(timeout=4)
    assert not reading.is_alive()
    assert time.monotonic() - begun < 4


def test_listing_is_never_an_old_one(memory: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    dropped: list[str] = []
    monkeypatch.setattr(MemoryFileSystem, "invalidate_cache", lambda self, path=None: dropped.append(path))
    memory.folders("")
    assert dropped == [memory.at("").rstrip("/")]


def test_root_that_is_not_there(tmp_path: Path, memory: Location) -> None:
    for there, gone in ((tmp_path, tmp_path / "gone"), (memory.url, "memory://remote-test-gone")):
        assert Location.of(there).exists()
        assert not Location.of(gone).exists()
        with pytest.raises(NotALaionDatasetError, match="found none; check the root"):
            Catalog.scan(there)
        with pytest.raises(NotALaionDatasetError, match=rf"{gone} does not .*found that there is nothing of this name"):
            Catalog.scan(gone)


def test_words_for_a_library_that_asks_by_itself(memory: Location, tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="memory://remote-test/x cannot be reached"), memory.explained("x"):
        raise TimeoutError
    with pytest.raises(FileAccessError, match="x may not be written"), memory.explained("x", "written"):
        raise translated(OSError(), 403)
    with pytest.raises(DataNotDownloadedError, match="x is not there"), memory.explained("x"):
        raise ClientError(404)
    for error in (ValueError("codec"), KeyError("a"), DataNotDownloadedError("said")):
        with pytest.raises(type(error)) as caught, memory.explained("x"):
            raise error
        assert caught.value is error
    with pytest.raises(TimeoutError), Location.of(tmp_path).explained("x"):
        raise TimeoutError


# a file that is read in ranges


@given(
    data=st.binary(max_size=300),
    block=st.integers(1, 40),
    steps=st.lists(
        st.tuples(st.integers(-20, 320), st.sampled_from([io.SEEK_SET, io.SEEK_CUR, io.SEEK_END]), st.integers(0, 120)),
        max_size=20,
    ),
)
def test_ranged_file_is_a_file(data: bytes, block: int, steps: list[tuple[int, int, int]]) -> None:
    asked: list[tuple[int, int]] = []

    def fetch(start: int, end: int) -> bytes:
        asked.append((start, end))
        return data[start:end]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranged, "BLOCK", block)
        patch.setattr(ranged, "BLOCKS", 3)
        truth, file = io.BytesIO(data), RangedFile(fetch, len(data), "x")
        for offset, whence, n in steps:
            start = {0: 0, 1: truth.tell(), 2: len(data)}[whence]
            if start + offset < 0:
                with pytest.raises(ValueError, match="before its beginning"):
                    file.seek(offset, whence)
                continue
            assert file.seek(offset, whence) == truth.seek(start + offset)
            assert file.read(n) == truth.read(n)
            assert file.tell() == truth.tell()
            assert len(file._blocks) <= max(3, 0)
    assert all(0 <= a < b <= len(data) and b - a <= block for a, b in asked)
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.read(1)


def test_ranged_file_keeps_blocks_and_asks_for_nothing_twice() -> None:
    asked: list[int] = []

    def fetch(start: int, end: int) -> bytes:
        asked.append(start)
        return bytes(end - start)

    with RangedFile(fetch, 10 * ranged.BLOCK, "x") as file:
        assert asked == []
        for _ in range(3):
            file.seek(ranged.BLOCK - 10)
            assert len(file.read(20)) == 20
        assert asked == [0, ranged.BLOCK]


# plain HTTP: listings without sizes


class _Server(http.server.SimpleHTTPRequestHandler):
    """Lists folders as a web server does, answers ranges, and can keep what it knows of files to itself."""

    silent = False
    refused = ""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if self.refused and self.refused in self.path:
            self.send_error(403)
        elif not path.is_file():
            super().do_GET()
        else:
            data = path.read_bytes()
            match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if match:
                data = data[int(match[1]) : int(match[2]) + 1 if match[2] else None]
            self.send_response(206 if match else 200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def do_HEAD(self) -> None:
        if self.silent:
            self.send_error(405)
        else:
            super().do_HEAD()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def web(tmp_path: Path, quick: None) -> Iterator[Callable[..., str]]:
    """Serve a folder; its address."""
    servers: list[http.server.ThreadingHTTPServer] = []

    def serve(folder: Path, **options: object) -> str:
        handler = type("Handler", (_Server,), options)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))  # type: ignore[arg-type]
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_dataset_on_a_web_server(web: Callable[..., str], tiny: Any) -> None:
    root = web(tiny.root)
    found = xr.open_dataset(root, engine="laion_fmri", subject="sub-03")
    np.testing.assert_array_equal(found.betas, tiny.matrix())
    listed = Location.of(root).files("stimuli")
    assert [e.size for e in listed] == [p.stat().st_size for p in sorted((tiny.root / "stimuli").iterdir())]
    again = xr.open_dataset(root, engine="laion_fmri", subject="sub-03")
    assert again.attrs["fingerprint"] == found.attrs["fingerprint"]


def test_file_that_changed_on_a_web_server_is_another(web: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"one")
    location = Location.of(web(tmp_path))
    before = location.files("")
    assert before == location.files("")
    (tmp_path / "x").write_bytes(b"two")
    os.utime(tmp_path / "x", (1, 1))
    assert location.files("") != before


def test_web_server_that_does_not_tell_when_a_file_changed(web: Callable[..., str], tiny: Any) -> None:
    root = web(tiny.root, silent=True)
    first, second = (Location.of(root).files("stimuli") for _ in range(2))
    assert [e.path for e in first] == [e.path for e in second]
    assert not any(e.is_known for e in first)
    assert not set(first) & set(second)  # never taken for the same
    assert pickle.loads(pickle.dumps(first)) == first


def test_web_server_that_refuses(web: Callable[..., str], tiny: Any) -> None:
    root = web(tiny.root, refused="brain_mask")
    with pytest.raises(FileAccessError, match=rf"{root}/.*brain_mask.nii.gz may not be read: .*403.*credentials"):
        xr.open_dataset(root, engine="laion_fmri", subject="sub-03")
    with pytest.raises(NotALaionDatasetError, match="nothing of this name"):
        xr.open_dataset(f"{root}/nowhere", engine="laion_fmri")
