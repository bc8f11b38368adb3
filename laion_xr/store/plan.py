"""What an ingest will write, as data: printable, JSON, editable, passed back."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from laion_xr.errors import SelectionError, did_you_mean
from laion_xr.quantities import estimate_text, size_text
from laion_xr.store.precision import LIMITS, kept_share

# Chosen by measurement: docs/explanation/store.md has the table
TRIAL_CHUNK, VOXEL_CHUNK = 128, 4096
CODEC = {"cname": "lz4", "clevel": 5, "shuffle": "bitshuffle"}
# Measured here, in bytes a second of one worker: inflation of the data, of which a ninth is brain
INFLATE_RATE = 2.0e9
# What a stored session takes of its betas as float32; simulated betas, which are noise, compress little
STORED_SHARE = 0.9
# Blocks of trials that a worker holds: one's worth is read while one is put in order and one is written; elsewhere than
# on this machine Zarr holds that one once more
BLOCKS_HELD, BLOCKS_FILLED, BLOCKS_ENCODED = 1, 2, 1
# Beside them, measured: what is imported, and coordinates and maps with what their reading leaves
WORKER_BASE, TABLE_BYTES_A_VOXEL = 250_000_000, 500

ACTIONS = ("write", "keep", "replace")


@dataclass
class SessionPlan:
    """A session to write; sizes in bytes.

    Attributes
    ----------
    action
        `"write"`, `"keep"` (stored and unchanged) or `"replace"` (the source changed since).
    """

    subject: str
    session: str
    action: str
    source: str
    source_bytes: int
    n_trials: int
    n_voxels: int

    @property
    def betas_bytes(self) -> int:
        """Bytes of the betas as float32."""
        return 4 * self.n_trials * self.n_voxels


@dataclass(repr=False)
class IngestPlan:
    """What an ingest will do. Every field may be edited before it is passed to `ingest`.

    Attributes
    ----------
    chunks
        Trials and voxels of a chunk.
    codec
        Arguments of the Blosc codec.
    precision
        Relative error of a lossy store (such as 0.001), or None for exact float32.
    workers, memory
        Sessions written at once, and bytes that all workers may hold together (0: no limit).
    free_bytes
        Room where the store is, which the ingest must not exceed; None does not ask.
    """

    root: str
    store: str
    sessions: list[SessionPlan]
    mask_source: str = "anatomical"
    chunks: tuple[int, int] = (TRIAL_CHUNK, VOXEL_CHUNK)
    codec: dict[str, Any] = dataclasses.field(default_factory=lambda: dict(CODEC))
    precision: float | None = None
    workers: int = 1
    memory: int = 0
    workers_asked: int = 1
    free_bytes: int | None = None

    @property
    def to_write(self) -> list[SessionPlan]:
        """The sessions that are not there yet, or not any more as they were."""
        return [s for s in self.sessions if s.action != "keep"]

    @property
    def store_bytes(self) -> int:
        """Estimated bytes to be written."""
        return int(sum(s.betas_bytes for s in self.to_write) * STORED_SHARE * kept_share(self.precision))

    @property
    def seconds(self) -> float:
        """Estimated time: inflation at its measured rate, divided by the workers."""
        inflated = sum(s.betas_bytes for s in self.to_write) * 11  # a ninth of the grid is brain
        return inflated / INFLATE_RATE / max(self.workers, 1)

    @property
    def worker_bytes(self) -> int:
        """Memory that one worker takes: blocks of trials over all voxels, and the tables of a session."""
        widest = max((s.n_voxels for s in self.sessions), default=0)
        blocks = (BLOCKS_HELD + BLOCKS_FILLED + BLOCKS_ENCODED) * 4 * self.chunks[0]
        return WORKER_BASE + (blocks + TABLE_BYTES_A_VOXEL) * widest

    def fitting_workers(self) -> int:
        """Return how many workers fit into the memory.

        Raises
        ------
        SelectionError
            Not even one.
        """
        if not self.memory:
            return max(self.workers, 1)
        if self.memory < self.worker_bytes:
            raise SelectionError(
                f"memory={size_text(self.memory)} is less than one worker takes ({size_text(self.worker_bytes)} "
                f"with chunks of {self.chunks[0]} trials): give more."
            )
        return max(1, min(self.workers, self.memory // self.worker_bytes))

    def check(self) -> None:
        """Check what may have been edited.

        Raises
        ------
        SelectionError
            A value that cannot be.
        """
        actions = {s.action for s in self.sessions} - set(ACTIONS)
        if actions:
            raise SelectionError(did_you_mean("Action of a session", sorted(actions)[0], ACTIONS))
        if [type(n) for n in self.chunks] != [int, int] or min(self.chunks) < 1:
            raise SelectionError(f"chunks are a number of trials and one of voxels, 1 or more; found {self.chunks!r}.")
        check_precision(self.precision)

    def to_json(self) -> str:
        """Return the plan as JSON text, estimates included."""
        fields = dataclasses.asdict(self)
        estimates = {"store_bytes": self.store_bytes, "seconds": round(self.seconds, 1)}
        return json.dumps({**fields, "estimates": estimates}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> IngestPlan:
        """Return the plan of JSON text, as `to_json` writes it (estimates are made anew).

        Raises
        ------
        SelectionError
            It is not a plan.
        """
        try:
            fields: dict[str, Any] = json.loads(text)
            fields.pop("estimates", None)
            fields["sessions"] = [SessionPlan(**s) for s in fields["sessions"]]
            fields["chunks"] = tuple(fields["chunks"])
            return cls(**fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SelectionError(
                f"Expected the JSON of an ingest plan, as 'laion-xr plan --json' prints it: {error}."
            ) from None

    def __repr__(self) -> str:
        # what a notebook shows of a bare plan
        return str(self)

    def __str__(self) -> str:
        lines = [f"{self.root} -> {self.store}"]
        lines += [
            f"  {s.subject} {s.session}: {s.action:7} {s.n_trials} x {s.n_voxels}, {s.source_bytes / 1e9:.2f} GB source"
            for s in self.sessions
        ]
        free = "unknown" if self.free_bytes is None else f"{self.free_bytes / 1e9:.1f} GB"
        lines.append(
            f"{len(self.to_write)} of {len(self.sessions)} sessions to write, about {self.store_bytes / 1e9:.2f} GB "
            f"(free: {free}), {estimate_text(self.seconds)} with {self.workers} "
            f"workers of {self.worker_bytes / 1e6:.0f} MB"
        )
        return "\n".join(lines)


def check_precision(precision: float | None) -> None:
    """Check a relative error.

    Raises
    ------
    SelectionError
        It is too small or too large.
    """
    low, high = LIMITS
    if precision is not None and not low <= precision <= high:
        raise SelectionError(
            f"precision is a relative error between {low:g} and {high:g}, or None for exact; found {precision!r}."
        )
