"""`gateway demo` as somebody meets it: what it prints works, and nothing is left behind."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
from websockets.sync.client import connect

from gateway import demo, samples
from gateway.config import load
from gateway.realtime import wire
from gateway.stores.shared_bus import SharedLog
from tests import servers

ROOT = Path(__file__).parent.parent
PATIENCE = 10.0


class Demo:
    """The running program; `said` is what it printed before it served."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "demo", "--port", "0", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,
            preexec_fn=servers.end_with(os.getpid(), signal.SIGKILL),
        )
        assert self.process.stderr
        self.said = ""
        while "/nowhere" not in self.said:
            line = self.process.stderr.readline()
            assert line, self.said
            self.said += line
        self.children = children(self.process.pid)
        self.folder = Path(re.findall(r"SQLITE=(\S+) ", self.said)[0]).parent

    def lines(self, program: str) -> list[str]:
        lines = map(str.strip, self.said.splitlines())
        return [line for line in lines if line.startswith(program)]

    def curl(self, path: str) -> str:
        """The printed line whose address ends so, done; what it wrote."""
        (line,) = (line for line in self.lines("curl") if shlex.split(line)[-1].endswith(path))
        return done(line)

    def answering(self) -> set[str]:
        """Which instances two requests in a row came to."""
        return {json.loads(self.curl("/items"))["served_by"] for _ in range(2)}

    def end(self, number: signal.Signals) -> int:
        os.killpg(self.process.pid, number)  # as a terminal does
        code = self.process.wait(PATIENCE)
        assert self.process.stderr
        self.said += self.process.stderr.read()
        self.process.stderr.close()
        return code


def done(line: str) -> str:
    """What a line prints in a shell; an error when it fails."""
    return subprocess.run(
        line, shell=True, capture_output=True, text=True, timeout=PATIENCE, check=True
    ).stdout


def children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pids: list[int]) -> bool:
    """Within a patience, as the kernel tells nobody."""
    deadline = time.monotonic() + PATIENCE
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture(scope="module")
def running() -> Iterator[Demo]:
    one = Demo()
    yield one
    one.end(signal.SIGTERM)


@pytest.fixture
def fresh() -> Iterator[Demo]:
    one = Demo()
    yield one
    one.end(signal.SIGTERM)


def test_every_printed_curl_line_works(running: Demo) -> None:
    lines = [line for line in running.lines("curl") if "/stream/" not in line]  # it never ends
    assert len(lines) == 23
    calls = [subprocess.Popen(line, shell=True, stdout=subprocess.PIPE) for line in lines]
    for line, call in zip(lines, calls, strict=True):
        output = call.communicate(timeout=PATIENCE)[0]
        assert call.returncode == 0, line
        assert (b'"status_code":' in output) == ("nowhere" in line), (line, output)


def test_the_printed_key_opens_the_shop_and_others_do_not(running: Demo) -> None:
    (line,) = (line for line in running.lines("curl") if "/shop/orders/2 " in line)
    answer = done(line)
    assert "X-RateLimit-Limit: 100\n" in answer  # text=True made one line end of two bytes
    assert '"item": "cups"' in answer
    wrong = re.sub(r"gwk_\w+", "gwk_" + "a" * 38, line)
    assert '"status_code":401' in done(wrong)


def test_a_key_can_be_made_while_it_runs(running: Demo) -> None:
    (create,) = running.lines("GATEWAY_")
    key = done(create).split()[-1]
    (line,) = (line for line in running.lines("curl") if "/shop/orders/2 " in line)
    assert "X-RateLimit-Limit: 1000" in done(re.sub(r"gwk_\w+", key, line))


def test_the_shop_takes_what_its_document_says(running: Demo) -> None:
    (line,) = (line for line in running.lines("curl") if "--data" in line)
    assert json.loads(done(line))["item"] == "tea"
    refused = json.loads(done(line.replace('"item"', '"itme"')))
    assert refused["status_code"] == 422
    assert refused["details"]


def test_prices_come_from_the_cache_and_not_for_ever(fresh: Demo) -> None:
    answers = [fresh.curl("/items/honey") for _ in range(6)]
    assert "stored" in answers[0]
    assert all("Cache-Status: gateway; hit" in answer for answer in answers[1:5])
    assert answers[5].startswith("HTTP/1.1 429 ")


def test_an_order_that_is_made_is_there_afterwards(running: Demo) -> None:
    (line,) = (line for line in running.lines("curl") if " -d " in line)
    made = json.loads(done(line))
    assert (made["item"], made["quantity"]) == ("tea", 2)
    assert made in json.loads(running.curl("/orders"))["orders"]


def test_the_instances_of_the_catalog_answer_in_turn(fresh: Demo) -> None:
    assert fresh.answering() == {"a", "b"}


def test_the_outage_of_an_instance_leaves_it_out(fresh: Demo) -> None:
    out = json.loads(fresh.curl("/outage"))["served_by"]
    (metrics,) = fresh.lines("curl -s")
    deadline = time.monotonic() + PATIENCE
    while done(metrics).count(" 0.0") != 1:  # checked once a second; nothing tells a client
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert fresh.answering() == {"a", "b"} - {out}


def test_the_clock_ticks_while_it_is_listened_to(running: Demo) -> None:
    line = next(line for line in running.lines("curl") if "ticks=" in line)
    host, port = line.split("//")[1].split("/")[0].split(":")
    with socket.create_connection((host, int(port)), PATIENCE) as client:
        client.sendall(b"GET /api/service1/clock?ticks=3600 HTTP/1.1\r\nHost: demo\r\n\r\n")
        received = b""
        while b"event: tick" not in received:
            piece = client.recv(4096)
            assert piece
            received += piece
    assert b"Content-Type: text/event-stream" in received


def test_the_websocket_says_what_it_is_told(running: Demo) -> None:
    (line,) = (line for line in running.lines(sys.executable) if line.endswith("/ws/echo"))
    with connect(line.split()[-1], proxy=None) as client:
        client.send("hello")
        client.send(b"\0\1")
        assert (client.recv(PATIENCE), client.recv(PATIENCE)) == ("hello", b"\0\1")


def test_predictions_tick_on_the_websocket(running: Demo) -> None:
    (line,) = (line for line in running.lines(sys.executable) if line.endswith("/ws/predictions"))
    asked = re.findall(r"^  ({.*})", running.said, re.MULTILINE)
    with connect(line.split()[-1], proxy=None) as client:
        client.send(*asked)
        heard = [json.loads(client.recv(PATIENCE)) for _ in range(4)]
    assert [message["type"] for message in heard[:2]] == ["welcome", "subscribed"]
    assert {message["symbol"] for message in heard[2:]} == {"AAPL", "MSFT"}


def test_predictions_tick_in_the_stream_of_events(running: Demo) -> None:
    (line,) = (line for line in running.lines("curl") if "/stream/" in line)
    with subprocess.Popen(
        line, shell=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as curl:
        assert curl.stdout
        while b"event: prediction_update" not in (said := curl.stdout.readline()):
            assert said
        os.killpg(curl.pid, signal.SIGTERM)


def test_a_job_is_done_and_explains_what_was_predicted(running: Demo) -> None:
    (line,) = (line for line in running.lines("curl") if "/progress/" in line)
    last = done(line).strip().split("\n\n")[-1]
    assert last.startswith("id: end\nevent: done\ndata: ")
    told = json.loads(last.split("data: ")[1])
    assert told["result"]["sources"][0]["name"] == "the sample feed"
    (job, *_) = json.loads(running.curl("/history"))["jobs"]
    assert (job["job_id"], job["status"]) == (told["job_id"], "done")
    (place,) = re.findall(r"is at (\S+/explanation/AAPL) ", running.said)
    found = json.loads(done(f"curl -s {place}"))
    assert found["explanation"] == told["result"]["explanation"]


def test_the_page_shows_where_predictions_come_from(running: Demo) -> None:
    (url,) = (line for line in running.lines("http") if line.endswith("/live"))
    page = done(f"curl -s {url}")
    assert "new WebSocket(" in page
    assert "//cdn" not in page


def test_predictions_walk_the_same_way_each_time() -> None:
    walks = [samples.Predictor(Random(1)) for _ in range(2)]
    now = datetime(2026, 1, 31, tzinfo=UTC)
    events = [[one.event(now) for _ in range(12)] for one in walks]
    assert events[0] == events[1]
    assert {wire.read_event(event)[0] for event in events[0]} == set(samples.PRICES)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_0_and_takes_the_services_along(number: signal.Signals) -> None:
    one = Demo()
    assert len(one.children) == 1
    assert one.folder.is_dir()
    assert one.end(number) == 0
    assert gone(one.children)
    assert not one.folder.exists()
    assert "Traceback" not in one.said


def test_the_services_do_not_outlive_a_killed_gateway() -> None:
    one = Demo()
    assert len(one.children) == 1
    one.process.kill()
    one.process.wait()
    assert gone(one.children)
    assert not one.folder.exists()
    assert one.process.stderr
    one.process.stderr.close()


def test_a_port_in_use_is_told_with_nothing_to_try() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [sys.executable, "-m", "gateway", "demo", "--port", str(port)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=PATIENCE,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (1, "")
    assert json.loads(ended.stdout)["event"] == "listen_failed"


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("127.0.0.1", "http://127.0.0.1:80/"),
        ("0.0.0.0", "http://127.0.0.1:80/"),
        ("::", "http://[::1]:80/"),
    ],
)
def test_what_is_printed_can_be_reached(host: str, base: str) -> None:
    assert f"curl {base}health" in demo.what_to_try(host, 80, Path("folder"), "key")


def test_settings_of_a_file_hold_but_for_what_is_behind(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(
        "timeout: 7\nworkers: 4\nstores: {redis: 'redis://nowhere'}\n"
        "routes: [{prefix: /mine, target_url: 'http://nowhere'}]"
    )
    base = load(file, {}, {"host": "127.0.0.1", "port": 81}, tmp_path)
    urls = dict.fromkeys(demo.SERVICES, "http://127.0.0.1:1") | {"catalog-b": "http://127.0.0.1:2"}
    made = demo.over_samples(base, demo.Samples(urls, tmp_path, SharedLog(1)))
    assert (made.port, made.timeout, made.workers) == (81, 7.0, 1)
    names = ["orders", "catalog", "echo", "page", "shop", "prices"]
    assert [route.name for route in made.routes] == names
    assert made.stores.redis is None
    assert made.stores.sqlite == tmp_path / "gateway.db"


def test_each_service_has_its_application() -> None:
    assert tuple(samples.SERVICES) == demo.SERVICES


def test_a_bad_file_is_refused_as_serve_does(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("prot: 80")
    ended = subprocess.run(
        [sys.executable, "-m", "gateway", "demo", "--config", str(tmp_path / "own.yaml")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=PATIENCE,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "prot: unknown key" in ended.stderr
