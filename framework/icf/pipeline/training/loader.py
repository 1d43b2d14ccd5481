"""Batches prepared ahead of the training step by background threads: the same ones for any number of threads."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

import torch

from icf.components import IntArray
from icf.pipeline.data.inputs import Inputs
from icf.pipeline.training.batches import Batches, Staged

Request: TypeAlias = tuple[IntArray, int]
"""Rows of a batch and the seed of its augmentation: together they decide every pixel."""

R = TypeVar("R")
T = TypeVar("T")

PROBE = 8
"""Steps that are timed before the number of threads is chosen, after a first one that is not."""

WORTHWHILE = 0.05
"""Share of the time below which waiting for batches is not worth a thread."""

MOST = 8
AHEAD = 2
"""Finished batches that wait for the step, for each thread."""


class _Lane(threading.Thread, Generic[R, T]):
    """One thread with a worker, its share of the requests, and a few results that wait to be taken."""

    def __init__(self, worker: Callable[[R], T], requests: Sequence[R]) -> None:
        super().__init__(name="icf-loader", daemon=True)
        self._worker = worker
        self._requests = requests
        self._results: queue.Queue[Future[T]] = queue.Queue(AHEAD)
        self._stopped = threading.Event()

    def run(self) -> None:
        """Work until all is done, or somebody stops it."""
        torch.set_num_threads(1)  # this thread's own number: the step keeps the other cores
        for request in self._requests:
            result = Future[T]()
            try:
                result.set_result(self._worker(request))
            except BaseException as error:  # noqa: BLE001 - raised again where the result is taken
                result.set_exception(error)
            self._results.put(result)
            if self._stopped.is_set():
                return

    def take(self) -> T:
        """Wait for the next result and return it, or raise what its worker raised."""
        return self._results.get().result()

    def stop(self) -> None:
        """Tell the thread to end; it may wait for room, so what nobody takes is thrown away."""
        self._stopped.set()
        while not self._results.empty():
            self._results.get_nowait()


def load_ahead(requests: Sequence[R], workers: Sequence[Callable[[R], T]]) -> Generator[T, None, None]:
    """Yield the results for all requests, in order; each worker runs in a thread of its own.

    A worker's error is raised where its result would have come. When the generator is closed, or an error ends it,
    no thread is left.
    """
    lanes = [_Lane(worker, requests[index :: len(workers)]) for index, worker in enumerate(workers)]
    for lane in lanes:
        lane.start()
    try:
        for position in range(len(requests)):
            yield lanes[position % len(lanes)].take()
    finally:
        for lane in lanes:
            lane.stop()
        for lane in lanes:
            lane.join()


@dataclass(frozen=True)
class Prefetch:
    """How many threads prepare batches, and why."""

    threads: int
    reason: str

    def __str__(self) -> str:
        """Return one line for people."""
        if not self.threads:
            return f"no background thread: {self.reason}"
        return f"{self.threads} background thread{'s' * (self.threads > 1)}: {self.reason}"


def choose_prefetch(reading: float, stepping: float, spare: int) -> Prefetch:
    """Return as many threads as hide the seconds of reading a batch behind those of a step, with ``spare`` cores."""
    measured = f"a batch takes {1000 * reading:.1f} ms, a step {1000 * stepping:.1f} ms"
    if reading < WORTHWHILE * (reading + stepping):
        return Prefetch(0, measured)
    if spare < 1:
        return Prefetch(0, f"{measured}, and every core is taken by the step")
    return Prefetch(min(spare, MOST, math.ceil(reading / stepping)), measured)


class Loader:
    """Gives the training batches of one epoch after another, from ``inputs`` or from threads.

    Each thread reads with batches, and so with transforms, that ``open_batches`` made for it alone. ``spare`` is the
    number of cores that nothing else uses.
    """

    prefetch: Prefetch | None = None
    """None until it is chosen."""

    def __init__(
        self,
        wanted: Literal["auto"] | int,
        inputs: Inputs,
        open_batches: Callable[[], Batches],
        device: torch.device,
        spare: int,
    ) -> None:
        self._inputs = inputs
        self._open = open_batches
        self._batches: list[Batches] = []
        self._device = device
        self._spare = spare
        self._seconds: list[tuple[float, float]] = []
        if not isinstance(inputs, Batches):
            self.prefetch = Prefetch(0, "embeddings are at hand")
        elif not inputs.thread_safe:
            self.prefetch = Prefetch(0, "a transform draws from random generators that the step draws from, too")
        elif wanted != "auto":
            self.prefetch = Prefetch(wanted, "the recipe says so")

    def load(self, requests: Sequence[Request], *, levels: bool = False) -> Generator[torch.Tensor, None, None]:
        """Yield network inputs [B, C, H, W] on the device for each request, in order.

        With ``levels`` they are uint8, and still to be normalised.

        Raises:
            PluginError: a transform failed; it comes at the step that its batch was for.
        """
        probed = 0
        while self.prefetch is None and probed < len(requests):
            yield from self._probe(requests[probed], levels)
            probed += 1
        yield from self._load(requests[probed:], levels)

    def _load(self, requests: Sequence[Request], levels: bool) -> Generator[torch.Tensor, None, None]:
        threads = self.prefetch.threads if self.prefetch else 0
        if not threads:
            yield from (self._read(request, levels) for request in requests)
            return
        while len(self._batches) < threads:
            self._batches.append(self._open())
        workers = [_prepare_with(batches, levels) for batches in self._batches[:threads]]
        deliver = self._batches[0].deliver_levels if levels else self._batches[0].deliver
        with closing(load_ahead(requests, workers)) as prepared:
            for images in prepared:
                yield deliver(images)

    def _read(self, request: Request, levels: bool) -> torch.Tensor:
        if not levels:
            return self._inputs.read_augmented(*request)
        assert isinstance(self._inputs, Batches)  # noqa: S101 - for the type checker: embeddings have no levels
        return self._inputs.read_levels(*request)

    def _probe(self, request: Request, levels: bool) -> Generator[torch.Tensor, None, None]:
        """Yield one batch, and time it and the step that follows; choose after enough of them."""
        started = self._read_clock()
        images = self._read(request, levels)
        read = self._read_clock()
        yield images
        self._seconds.append((read - started, self._read_clock() - read))
        if len(self._seconds) > PROBE:
            # The fastest of each: what another process delays says nothing of the work.
            reading, stepping = (min(column) for column in zip(*self._seconds[1:], strict=True))
            self.prefetch = choose_prefetch(reading, stepping, self._spare)

    def _read_clock(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def _prepare_with(batches: Batches, levels: bool) -> Callable[[Request], Staged]:
    prepare = batches.prepare_levels if levels else batches.prepare
    return lambda request: prepare(*request)
