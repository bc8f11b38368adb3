"""Runs pieces of code in processes of their own and compares them: time, peak memory, ratios with their spread.

A machine is noisy: two things are compared in one run, in turn (A B A B ...), and what counts is the ratio of each
pair. Each piece runs in a fresh process, so that its peak memory is its own.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# The piece sets up with PREPARE (not timed), runs BODY (timed), then AFTER (not timed: looks at what came out). The
# peak is the process's own: on Linux that of /proc, as what getrusage says begins with the parent's.
_TEMPLATE = """
import json, pathlib, resource, sys, time
{prepare}
_used, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
{body}
_seconds, _now = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
_cpu = _now.ru_utime + _now.ru_stime - _used.ru_utime - _used.ru_stime
_status = pathlib.Path("/proc/self/status")
if _status.exists():
    _peak = next(int(x.split()[1]) * 1024 for x in _status.read_text().splitlines() if x.startswith("VmHWM"))
else:
    _peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
{after}
print("RESULT " + json.dumps({{"seconds": _seconds, "peak": _peak, "note": globals().get("note"), "cpu": _cpu}}))
"""


def cpu_seconds() -> float:
    """Return the processor seconds that this process took so far, all its threads together."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True)
class Run:
    """One run of a piece: seconds, peak memory of its process in bytes, whatever it noted, processor seconds."""

    seconds: float
    peak: int
    note: Any
    cpu: float = 0.0


def run(prepare: str, body: str, after: str = "") -> Run:
    """Run a piece of code in a process of its own."""
    code = _TEMPLATE.format(prepare=prepare, body=body, after=after)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    line = next((x for x in done.stdout.splitlines() if x.startswith("RESULT ")), None)
    if line is None:
        raise RuntimeError(f"the piece failed:\n{code}\n{done.stdout}\n{done.stderr}")
    return Run(**json.loads(line.removeprefix("RESULT ")))


def in_turn(pieces: Mapping[str, tuple[str, ...]], rounds: int) -> dict[str, list[Run]]:
    """Run every piece once a round, in turn."""
    found: dict[str, list[Run]] = {name: [] for name in pieces}
    for _ in range(rounds):
        for name, piece in pieces.items():
            found[name].append(run(*piece))
            print(f"  {name:42} {found[name][-1].seconds:8.2f} s  {found[name][-1].peak / 1e6:8.0f} MB", flush=True)
    return found


def ratios(slow: list[Run], fast: list[Run]) -> tuple[float, float, float]:
    """Return the median, least and greatest of the ratios of times, pair by pair."""
    values = [a.seconds / b.seconds for a, b in zip(slow, fast, strict=False)]
    return statistics.median(values), min(values), max(values)


def verdict(text: str, value: float, bound: float, at_least: bool, spread: tuple[float, float] | None = None) -> bool:
    """Print a measured number beside its bound; return whether it holds."""
    holds = value >= bound if at_least else value <= bound
    sign = ">=" if at_least else "<="
    wide = f" ({spread[0]:.2f} to {spread[1]:.2f})" if spread else ""
    print(f"{'ok  ' if holds else 'MISS'} {text}: {value:.2f}{wide}, wanted {sign} {bound}")
    return holds
