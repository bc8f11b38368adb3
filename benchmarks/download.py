"""Downloads beside simpler clients, in one run: many small files, and one large file.

    python benchmarks/download.py [--files 200] [--megabytes 512] [--delay 0.05] [--repeat 3]

Small: N files from moto, beside a loop that asks for one after another through s3fs and writes it, with a pause a
request as a network has, and without (then moto, which answers some 300 a second, is what is measured). Large: one file
from a plain server that answers ranges, beside a bare client (http.client, a request for each 8 MB on one connection,
written to a file, nothing verified; laion_xr compares the MD5). Both servers are processes of their own. The factors
asked for are 5 and 0.8.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import http.server
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PIECE = 8 << 20


def serve_moto(port: Any, delay: float) -> None:
    import moto.server  # noqa: PLC0415 - in the server's process only
    from werkzeug.serving import WSGIRequestHandler, make_server  # noqa: PLC0415

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *args: Any, **kwargs: Any) -> None:
            """Say nothing."""

    inner = moto.server.DomainDispatcherApplication(moto.server.create_backend_app)

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        if delay and environ["REQUEST_METHOD"] == "GET":
            time.sleep(delay)
        return inner(environ, start)

    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    port.send(server.server_port)
    server.serve_forever()


def serve_file(port: Any, path: str) -> None:
    size = os.path.getsize(path)

    class Ranges(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.send_header("Accept-Ranges", "bytes")
            self.end_headers()

        def do_GET(self) -> None:
            start, _, end = self.headers["Range"].removeprefix("bytes=").partition("-")
            first, last = int(start), min(int(end), size - 1)
            self.send_response(206)
            self.send_header("Content-Length", str(last - first + 1))
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            self.end_headers()
            self.wfile.flush()
            with open(path, "rb") as file:
                left = last - first + 1
                while left:
                    n = os.sendfile(self.connection.fileno(), file.fileno(), last + 1 - left, left)
                    left -= n

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ranges)
    port.send(server.server_port)
    server.serve_forever()


@contextlib.contextmanager
def serving(target: Callable[..., None], *arguments: Any) -> Iterator[int]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=target, args=(there, *arguments), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.terminate()
        process.join()


def seconds(function: Callable[[Path], None], repeat: int, folder: Path) -> float:
    times = []
    for n in range(repeat):
        target = folder / f"{function.__name__}-{n}"
        target.mkdir()
        began = time.perf_counter()
        function(target)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def small_files(n: int, delay: float, repeat: int, folder: Path) -> None:
    import s3fs  # noqa: PLC0415 - an extra

    from laion_xr.access.download import download  # noqa: PLC0415 - servers are started without it

    with serving(serve_moto, delay) as port:
        options = {"endpoint_url": f"http://127.0.0.1:{port}"}
        fs = s3fs.S3FileSystem(key="test", secret="test", **options)
        fs.mkdir("small")
        top = "small/derivatives/rois/sub-03/face"
        names = [f"{top}/sub-03_space-T1w_res-1pt8_label-R{i}_mask.nii.gz" for i in range(n)]
        fs.pipe({name: os.urandom(20_000) for name in names})

        def serial(target: Path) -> None:
            fs.invalidate_cache()
            for name in fs.find(top):
                (target / name.rpartition("/")[2]).write_bytes(fs.cat_file(name))

        def ours(target: Path) -> None:
            given = {"accept_licenses": True, "progress": False, "checksums": True, "n_jobs": 16}
            options_ = {**options, "key": "test", "secret": "test"}
            found = download(target, "sub-03", source="s3://small", storage_options=options_, **given)
            assert len(found.fetched) == n

        slow, quick = seconds(serial, repeat, folder), seconds(ours, repeat, folder)
    print(
        f"{n} files of 20 kB, {1000 * delay:.0f} ms a request: serial {slow:.2f} s, laion_xr {quick:.2f} s, "
        f"{slow / quick:.1f} x"
    )


def large_file(megabytes: int, repeat: int, folder: Path) -> None:
    from laion_xr.access.bucket import BucketFile  # noqa: PLC0415 - servers are started without it
    from laion_xr.access.transfer import fetch_file  # noqa: PLC0415
    from laion_xr.location import FileEntry, Location  # noqa: PLC0415

    size = megabytes << 20
    source = folder / "large"
    with source.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1 << 20))
    with source.open("rb") as file:  # as the ETag of an object that was uploaded at once
        etag = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    with serving(serve_file, str(source)) as port:
        entry = FileEntry("large", size, etag)
        location = Location.of(f"http://127.0.0.1:{port}")

        def bare(target: Path) -> None:
            client = http.client.HTTPConnection("127.0.0.1", port)
            buffer = memoryview(bytearray(PIECE))
            with (target / "large").open("wb", buffering=0) as file:
                for start in range(0, size, PIECE):
                    end = min(start + PIECE, size)
                    client.request("GET", "/large", headers={"Range": f"bytes={start}-{end - 1}"})
                    answer = client.getresponse()
                    got = 0
                    while got < end - start:
                        got += answer.readinto(buffer[got : end - start])
                    answer.read()
                    file.write(buffer[: end - start])
                os.fsync(file.fileno())
            client.close()

        assert BucketFile(location, entry).checksum is not None

        def ours(target: Path) -> None:
            fetch_file(BucketFile(location, entry), target / "large")

        slow, quick = seconds(bare, repeat, folder), seconds(ours, repeat, folder)
    rate = megabytes * 1.048576
    print(
        f"{megabytes} MiB in one file: bare client {rate / slow:.0f} MB/s, laion_xr {rate / quick:.0f} MB/s, "
        f"{slow / quick:.2f} of it ({threading.active_count()} threads left)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--delay", type=float, default=0.05, help="seconds a request takes beside the server's own")
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for delay in (given.delay, 0.0):
            (Path(name) / f"small{delay}").mkdir()
            small_files(given.files, delay, given.repeat, Path(name) / f"small{delay}")
        (Path(name) / "big").mkdir()
        large_file(given.megabytes, given.repeat, Path(name) / "big")


if __name__ == "__main__":
    main()
