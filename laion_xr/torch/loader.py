"""A DataLoader over batches of trials that knows where it is: epochs begin by themselves, and resume in the middle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils.data import DataLoader

from laion_xr.errors import SelectionError
from laion_xr.torch.iterable import TrialStream
from laion_xr.torch.slots import Ring


class Loader(DataLoader[Any]):
    """`torch.utils.data.DataLoader` of a `TrialStream` that counts the batches that it hands out.

    After the last batch of an epoch the next one begins, in another order. `state_dict` holds what was handed out, not
    what workers have prepared: prefetching loses nothing.

    Parameters
    ----------
    stream
        With a batch size.
    num_workers
        Processes that read.
    **options
        Of the DataLoader: `pin_memory`, `prefetch_factor`, `persistent_workers`, `multiprocessing_context`, ...

    Raises
    ------
    SelectionError
        The stream has no batch size, or the options one of their own.

    Examples
    --------
    >>> loader = Loader(ds.laion.to_torch(batch_size=64), num_workers=2)  # doctest: +SKIP
    >>> for batch in loader:  # doctest: +SKIP
    ...     step(batch)
    ...     torch.save(loader.state_dict(), "loader.pt")
    """

    def __init__(self, stream: Any, num_workers: int = 0, **options: Any) -> None:
        if not isinstance(stream, TrialStream) or stream.batch_size is None:
            raise SelectionError(
                f"Loader counts batches: expected a TrialStream with a batch size, found {type(stream).__name__}; make "
                "it by to_torch(batch_size=...), or use torch.utils.data.DataLoader."
            )
        if wrong := sorted({"batch_size", "shuffle", "sampler", "batch_sampler", "drop_last"} & options.keys()):
            raise SelectionError(f"{', '.join(wrong)}: the stream makes the batches; say it to to_torch.")
        if not options.get("in_order", True):
            raise SelectionError("in_order=False: a resume needs batches in their order; use torch's DataLoader.")
        super().__init__(stream, batch_size=None, num_workers=num_workers, **options)
        self.stream = stream
        self._handed_out = self._resumed = 0
        self._rings: list[Ring] = []
        # a function of the user's that workers call with each batch takes tensors
        self._through_slots = num_workers > 0 and options.get("collate_fn") is None

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self._handed_out, self._resumed = self._resumed, 0
        ring = self._ring()
        self.stream.ring = ring
        try:
            iterator = super().__iter__()  # the workers start
        finally:
            self.stream.ring = None
        again = False
        try:
            for batch in iterator:
                self._handed_out += 1
                yield batch
                del batch  # else its slot is not free while the next one is made
            self.stream.set_epoch(self.stream.epoch + 1)
            self._handed_out, again = 0, True
        except GeneratorExit:
            again = True
            raise
        finally:
            del iterator  # and with it its workers, unless they persist
            # the traceback of an error keeps the iterator alive, and workers that go on writing
            if ring is not None and again and not self.persistent_workers:
                self._rings.append(ring)

    def _ring(self) -> Ring | None:
        """Return slots for workers that are about to start: no others use them."""
        if not self._through_slots:
            return None
        if self._rings:
            ring = self._rings[-1] if self.persistent_workers else self._rings.pop()
            if not self.persistent_workers:
                ring.restart()
            return ring
        # of each worker: what it has prepared, what is being made, what is in use
        made = Ring.fitting(self.num_workers, (self.prefetch_factor or 2) + 3, self.stream.slot_bytes())
        if made is not None and self.persistent_workers:
            self._rings.append(made)
        return made

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch and how many of its batches were handed out: plain values."""
        return self.stream.state_dict(self._handed_out, self.num_workers)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Make the next iteration go on after the batches that a state says were handed out.

        Raises
        ------
        SelectionError
            The state is of another dataset, of other arguments, or of another number of workers.
        """
        self.stream.check_state(state)
        if state["num_workers"] != self.num_workers:
            raise SelectionError(
                f"The state was taken with num_workers={state['num_workers']}: expected as many, found "
                f"{self.num_workers}; the trials that were consumed are those of these workers."
            )
        self.stream.load_state_dict(state)
        self._resumed = self._handed_out = int(state["batches"])

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch at the next iteration."""
        self.stream.set_epoch(epoch)
        self._resumed = self._handed_out = 0
