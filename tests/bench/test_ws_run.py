"""The whole program with a few connections: real servers, real clients, each in its process."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import procfs
from bench.lineup import ROOT
from bench.ws.__main__ import main, parse, plan_of, raise_file_limit, servers_of
from bench.ws.stage import Nats

SMALL = ["--connections", "40", "--rounds", "1", "--updates", "2", "--symbols", "20"]
SMALL += ["--subscribers", "10", "--seconds", "0.4"]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bench.ws", *SMALL, *arguments]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=50, check=False
    )


def test_every_update_of_every_part_arrives_from_the_websockets_server(tmp_path: Path) -> None:
    report = tmp_path / "figures.json"

    done = run("--peers", "bare,websockets", "--json", str(report))

    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())
    assert [one["failure"] for one in found["rounds"]] == ["", "", ""]
    alone, peer, floor = found["rounds"]
    for one in (alone, peer, floor):
        assert len(one["updates"]) == 2
        assert all(update["micros"] > 0 for update in one["updates"])
        assert all(update["last"] > 0 for update in one["updates"])
        assert sum(update["missing"] for update in one["updates"]) == 0
    assert floor["updates"] == peer["floor"]
    assert peer["symbols"]["arrived"] == peer["symbols"]["expected"] == 200
    assert peer["symbols"]["wrong"] == peer["symbols"]["dropped"] == 0
    assert peer["hold"]["rate"] > 100
    assert peer["lost"] == 0
    assert "x bare" in done.stdout


def test_gateway_does_all_parts(tmp_path: Path) -> None:
    report = tmp_path / "figures.json"

    done = run("--peers", "gateway,bare", "--json", str(report))

    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())
    one = next(one for one in found["rounds"] if one["peer"] == "gateway")
    assert sum(update["missing"] for update in one["updates"]) == 0
    assert one["symbols"]["arrived"] == one["symbols"]["expected"] == 200
    assert one["symbols"]["wrong"] == one["symbols"]["dropped"] == 0
    assert one["beside"]["busy"]["requests"] == 400
    assert one["beside"]["busy"]["errors"] == one["beside"]["missing"] == 0
    # Else the two would be compared with updates of different sizes.
    sizes = {update["bytes"] for update in one["updates"] + one["floor"]}
    assert max(sizes) - min(sizes) <= 4


def test_fastapi_serves_its_crowd_where_it_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    report = tmp_path / "figures.json"

    done = run("--peers", "fastapi", "--only", "hold,broadcast,symbols", "--json", str(report))

    assert done.returncode == 0, done.stdout + done.stderr
    (one,) = json.loads(report.read_text())["rounds"]
    assert one["failure"] == ""
    assert sum(update["missing"] for update in one["updates"]) == 0
    assert one["symbols"]["arrived"] == one["symbols"]["expected"] == 200
    assert one["symbols"]["wrong"] == one["lost"] == 0


def test_interrupt_ends_the_run_and_all_that_it_started() -> None:
    running = subprocess.Popen(
        command("--peers", "bare,websockets", "--seconds", "60"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 20
    family: list[int] = []
    # The bare server, its crowd, the other server and its crowd.
    while len(family) < 5 and time.monotonic() < deadline:
        family = procfs.family(running.pid)
        time.sleep(0.02)
    assert len(family) == 5

    running.send_signal(signal.SIGINT)

    told, _ = running.communicate(timeout=20)
    assert running.returncode == 130, told
    assert "stopped" in told
    deadline = time.monotonic() + 5  # whoever inherits them has to see that they are gone
    while left := [pid for pid in family if os.path.exists(f"/proc/{pid}")]:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def test_peer_that_is_not_installed_has_a_line_that_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("bench.lineup.Found.peer", lambda self, peer: None)
    monkeypatch.setattr("os.sched_setaffinity", lambda pid, cores: None)
    monkeypatch.setattr("signal.signal", lambda number, handler: None)

    assert main([*SMALL, "--peers", "fastapi", "--venv", str(tmp_path)]) == 0

    assert "missing: fastapi: pip install fastapi" in capsys.readouterr().out


def test_limit_of_open_files_that_is_too_small_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda what: (1024, 4096))

    assert main(["--connections", "10000"]) == 2

    assert "4,096 files open here" in capsys.readouterr().out
    assert "10,200 are needed" in raise_file_limit(10_200)


def test_soft_limit_is_raised_to_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda what: (1024, 20_000))
    monkeypatch.setattr(resource, "setrlimit", lambda what, limits: asked.append(limits))

    assert raise_file_limit(10_200) == ""

    assert asked == [(10_200, 20_000)]


def test_default_run_is_that_of_the_goals() -> None:
    args = parse([])
    plan = plan_of(args)

    assert (plan.connections, plan.rate, plan.update_rate) == (10_000, 2000, 50)
    assert (plan.symbols, plan.subscribers, plan.asked) == (1000, 100, 1000)
    assert plan.only == {"hold", "broadcast", "symbols", "beside"}
    assert [one.name for one in servers_of(args)] == ["gateway", "websockets", "fastapi", "bare"]


@pytest.mark.parametrize(
    "given", [["--only", "hol"], ["--peers", "nginx"], ["--rounds", "0"], ["--connections", "1"]]
)
def test_unknown_name_or_number_is_refused(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(given)

    assert given[0] in capsys.readouterr().err


async def test_published_event_reaches_a_subscriber_of_nats(nats_url: str) -> None:
    import nats

    client = await nats.connect(nats_url)
    try:
        heard = await client.subscribe("event.prediction.updated")
        await client.flush()
        publisher = Nats(int(nats_url.rpartition(":")[2]))
        publisher.publish(b'{"symbol":"AAPL"}')
        message = await heard.next_msg(timeout=5)
        publisher.close()
    finally:
        await client.close()

    assert message.data == b'{"symbol":"AAPL"}'
