"""What the kernel counted for a family of processes: processor time and memory.

Processor time comes from `/proc/PID/task/TID/schedstat` (nanoseconds, user and system together,
the network work done on a thread's time included). `/proc/PID/stat` stands in where the kernel
keeps no schedstat; it counts in ticks of 10 ms.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Stat:
    parent: int
    ticks: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: resident, and the proportional share of what is shared with other processes."""

    rss: int
    pss: int


def parse_schedstat(text: str) -> int:
    """Nanoseconds on the processor, the first of three fields."""
    return int(text.split()[0])


def parse_stat(text: str) -> Stat:
    """The name stands in brackets and may hold spaces and brackets itself."""
    fields = text.rpartition(")")[2].split()
    return Stat(parent=int(fields[1]), ticks=int(fields[11]) + int(fields[12]))


def parse_smaps_rollup(text: str) -> Memory:
    """`Rss:` and `Pss:` in kB."""
    found = {"Rss": 0, "Pss": 0}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name in found:
            found[name] = int(rest.split()[0]) * 1024
    return Memory(rss=found["Rss"], pss=found["Pss"])


def family(root: int) -> list[int]:
    """The process and all its descendants, oldest first."""
    parents: dict[int, int] = {}
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parents[int(entry.name)] = parse_stat((entry / "stat").read_text()).parent
        except OSError:
            continue
    return descendants(root, parents)


def descendants(root: int, parents: dict[int, int]) -> list[int]:
    found = [root]
    for pid in found:
        found += sorted(child for child, parent in parents.items() if parent == pid)
    return found


def leaves(root: int) -> list[int]:
    """Those of the family that have no children: the workers, or the process itself."""
    members = family(root)
    with_children = {parse_stat((PROC / str(pid) / "stat").read_text()).parent for pid in members}
    return [pid for pid in members if pid not in with_children]


def cpu_ns(root: int) -> int:
    """Nanoseconds of processor time that the family has used so far.

    A process that ended meanwhile no longer counts, so it is for proxies that keep theirs.
    """
    return sum(_own_cpu_ns(pid) for pid in family(root))


def _own_cpu_ns(pid: int) -> int:
    total = 0
    try:
        for task in (PROC / str(pid) / "task").iterdir():
            total += parse_schedstat((task / "schedstat").read_text())
        if not total:
            ticks = parse_stat((PROC / str(pid) / "stat").read_text()).ticks
            total = ticks * 1_000_000_000 // TICKS_PER_SECOND
    except OSError:
        return total
    return total


def memory(pid: int) -> Memory:
    return parse_smaps_rollup((PROC / str(pid) / "smaps_rollup").read_text())
