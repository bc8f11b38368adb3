"""What an ingest will write, as data: printable, JSON, editable, passed back."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from laion_xr.catalog import Catalog, SessionFiles, SubjectCatalog
from laion_xr.errors import SelectionError
from laion_xr.location import Location
from laion_xr.sources import VoxelAxis, voxel_axis
from laion_xr.stored import stored_sessions

# Chosen by measurement: docs/explanation/store.md has the table
TRIAL_CHUNK, VOXEL_CHUNK = 128, 4096
CODEC = {"cname": "lz4", "clevel": 5, "shuffle": "bitshuffle"}
# Measured here, in bytes a second of one worker: inflation of the data, of which a ninth is brain
INFLATE_RATE = 2.0e9
# What a stored session takes of its betas as float32; simulated betas, which are noise, compress little
STORED_SHARE = 0.9
# Blocks of trials that a worker holds: one is gathered, one waits, one is written
BLOCKS_HELD = 3
WORKER_BASE = 250_000_000


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


@dataclass
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
        Sessions written at once, and bytes that all workers may hold together.
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
        return int(sum(s.betas_bytes for s in self.to_write) * STORED_SHARE)

    @property
    def seconds(self) -> float:
        """Estimated time: inflation at its measured rate, divided by the workers."""
        inflated = sum(s.betas_bytes for s in self.to_write) * 11  # a ninth of the grid is brain
        return inflated / INFLATE_RATE / max(self.workers, 1)

    @property
    def worker_bytes(self) -> int:
        """Memory that one worker takes: blocks of trials over all voxels."""
        widest = max((s.n_voxels for s in self.sessions), default=0)
        return WORKER_BASE + BLOCKS_HELD * 4 * self.chunks[0] * widest

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

    def __str__(self) -> str:
        lines = [f"{self.root} -> {self.store}"]
        lines += [
            f"  {s.subject} {s.session}: {s.action:7} {s.n_trials} x {s.n_voxels}, {s.source_bytes / 1e9:.2f} GB source"
            for s in self.sessions
        ]
        free = "unknown" if self.free_bytes is None else f"{self.free_bytes / 1e9:.1f} GB"
        lines.append(
            f"{len(self.to_write)} of {len(self.sessions)} sessions to write, about {self.store_bytes / 1e9:.2f} GB "
            f"(free: {free}), about {self.seconds:.0f} s with {self.workers} "
            f"workers of {self.worker_bytes / 1e6:.0f} MB"
        )
        return "\n".join(lines)


def plan_ingest(
    root: Any,
    store: Any,
    *,
    subjects: Iterable[str | int] | str | int | None = None,
    sessions: Iterable[str | int] | str | int | None = None,
    mask_source: str = "anatomical",
    precision: float | None = None,
    workers: int | None = None,
    memory: int | None = None,
    storage_options: Mapping[str, Any] | None = None,
    store_options: Mapping[str, Any] | None = None,
) -> IngestPlan:
    """Return what `ingest` would do; writes nothing.

    Parameters
    ----------
    root, store
        The dataset, and where the store is or will be: a folder or any fsspec address.
    subjects, sessions
        Which; None for all that are there.
    precision
        Relative error of a lossy store, between 1e-7 and 0.1; None for exact float32.
    workers
        Sessions at once; None for one a two cores, as one worker inflates on one core and encodes on another.
    memory
        Bytes that all workers may hold together; None for half of what is available. The workers are clamped to it.
    storage_options, store_options
        Options of the fsspec file systems of root and store.

    Raises
    ------
    SelectionError
        `precision` or `memory` that cannot be.
    """
    if precision is not None and not 1e-7 <= precision <= 0.1:
        raise SelectionError(
            f"precision is a relative error between 1e-7 and 0.1, or None for exact; found {precision!r}."
        )
    catalog, target = Catalog.scan(root, storage_options), Location.of(store, store_options)
    names = [subjects] if isinstance(subjects, (str, int)) else subjects
    wanted = catalog.subjects if names is None else [catalog.subject_name(s) for s in names]
    planned = []
    for subject in wanted:
        found = catalog.subject(subject)
        axis = voxel_axis(found, mask_source)
        there = stored_sessions(target, found.subject)
        planned += [_session(found, files, axis, there, precision) for files in found.sessions_with_betas(sessions)]
    plan = IngestPlan(
        root=catalog.location.url,
        store=target.url,
        sessions=planned,
        mask_source=mask_source,
        precision=precision,
        free_bytes=_free(target),
    )
    cores = psutil.cpu_count() or 1
    plan.workers_asked = max(1, cores // 2) if workers is None else int(workers)
    plan.memory = int(psutil.virtual_memory().available // 2) if memory is None else int(memory)
    if plan.memory < plan.worker_bytes:
        raise SelectionError(
            f"memory={plan.memory / 1e6:.0f} MB is less than one worker takes ({plan.worker_bytes / 1e6:.0f} MB with "
            f"chunks of {plan.chunks[0]} trials): give more."
        )
    plan.workers = max(1, min(plan.workers_asked, plan.memory // plan.worker_bytes))
    return plan


def _session(
    catalog: SubjectCatalog, files: SessionFiles, axis: VoxelAxis, there: Mapping[str, Any], precision: float | None
) -> SessionPlan:
    entry = files.files.get("betas") or files.files["model"]
    stored = there.get(files.session)
    action = "write"
    if stored is not None:
        same = stored.matches(catalog.location, entry) and stored.has_voxels(axis.ids)
        action = "keep" if same and stored.record.get("precision") == precision else "replace"
    n_trials = _count(catalog, files)
    return SessionPlan(catalog.subject, files.session, action, entry.path, entry.size, n_trials, len(axis.ids))


def _count(catalog: SubjectCatalog, files: SessionFiles) -> int:
    entry = files.files.get("trials")
    if entry is None:
        return 0
    return max(catalog.location.read_bytes(entry.path).count(b"\n") - 1, 0)


def _free(store: Location) -> int | None:
    if not store.is_local:
        return None
    folder = Path(store.url)
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
