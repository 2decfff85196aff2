"""Lines on a pipe that is read, not read, closed, and shared."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator

import pytest

from gateway.telemetry.output import LineWriter, write_all, write_now


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for end in (reader, writer):
        try:
            os.close(end)
        except OSError:
            continue


def read_until(reader: int, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        data += os.read(reader, 1 << 20)
    return data


def fill(writer: int) -> None:
    os.set_blocking(writer, False)
    while True:
        try:
            os.write(writer, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(writer, True)


def test_line_arrives_without_another_call(pipe):
    writer = LineWriter(pipe[1])
    writer.write(b"one\n")

    assert read_until(pipe[0], b"\n") == b"one\n"
    writer.close()


def test_lines_after_an_idle_time_arrive_too(pipe):
    writer = LineWriter(pipe[1])
    for line in (b"one\n", b"two\n", b"three\n"):
        writer.write(line)
        assert read_until(pipe[0], line) == line
    writer.close()


def test_lines_of_a_tenth_of_a_second_arrive_in_one_batch(pipe):
    writer = LineWriter(pipe[1])
    for number in range(100):
        writer.write(b"%d\n" % number)

    first = os.read(pipe[0], 1 << 20)

    assert first.count(b"\n") == 100
    writer.close()


def test_close_writes_what_waits(pipe):
    writer = LineWriter(pipe[1])
    writer.write(b"last\n")
    writer.close()
    os.close(pipe[1])

    assert os.read(pipe[0], 100) == b"last\n"


def test_close_writes_what_came_during_a_write(pipe):
    fill(pipe[1])
    writer = LineWriter(pipe[1])
    writing, write = threading.Event(), writer._write_batch
    writer._write_batch = lambda batch: (writing.set(), write(batch))
    writer.write(b"first\n")
    assert writing.wait(5)
    writer.write(b"last\n")
    closing = threading.Thread(target=writer.close)
    closing.start()

    assert read_until(pipe[0], b"last\n").endswith(b"first\nlast\n")
    closing.join()


def test_blocked_output_drops_beyond_the_limit_and_tells_once(pipe):
    lost = []
    fill(pipe[1])
    writer = LineWriter(pipe[1], limit=1000, dropped=lost.append)
    started = time.monotonic()
    for _ in range(10_000):
        writer.write(b"y" * 99 + b"\n")
    took = time.monotonic() - started

    data = read_until(pipe[0], b"}\n")
    writer.write(b"after\n")
    data += read_until(pipe[0], b"after\n")
    writer.close()

    (told,) = (line for line in data.splitlines() if b"log_lines_dropped" in line)
    assert json.loads(told)["lines"] == sum(lost)
    assert sum(lost) + data.count(b"y\n") == 10_000
    assert took < 1


def test_blocked_output_does_not_keep_the_process(pipe):
    fill(pipe[1])
    writer = LineWriter(pipe[1])
    writer.write(b"never\n")
    started = time.monotonic()

    writer.close(timeout=0.05)

    assert time.monotonic() - started < 1


def test_closed_output_loses_lines_and_nothing_else():
    reader, closed = os.pipe()
    os.close(reader)
    lost = []
    told = threading.Event()
    writer = LineWriter(closed, dropped=lambda lines: (lost.append(lines), told.set()))
    writer.write(b"gone\n")
    assert told.wait(5)
    writer.write(b"gone\n")
    writer.close()
    os.close(closed)

    assert sum(lost) == 2


def test_output_made_non_blocking_by_others_takes_all(pipe):
    os.set_blocking(pipe[1], False)
    data = b"z" * (1 << 20) + b"\n"
    writing = threading.Thread(target=write_all, args=(pipe[1], data))
    writing.start()

    assert read_until(pipe[0], b"\n") == data
    writing.join()


def test_long_batches_of_two_processes_do_not_mix(pipe):
    reader, writer = pipe
    batches = {letter: letter * (1 << 20) + b"\n" for letter in (b"a", b"b")}
    children = []
    for batch in batches.values():
        child = os.fork()
        if not child:
            write_all(writer, batch)
            os._exit(0)
        children.append(child)

    data = b""
    while data.count(b"\n") < 2:
        data += os.read(reader, 1 << 20)
    for child in children:
        os.waitpid(child, 0)

    assert sorted(data.splitlines(keepends=True)) == sorted(batches.values())


def test_line_now_is_written_at_once(pipe):
    assert write_now(pipe[1], b"now\n")
    assert os.read(pipe[0], 100) == b"now\n"


def test_line_now_gives_up_on_a_blocked_output(pipe):
    fill(pipe[1])

    assert not write_now(pipe[1], b"never\n", patience=0.02)


def test_line_now_gives_up_while_another_process_writes(pipe):
    ready, go = os.pipe()
    child = os.fork()
    if not child:
        fcntl.lockf(pipe[1], fcntl.LOCK_EX)
        os.write(go, b".")
        time.sleep(60)
        os._exit(0)
    os.read(ready, 1)

    given_up = not write_now(pipe[1], b"never\n", patience=0.02)

    os.kill(child, 9)
    os.waitpid(child, 0)
    assert given_up
    assert write_now(pipe[1], b"free again\n")
    os.close(ready)
    os.close(go)


def test_line_now_on_a_closed_output_is_lost_quietly():
    reader, closed = os.pipe()
    os.close(reader)

    assert not write_now(closed, b"gone\n")
    os.close(closed)


def test_regular_file_takes_lines(tmp_path):
    path = tmp_path / "log"
    with path.open("wb") as file:
        writer = LineWriter(file.fileno())
        writer.write(b"one\n")
        writer.close()
        write_now(file.fileno(), b"two\n")

    assert path.read_bytes() == b"one\ntwo\n"
