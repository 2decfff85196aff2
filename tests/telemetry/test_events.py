"""Events as JSON lines: form, level, secrets, and Python's own logging."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from gateway.telemetry.events import EventHandler, EventLog, capture_logging


class Lines(list[bytes]):
    def only(self) -> dict[str, Any]:
        (line,) = self
        return json.loads(line)


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def log(lines) -> EventLog:
    return EventLog(lines.append)


@pytest.fixture
def captured(log) -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    capture_logging(log)
    yield
    root.handlers[:], level = before
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def test_event_is_one_line_with_time_level_name_and_fields(log, lines):
    log.info("worker_started", pid=7, slot=0)

    assert lines[0].endswith(b"}\n")
    line = lines.only()
    assert datetime.fromisoformat(line.pop("timestamp")).utcoffset() == timedelta(0)
    assert line == {"level": "INFO", "event": "worker_started", "pid": 7, "slot": 0}


def test_field_cannot_pass_for_the_head(log, lines):
    log.info("real", level="ERROR", timestamp="never")

    assert lines.only()["level"] == "INFO"
    assert lines.only()["timestamp"] != "never"


def test_level_below_the_threshold_is_silent(lines):
    log = EventLog(lines.append, "WARNING")
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")

    assert [json.loads(line)["event"] for line in lines] == ["c", "d"]


def test_level_changes_on_the_run(log, lines):
    log.set_level("debug")
    log.debug("now")

    assert lines.only()["level"] == "DEBUG"


def test_unknown_level_is_refused(log):
    with pytest.raises(ValueError, match="'LOUD'"):
        log.set_level("LOUD")


@pytest.mark.parametrize(
    "name",
    [
        "authorization", "Proxy-Authorization", "cookie", "Set-Cookie", "password", "db_passwd",
        "token", "access_token", "api_key", "X-API-Key", "apikey", "secret_key", "private_key",
        "credentials",
    ],
)  # fmt: skip
def test_field_named_like_a_secret_is_redacted(log, lines, name):
    log.info("x", **{name: "s3cret"}, deep={name: ["s3cret"]})

    assert b"s3cret" not in lines[0]
    assert lines.only()[name] == "[redacted]"


@pytest.mark.parametrize(
    "text",
    [
        "cannot reach postgresql://app:s3cret@db:5432/x",
        "header was Authorization: Bearer s3cret.s3cret",
        "Basic s3cret==",
    ],
)
def test_secret_inside_a_text_is_redacted(log, lines, text):
    log.info("x", problem=text)

    assert b"s3cret" not in lines[0]


def test_ordinary_url_is_left_alone(log, lines):
    log.info("x", url="http://127.0.0.1:8001/a@b?c=d@e")

    assert lines.only()["url"] == "http://127.0.0.1:8001/a@b?c=d@e"


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "logged"),
    [
        (float("nan"), "nan"),
        (1.5, 1.5),
        (None, None),
        (True, True),
        (b"\xff\x00", "\\xff\x00"),
        ("\ud800", "\ud800"),
        ((1, {2}), [1, [2]]),
        ({1: "a"}, {"1": "a"}),
        (OSError("gone"), "gone"),
        (Broken(), "<Broken>"),
        ([[[[[["deep"]]]]]], [[["<list>"]]]),
    ],
)
def test_any_value_makes_a_line(log, lines, value, logged):
    log.info("x", value=value)

    assert lines.only()["value"] == logged


def test_value_that_holds_itself_makes_a_line(log, lines):
    value: list[object] = []
    value.append(value)
    log.info("x", value=value)

    assert lines.only()["event"] == "x"


@pytest.mark.usefixtures("captured")
def test_record_of_a_library_keeps_its_trace(lines):
    try:
        raise RuntimeError("postgres://u:s3cret@h") from KeyError("first")
    except RuntimeError:
        logging.getLogger("aiohttp.server").exception("Error handling %s", "request")

    line = lines.only()
    assert (line["event"], line["level"], line["logger"]) == ("log", "ERROR", "aiohttp.server")
    assert line["message"] == "Error handling request"
    assert line["exception"].startswith("KeyError: 'first'")
    assert "Traceback" in line["exception"]
    assert b"s3cret" not in lines[0]


@pytest.mark.usefixtures("captured")
def test_record_with_a_stack_keeps_it(lines):
    logging.getLogger("a").warning("here", stack_info=True)

    assert "test_record_with_a_stack_keeps_it" in lines.only()["stack"]


@pytest.mark.usefixtures("captured")
def test_warning_of_python_is_a_line(lines):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(capture=False)

    assert lines.only()["logger"] == "py.warnings"


@pytest.mark.usefixtures("captured")
def test_record_below_the_threshold_is_silent(log, lines):
    log.set_level("ERROR")
    logging.getLogger("a").warning("hush")

    assert lines == []


def test_record_whose_arguments_do_not_fit_is_logged_apart(log, lines):
    record = logging.LogRecord("a", logging.INFO, "f.py", 1, "%d", ("x",), None)

    EventHandler(log).handle(record)

    assert (lines.only()["message"], lines.only()["arguments"]) == ("%d", ["x"])
