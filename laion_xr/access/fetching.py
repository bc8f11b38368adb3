"""The files of a plan, several at once: what came, what is refused, what is damaged."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from laion_xr.access.bucket import BucketFile, opened
from laion_xr.access.download_plan import DownloadPlan
from laion_xr.access.gzips import members_problem
from laion_xr.access.selection import session_of
from laion_xr.access.transfer import Outcome, RefusedError, fetch_file, safe_target
from laion_xr.errors import CorruptFileError, DataNotDownloadedError, LaionXRError, describe_names
from laion_xr.listing import FileEntry
from laion_xr.quantities import count_text, size_text

# Files at once, and the most: an fsspec file system has 32 connections, a long file takes four
JOBS, MOST_JOBS = 8, 32

Count = Callable[[int], object]
INTERRUPTED = "Interrupted: what is whole is kept, what is not goes on when the same is run again."
_LOG = logging.getLogger(__name__)


@dataclass
class DownloadResult:
    """What a download did.

    Attributes
    ----------
    plan
        What it set out to do.
    fetched
        Paths that were fetched.
    present
        Paths that were here, or that another process fetched meanwhile.
    refused
        Path -> why the source did not give it.
    seconds
        How long it took.
    """

    plan: DownloadPlan
    fetched: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def root(self) -> Path:
        """Folder that the files are in."""
        return self.plan.root

    @property
    def bytes(self) -> int:
        """Bytes of the files that were fetched."""
        sizes = {file.path: file.size for file in self.plan.files}
        return sum(sizes[path] for path in self.fetched)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON has it."""
        return {
            "source": self.plan.source.url,
            "root": str(self.root),
            "fetched": self.fetched,
            "bytes": self.bytes,
            "present": self.present,
            "held_out": {subject: list(names) for subject, names in self.plan.held_out.items()},
            "refused": self.refused,
            "seconds": round(self.seconds, 3),
        }

    def __repr__(self) -> str:
        text = f"<laion_xr.DownloadResult: {count_text(len(self.fetched), 'file')} ({size_text(self.bytes)}) fetched"
        text += f" in {self.seconds:.1f} s, {count_text(len(self.present), 'file')} here before"
        held = [f"{subject} {name}" for subject, names in self.plan.held_out.items() for name in names]
        text += f"; held out: {describe_names(held)}" if held else ""
        text += f"; refused: {describe_names(self.refused, 3)}" if self.refused else ""
        return f"{text}; {self.root}>"


def run_plan(
    plan: DownloadPlan,
    n_jobs: int = JOBS,
    count: Count | None = None,
    *,
    check: bool = False,
    checksums: bool = True,
) -> DownloadResult:
    """Fetch the files of a plan; see `laion_xr.download`.

    A file that is damaged or gone does not keep the others from coming: it is named in the end. A network that is gone,
    or a full disk, ends it. So does Ctrl-C: what is whole stays, what is not goes on the next time.
    """
    began = time.monotonic()
    result = DownloadResult(plan, present=[file.path for file in plan.present])
    stop, closed, lock = threading.Event(), set[str](), threading.Lock()
    failed: dict[str, LaionXRError] = {}
    place = opened(plan.source)

    def fetch(file: FileEntry) -> None:
        folder = f"{file.path.rpartition('/')[0]}" if session_of(file.path) else ""
        counted = [0]

        def tell(n: int) -> None:
            with lock:
                counted[0] += n
                if count is not None:
                    count(n)

        try:
            if folder in closed:
                raise RefusedError(f"{plan.source.show(file.path)} is of a session that is not given.")
            outcome = _fetch(plan, file, place, tell, stop, check=check, checksums=checksums)
        except RefusedError as error:
            with lock:
                closed.update({folder} - {""})
                result.refused[file.path] = str(error)
            tell(file.size - counted[0])
        except (CorruptFileError, DataNotDownloadedError) as error:
            failed[file.path] = error
        else:
            with lock:
                (result.fetched if outcome is Outcome.FETCHED else result.present).append(file.path)
            _LOG.info("%s %s (%s)", outcome, file.path, size_text(file.size))

    with ThreadPoolExecutor(n_jobs, thread_name_prefix="laion-xr-download") as pool:
        waiting = {pool.submit(fetch, file) for file in plan.files}
        try:
            while waiting:
                # Windows sees Ctrl-C only between waits
                ended, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                for one in ended:
                    one.result()
        except KeyboardInterrupt:
            stop.set()
            _LOG.warning(INTERRUPTED)
            raise
        finally:
            if waiting:
                stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
    result.seconds = time.monotonic() - began
    if failed:
        first = next(iter(failed.values()))
        also = describe_names(list(failed)[1:], 5)
        more = f" The same befell {len(failed) - 1} more: {also}." if len(failed) > 1 else ""
        whole = len(result.fetched) + len(result.present)
        complete = f"The other {count_text(whole, 'file')} {'is' if whole == 1 else 'are'} complete."
        raise type(first)(f"{first}{more} {complete}")
    return result


def _fetch(
    plan: DownloadPlan,
    file: FileEntry,
    place: tuple[Any, str],
    tell: Count,
    stop: threading.Event,
    *,
    check: bool,
    checksums: bool,
) -> Outcome:
    target = safe_target(plan.root, file.path)
    source = BucketFile(plan.source, file, checksums, place)
    outcome = fetch_file(source, target, progress=tell, stop=stop, recheck=check)
    if not check or not file.path.endswith(".gz"):
        return outcome
    problem = members_problem(target)
    if problem and outcome is Outcome.PRESENT:
        # without a checksum in the listing only its inside says that it is damaged
        tell(-file.size)
        target.unlink()
        outcome = fetch_file(source, target, progress=tell, stop=stop)
        problem = members_problem(target)
    if problem:
        target.unlink()
        raise CorruptFileError(f"{source.name} is damaged where it comes from: {problem}. It was not kept.")
    return outcome
