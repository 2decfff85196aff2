"""Regions: the directory, its bounds, and what a successor finds."""

from __future__ import annotations

import os

import pytest

from gateway.telemetry import memory


@pytest.fixture
def region() -> memory.Region:
    return memory.allocate(1)[0]


def test_run_allocated_is_read_back_from_the_directory(region):
    made = region.allocate("counter", "a_total", ("orders", 'say "hi"\n'), 3)

    assert region.entries() == [made]


def test_runs_do_not_overlap(region):
    first = region.allocate("counter", "a_total", (), 3)
    second = region.allocate("counter", "b_total", (), 1)

    assert second.index == first.index + first.width


def test_new_region_is_without_heartbeat(region):
    assert region.heartbeat == 0


def test_heartbeat_lies_in_no_run(region):
    entry = region.allocate("counter", "a_total", (), 1)
    region.heartbeat = 12.5

    assert (region.heartbeat, region.cells[entry.index]) == (12.5, 0)


def test_cells_used_up_give_none(region):
    region.allocate("histogram", "a", (), memory.CELLS - 8)

    assert region.allocate("counter", "b_total", (), 1) is None


def test_directory_used_up_gives_none(region):
    longest = "x" * (memory.DIRECTORY_BYTES - 100)
    region.allocate("counter", longest, (), 1)

    assert region.allocate("counter", "x" * 100, (), 1) is None


def test_refused_run_leaves_the_directory_as_it_was(region):
    region.allocate("histogram", "a", (), memory.CELLS)

    assert region.entries() == []


def test_line_not_visible_yet_is_read_when_it_is(region):
    first = region.allocate("counter", "a_total", (), 1)
    second = region.allocate("counter", "b_total", (), 1)
    start = 1 + bytes(region._directory[:200]).index(b"\n")
    line = bytes(region._directory[start : start + 40])
    region._directory[start : start + 40] = bytes(40)
    assert region.entries() == [first]

    region._directory[start : start + 40] = line

    assert region.entries() == [first, second]


def test_other_process_reads_what_was_written_after_the_fork():
    regions = memory.allocate(2)
    child = os.fork()
    if not child:
        entry = regions[1].allocate("counter", "a_total", ("x",), 1)
        regions[1].cells[entry.index] = 7.0
        os._exit(0)
    os.waitpid(child, 0)

    (entry,) = regions[1].entries()

    assert (entry.labels, regions[1].cells[entry.index]) == (("x",), 7.0)
