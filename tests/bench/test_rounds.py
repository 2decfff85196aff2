from __future__ import annotations

import pytest

from bench.generators import Sample
from bench.rounds import Cell, median, ratio

SAMPLE = Sample(requests=10, seconds=1.0, bytes_read=100, errors=2, p50=1, p95=2, p99=3)


def cell(*micros: float) -> Cell:
    return Cell("gateway", "small", micros=list(micros))


def test_median_of_nothing_is_none() -> None:
    assert median([]) is None


def test_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    # The second round was disturbed for both, which the ratio of the sums would show.
    assert ratio(cell(20, 90, 30), cell(10, 60, 10)) == pytest.approx(2.0)


def test_ratio_to_a_peer_that_did_not_run_is_none() -> None:
    assert ratio(cell(20), None) is None
    assert ratio(cell(20), cell()) is None


def test_errors_of_a_cell_include_those_of_the_checked_warm_up() -> None:
    found = cell(1.0)
    found.samples = [SAMPLE, SAMPLE]
    found.checked = SAMPLE

    assert found.errors == 6
    assert found.requests == 20
