from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from bench import procfs

STAT = "4242 (a (strange) name) S 17 4242 1 0 -1 4194560 900 0 3 0 250 50 7 9 20 0 3 0 99 1 2"

SMAPS = """55d0c0000000-7ffd00000000 ---p 00000000 00:00 0    [rollup]
Rss:               51200 kB
Pss:               40960 kB
Pss_Anon:          30000 kB
Shared_Clean:      10240 kB
"""


def test_schedstat_first_field_is_the_time_on_the_processor() -> None:
    assert procfs.parse_schedstat("1770507401 575048 38\n") == 1_770_507_401


def test_stat_with_brackets_in_the_name_gives_parent_and_own_ticks_only() -> None:
    assert procfs.parse_stat(STAT) == procfs.Stat(parent=17, ticks=300)


def test_smaps_rollup_kilobytes_become_bytes() -> None:
    found = procfs.parse_smaps_rollup(SMAPS)

    assert found == procfs.Memory(rss=51200 * 1024, pss=40960 * 1024)


def test_descendants_of_a_root_include_grandchildren_and_nobody_else() -> None:
    parents = {2: 1, 3: 2, 4: 2, 5: 4, 6: 1}

    assert procfs.descendants(2, parents) == [2, 3, 4, 5]


def test_busy_thread_of_this_process_raises_its_processor_time_by_what_it_burnt() -> None:
    before, began = procfs.cpu_ns(os.getpid()), time.process_time_ns()
    while time.process_time_ns() - began < 30_000_000:
        pass

    spent = procfs.cpu_ns(os.getpid()) - before

    assert spent == pytest.approx(time.process_time_ns() - began, rel=0.5)


def test_child_process_is_a_leaf_and_its_parent_is_not() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as child:
        found = procfs.leaves(os.getpid())
        memory = procfs.memory(child.pid)
        child.communicate(b"\n")

    assert child.pid in found
    assert os.getpid() not in found
    assert 0 < memory.pss <= memory.rss
