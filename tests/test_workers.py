"""The parent process, seen from outside: real processes and real signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway import workers
from tests.small_gateway import PATIENCE, Gateway, reply, request


def wait_until(true: Callable[[], object]) -> None:
    """For what the kernel does and announces nowhere."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def state(pid: int) -> str:
    """The kernel's letter: T is stopped, Z dead and unburied; X stands for gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "X"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def accepted(connection: socket.socket) -> bool:
    """Whether a process holds the connection's other end and has read all that was sent."""
    ends = [
        f"0100007F:{end[1]:04X}" for end in (connection.getpeername(), connection.getsockname())
    ]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        # A connection that nobody has accepted has no inode; one that was read, no queue.
        if fields[1:3] == ends:
            return fields[9] != "0" and fields[4].endswith(":00000000")
    return False


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    started: list[Gateway] = []

    def starter(**settings: Any) -> Gateway:
        started.append(Gateway(tmp_path / "settings.json", **settings))
        return started[-1]

    yield starter
    for gateway in started:
        if gateway.process.poll() is None:
            gateway.signal(signal.SIGTERM)
        try:
            gateway.ended()
        except subprocess.TimeoutExpired:
            gateway.process.kill()  # the kernel takes the workers along
            gateway.process.wait()
        gateway.selector.close()
        if gateway.process.stdout:
            gateway.process.stdout.close()


# Starting


def test_every_slot_gets_connections(start):
    assert sorted(start(workers=3).ask_all(3)) == [0, 1, 2]


def test_worker_holds_no_sockets_of_other_slots(start):
    few = start(workers=2).ask_all(2)
    many = start(workers=6).ask_all(6)

    # Each has what wakes each of the others, one a slot, for the bus in memory.
    assert {answer["files"] - 6 for answer in many.values()} == {few[0]["files"] - 2}


def test_single_worker_is_the_process_itself(start):
    gateway = start(workers=1, port=free_port())
    gateway.port = json.loads(gateway.path.read_text())["port"]
    wait_until(lambda: listens(gateway.port))

    assert gateway.ask()["pid"] == gateway.process.pid
    gateway.signal(signal.SIGTERM)
    assert gateway.ended() == 0


def test_port_in_use_is_one_clear_line_and_exit_1(start):
    for workers_ in (1, 2):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            gateway = start(workers=workers_, port=port)

            event = gateway.wait_for("listen_failed")

        assert event["problem"] == (
            f"host, port: cannot listen on 127.0.0.1 port {port}: Address already in use"
        )
        assert gateway.ended() == 1


def test_second_gateway_on_a_shared_port_is_refused(start):
    first = start()
    first.ask()

    second = start(port=first.port)

    assert second.wait_for("listen_failed")["level"] == "ERROR"
    assert second.ended() == 1


@pytest.mark.parametrize(("fault", "code"), [("stillborn", 3), ("raises", 1)])
def test_gateway_whose_workers_cannot_start_ends_with_1(start, fault, code):
    gateway = start(fault=fault)

    assert gateway.wait_for("worker_exited")["code"] == code
    gateway.wait_for("gateway_not_started")
    assert gateway.ended() == 1


def test_exception_of_a_worker_is_logged_with_its_trace(start):
    assert "RuntimeError: no good" in start(fault="raises").wait_for("worker_failed")["exception"]


# Replacing


def test_killed_worker_is_replaced_in_its_slot(start):
    gateway = start()
    before = gateway.ask_all()

    os.kill(before[0]["pid"], signal.SIGKILL)
    gateway.wait_for("worker_forked", 3)
    after = gateway.ask_all()

    assert gateway.wait_for("worker_exited")["code"] == -signal.SIGKILL
    assert after[0]["pid"] != before[0]["pid"]
    assert after[1]["pid"] == before[1]["pid"]


def test_counters_of_a_killed_worker_go_on(start):
    gateway = start()
    before = gateway.ask_all()

    os.kill(before[0]["pid"], signal.SIGKILL)
    gateway.wait_for("worker_forked", 3)

    assert gateway.ask_all()[0]["served"] > before[0]["served"]


def test_hung_worker_is_killed_and_replaced(start):
    gateway = start(worker_timeout=0.5)
    before = gateway.ask_all()

    os.kill(before[1]["pid"], signal.SIGSTOP)

    assert gateway.wait_for("worker_hung")["pid"] == before[1]["pid"]
    assert gateway.wait_for("worker_exited")["hung"] is True
    gateway.wait_for("worker_forked", 3)
    assert gateway.ask_all()[1]["pid"] != before[1]["pid"]


def test_workers_that_slept_with_their_parent_are_spared(start):
    gateway = start(worker_timeout=1.5)
    pids = {answer["pid"] for answer in gateway.ask_all().values()}
    for pid in (gateway.process.pid, *pids):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(1.8)  # the time that passes is the subject

    gateway.signal(signal.SIGCONT)
    for number in (1, 2):  # the parent has looked at the workers between two reloads
        gateway.signal(signal.SIGHUP)
        gateway.wait_for("reload_accepted", number)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)

    assert {answer["pid"] for answer in gateway.ask_all().values()} == pids


def test_connections_queued_for_a_dead_worker_are_served_by_its_successor(start):
    gateway = start()
    before = gateway.ask_all()
    for answer in before.values():
        os.kill(answer["pid"], signal.SIGSTOP)
        wait_until(lambda pid=answer["pid"]: state(pid) == "T")
    queued = [gateway.connect() for _ in range(20)]
    for answer in before.values():
        os.kill(answer["pid"], signal.SIGKILL)
    answers = []
    for connection in queued:
        with connection:
            request(connection)
            answers.append(reply(connection))

    assert {answer["slot"] for answer in answers} == {0, 1}
    assert not {answer["pid"] for answer in answers} & {one["pid"] for one in before.values()}


def test_worker_that_dies_young_again_and_again_waits_longer_each_time(monkeypatch):
    times = []
    worker = workers._Worker(0, [], None)
    monkeypatch.setattr(workers.time, "monotonic", lambda: 100.0)
    for _ in range(12):
        workers._Parent._put_off(None, worker)
        times.append(worker.start_at - 100.0)

    assert times[:5] == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.8])
    assert times[-1] == 10.0


def test_no_worker_outlives_a_killed_parent(start):
    gateway = start()
    pids = [answer["pid"] for answer in gateway.ask_all().values()]
    os.kill(pids[0], signal.SIGSTOP)

    gateway.signal(signal.SIGKILL)
    gateway.ended()

    for pid in pids:
        wait_until(lambda pid=pid: state(pid) in "ZX")


# Stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_request_in_flight_is_answered_before_the_end(start, number):
    gateway = start()
    gateway.ask_all()
    with gateway.connect() as connection:
        request(connection, "/held")
        wait_until(lambda: accepted(connection))
        gateway.signal(number)

        assert reply(connection)["generation"] == 1

    assert gateway.ended() == 0


def test_port_is_closed_when_the_workers_have_closed_it(start):
    gateway = start()
    gateway.ask_all()
    gateway.signal(signal.SIGTERM)
    assert gateway.ended() == 0

    with pytest.raises(ConnectionRefusedError):
        gateway.connect()


def test_worker_that_does_not_drain_is_killed_at_the_deadline(start):
    gateway = start(fault="stubborn", drain_timeout=-workers.KILL_GRACE + 0.3)
    gateway.ask_all()
    gateway.signal(signal.SIGTERM)

    gateway.wait_for("drain_overrun")
    assert gateway.ended() == 0


def test_second_interrupt_ends_at_once(start):
    gateway = start(fault="stubborn")
    gateway.ask_all()
    gateway.signal(signal.SIGINT)
    gateway.wait_for("gateway_draining")
    gateway.signal(signal.SIGINT)

    assert gateway.ended() == 130


def test_second_sigterm_changes_nothing(start):
    gateway = start(fault="stubborn", drain_timeout=-workers.KILL_GRACE + 1.0)
    gateway.ask_all()
    gateway.signal(signal.SIGTERM)
    gateway.wait_for("gateway_draining")
    gateway.signal(signal.SIGTERM)

    gateway.wait_for("drain_overrun")
    assert gateway.ended() == 0


# Reloading


def test_good_reload_reaches_every_worker_in_place(start):
    gateway = start()
    before = gateway.ask_all()

    gateway.write(generation=2)
    gateway.signal(signal.SIGHUP)
    gateway.wait_for("reload_accepted")
    after = gateway.ask_until(
        lambda found: len(found) == 2 and {one["generation"] for one in found.values()} == {2}
    )

    assert {one["pid"] for one in after.values()} == {one["pid"] for one in before.values()}


def test_bad_reload_tells_every_problem_and_changes_nothing(start):
    gateway = start()
    before = gateway.ask_all()

    gateway.write(generation=2, fault="bad")
    gateway.signal(signal.SIGHUP)

    assert gateway.wait_for("reload_refused", 1)["problem"] == "g.yaml: a: is wrong"
    assert gateway.wait_for("reload_refused", 2)["problem"] == "g.yaml: b: as well"
    after = gateway.ask_all()
    assert {slot: (one["pid"], one["generation"]) for slot, one in after.items()} == {
        slot: (one["pid"], 1) for slot, one in before.items()
    }


def test_reload_that_raises_anything_else_does_not_end_the_parent(start):
    gateway = start()
    gateway.ask_all()
    gateway.write(fault="unreadable")
    gateway.signal(signal.SIGHUP)

    assert "the disk is gone" in gateway.wait_for("reload_failed")["exception"]
    assert len(gateway.ask_all()) == 2


def test_successor_of_a_worker_has_the_reloaded_settings(start):
    gateway = start()
    gateway.write(generation=2)
    pids = [answer["pid"] for answer in gateway.ask_all().values()]
    gateway.signal(signal.SIGHUP)
    gateway.wait_for("reload_accepted")
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    gateway.wait_for("worker_forked", 4)

    assert {answer["generation"] for answer in gateway.ask_all().values()} == {2}


def test_change_that_needs_a_restart_is_told(start):
    gateway = start()
    gateway.ask_all()
    gateway.write(workers=5, host="0.0.0.0")
    gateway.signal(signal.SIGHUP)

    assert gateway.wait_for("restart_needed")["settings"] == ["host", "workers"]
    assert sorted(gateway.ask_all()) == [0, 1]


def test_cores_are_those_this_process_may_use():
    assert workers.cores() == len(os.sched_getaffinity(0))
