"""`laion-xr download` and its siblings: the arguments of a terminal -> `laion_xr.download`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from laion_xr.access import download as library
from laion_xr.access.download_plan import DownloadPlan
from laion_xr.access.fetching import INTERRUPTED as GO_ON
from laion_xr.access.fetching import DownloadResult
from laion_xr.cli.info import options
from laion_xr.cli.screen import INTERRUPTED, count_text, emit_json, line, size_text, stderr


class Given(NamedTuple):
    """The options that all downloads have."""

    dry_run: bool
    jobs: int
    check: bool
    checksums: bool
    accept_license: bool
    source: str
    storage_option: Sequence[str] | None
    progress: bool
    verbose: bool
    json: bool


def names(given: Sequence[str] | None) -> list[str] | None:
    """Return the names of repeated options that may hold several each; None for none given."""
    return [name.strip() for text in given or () for name in text.split(",") if name.strip()] or None


def models(given: Sequence[str] | None) -> list[str] | bool:
    """Return what `--embeddings` asks for: models, True for all, False for none."""
    found = names(given)
    return True if found == ["all"] else found or False


def download(root: str | None, given: Given, **wanted: Any) -> DownloadPlan | DownloadResult:
    """Download, and say what came; or, with a dry run, what would."""
    found = fetched(root, given, **wanted)
    if given.json:
        emit_json(found.to_dict())
    elif isinstance(found, DownloadPlan):
        show_plan(found)
    else:
        show(found)
    return found


def fetched(root: str | None, given: Given, **wanted: Any) -> DownloadPlan | DownloadResult:
    """Download, with a bar; Ctrl-C says how to go on.

    Raises
    ------
    typer.Exit
        130, after Ctrl-C.
    """
    call: dict[str, Any] = {
        **wanted,
        "n_jobs": given.jobs,
        "check": given.check,
        "checksums": given.checksums,
        "accept_licenses": given.accept_license,
        "source": given.source,
        "storage_options": options(given.storage_option or []),
        "dry_run": given.dry_run,
    }
    with logged(given.verbose):
        try:
            with bar(given.progress and not given.dry_run) as (started, count):
                return library.download(root, **call, count=count, planned=started)
        except KeyboardInterrupt:
            raise interrupted() from None


def interrupted() -> typer.Exit:
    """Say how to go on after Ctrl-C, and return what leaves the program."""
    line(GO_ON, "yellow", stderr())
    return typer.Exit(INTERRUPTED)


def show_plan(plan: DownloadPlan) -> None:
    """Print a plan."""
    rows = plan.rows()
    width = max(len(label) for label, _ in rows)
    for label, text in rows:
        line(f"{label:<{width}}  {text}", "" if label != "free" or plan.fits else "bold red")


def show(result: DownloadResult) -> None:
    """Print what a download did."""
    rate = f", {size_text(round(result.bytes / result.seconds))}/s" if result.fetched and result.seconds else ""
    here = f"; {count_text(len(result.present), 'file')} here before" if result.present else ""
    line(f"{count_text(len(result.fetched), 'file')} fetched, {size_text(result.bytes)}{rate}{here}; {result.root}")
    line(f"Look at it: laion-xr info {result.root}")


@contextmanager
def bar(shown: bool) -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """Show a bar of bytes: two functions, one told the total when it begins, one told the bytes that come."""
    console = stderr()
    columns = (TextColumn("download"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=console, disable=not shown or not console.is_terminal)
    task = progress.add_task("download", total=None, start=False)

    def started(total: int) -> None:
        progress.update(task, total=total)
        progress.start_task(task)
        progress.start()

    try:
        # not before: it would draw over what is asked at the terminal, such as the licence
        yield started, lambda n: progress.advance(task, n)
    finally:
        progress.stop()


class _Lines(logging.Handler):
    """Prints a record as one line on standard error, so that paths can be copied."""

    def emit(self, record: logging.LogRecord) -> None:
        line(self.format(record), "yellow" if record.levelno >= logging.WARNING else "", stderr())


@contextmanager
def logged(verbose: bool) -> Iterator[None]:
    """Print what the package logs: warnings always, so that nothing hangs without a word."""
    logger = logging.getLogger("laion_xr")
    handler = _Lines()
    # said by the command itself, also where nothing had begun
    handler.addFilter(lambda record: record.msg != GO_ON)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if verbose else logging.WARNING)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
