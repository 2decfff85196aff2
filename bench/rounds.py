"""Interleaved rounds: A B C, A B C, ... so that a noisy minute hurts everybody alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from bench import procfs, proofs
from bench.children import BenchError
from bench.generators import Generator, Sample, short_answers
from bench.loads import Load
from bench.stage import Running

Say = Callable[[str], None]


@dataclass(slots=True)
class Cell:
    """One peer under one load. `micros` holds processor µs a request, one for each round.

    `work` is what the peer does beside forwarding.
    """

    peer: str
    load: str
    micros: list[float] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    checked: Sample | None = None
    failure: str = ""
    work: str = ""

    @property
    def errors(self) -> int:
        """Of all rounds and of the checked warm-up."""
        return sum(s.errors for s in self.samples) + (self.checked.errors if self.checked else 0)

    @property
    def requests(self) -> int:
        return sum(s.requests for s in self.samples)


def median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def ratio(ours: Cell | None, theirs: Cell | None) -> float | None:
    """Median of the rounds' own ratios: what disturbs a round disturbs both."""
    if ours is None or theirs is None:
        return None
    return median([a / b for a, b in zip(ours.micros, theirs.micros, strict=False) if b])


def run_rounds(
    generator: Generator,
    peers: Sequence[Running],
    loads: Sequence[Load],
    rounds: int,
    seconds: float,
    say: Say,
) -> list[Cell]:
    cells = {
        (p.peer.name, w.name): Cell(p.peer.name, w.name, work=p.peer.work)
        for w in loads
        for p in peers
        if p.peer.takes(w)
    }
    for load in loads:
        taking_part = [p for p in peers if p.peer.takes(load)]
        for running in taking_part:
            _warm_up(generator, running, load, cells[running.peer.name, load.name])
        for number in range(1, rounds + 1):
            began = time.monotonic()
            for running in taking_part:
                _measure(generator, running, load, seconds, cells[running.peer.name, load.name])
            took = time.monotonic() - began
            say(f"{load.title}: round {number} of {rounds}, {took:.0f} s")
    return list(cells.values())


def _warm_up(generator: Generator, running: Running, load: Load, cell: Cell) -> None:
    try:
        proofs.prove(load, running.port, running.keys)
        cell.checked = generator.check(load.asked_with(running.keys), running.port, 1)
    except BenchError as error:
        cell.failure = str(error)


def _measure(
    generator: Generator, running: Running, load: Load, seconds: float, cell: Cell
) -> None:
    if cell.failure:
        return
    before = procfs.cpu_ns(running.child.pid)
    try:
        sample = generator.measure(load.asked_with(running.keys), running.port, seconds)
    except BenchError as error:
        cell.failure = str(error)
        return
    spent = procfs.cpu_ns(running.child.pid) - before
    if cell.checked and not load.websocket:
        sample = with_short(sample, cell.checked)
    cell.samples.append(sample)
    if sample.requests:
        cell.micros.append(spent / sample.requests / 1000)


def with_short(sample: Sample, checked: Sample) -> Sample:
    return replace(sample, errors=sample.errors + short_answers(sample, checked))
