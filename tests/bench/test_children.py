from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from bench.children import (
    BenchError,
    Child,
    Children,
    Cores,
    clean_environment,
    free_port,
    wait_for_port,
)
from bench.share import shares

EVERYWHERE = frozenset(os.sched_getaffinity(0))
LISTENER = """
import socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(60)
"""
STUBBORN_FAMILY = """
import os, signal, socket, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.fork()
server = socket.create_server(("127.0.0.1", int(sys.argv[1])), reuse_port=True)
time.sleep(60)
"""


def start(children: Children, program: str, port: int) -> Child:
    command = [sys.executable, "-c", program, str(port)]
    return children.start("child", command, EVERYWHERE)


def refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_two_cores_are_split_between_load_and_proxy() -> None:
    assert Cores.split({0, 1}) == Cores(load=frozenset({0}), proxy=frozenset({1}))


def test_single_core_serves_both() -> None:
    assert Cores.split({3}) == Cores(load=frozenset({3}), proxy=frozenset({3}))


def test_children_are_gone_when_the_block_ends_by_an_error(tmp_path: Path) -> None:
    port = free_port()

    interrupted = contextlib.suppress(KeyboardInterrupt)
    with interrupted, Children(tmp_path) as children:
        child = start(children, LISTENER, port)
        wait_for_port(child, port)
        raise KeyboardInterrupt

    assert child.popen.returncode == -signal.SIGTERM
    assert refused(port)


def test_family_that_ignores_sigterm_is_killed_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.children.STOP_SECONDS", 0.5)
    port = free_port()

    with Children(tmp_path) as children:
        child = start(children, STUBBORN_FAMILY, port)
        wait_for_port(child, port)

    assert child.popen.returncode == -signal.SIGKILL
    assert refused(port)


def test_child_that_ends_before_it_listens_is_an_error_with_its_last_words(
    tmp_path: Path,
) -> None:
    with Children(tmp_path) as children:
        child = start(children, "raise SystemExit('bad setting')", 1)
        with pytest.raises(BenchError, match="ended with 1: bad setting"):
            wait_for_port(child, free_port())


def test_child_runs_on_its_cores_only(tmp_path: Path) -> None:
    core = max(EVERYWHERE)
    program = "import os; print(sorted(os.sched_getaffinity(0)))"

    with Children(tmp_path) as children:
        child = children.start("child", [sys.executable, "-c", program], frozenset({core}))
        child.popen.wait(10)

    assert child.tail() == f"[{core}]"


def test_settings_of_the_user_do_not_reach_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_PORT", "1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    found = clean_environment({"GOMAXPROCS": "1"})

    assert found["GOMAXPROCS"] == "1"
    assert found["PATH"] == os.environ["PATH"]
    assert not {"GATEWAY_PORT", "http_proxy"} & set(found)


BURN = """
import time
began = time.monotonic()
while time.monotonic() - began < 0.6:
    pass
print(time.process_time() / 0.6)
"""


@pytest.mark.parametrize("with_cgroups", [True, False])
def test_process_held_to_a_quarter_of_a_core_does_not_get_all_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_cgroups: bool
) -> None:
    if not with_cgroups:
        monkeypatch.setattr("bench.share._usable", lambda root, write: False)
    with shares() as held, Children(tmp_path) as children:
        child = children.start("child", [sys.executable, "-c", BURN], EVERYWHERE)
        held.limit(child.pid, 0.25)
        child.popen.wait(20)
        share = float(child.tail())

    # It is held from a moment after its start, and a busy machine lets it run on for a while;
    # unheld it would have all of a core.
    assert 0.05 < share < 0.8, held.by
