"""Everything in the log that is not a request: one JSON line an event.

`log.info("worker_started", pid=7)` gives `timestamp`, `level`, `event` and the fields. Events are
rare, so this part is made for being read and for never failing, not for speed; a dict and
the standard encoder need no logging library beneath them. What Python's own logging is told,
by aiohttp and asyncio above all, comes out in the same form.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

# Matched anywhere in a field's name, so `db_password` and `x-api-key` are covered.
_SECRET_NAME: Final = re.compile(
    r"authorization|cookie|passw(or)?d|secret|token|api[_-]?key|private[_-]?key|credential",
    re.IGNORECASE,
)
# Inside texts, tracebacks among them: the user information of a URL, and credentials (RFC 9110,
# section 11.4) behind their scheme.
_URL_USER: Final = re.compile(r"(?<=://)[^\s/?#@]+@")
_CREDENTIALS: Final = re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE)

_REDACTED: Final = "[redacted]"
_MAX_DEPTH: Final = 4


class EventLog:
    """Writes events of at least `level`."""

    def __init__(self, write: Callable[[bytes], object], level: str = "INFO") -> None:
        """`write` takes one line with its line feed. Raises ValueError for an unknown level."""
        self._write = write
        self.set_level(level)

    def set_level(self, level: str) -> None:
        """From now on. Raises ValueError for an unknown level."""
        number = logging.getLevelNamesMapping().get(level.upper())
        if number is None:
            raise ValueError(f"unknown log level {level!r}")
        self._threshold = number

    def enabled(self, level: int) -> bool:
        return level >= self._threshold

    def debug(self, event: str, /, **fields: object) -> None:
        self.log(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        self.log(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        self.log(logging.WARNING, event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        self.log(logging.ERROR, event, fields)

    def log(self, level: int, event: str, fields: dict[str, object]) -> None:
        """Never raises: what cannot be encoded is written as its `repr`."""
        if level >= self._threshold:
            self._write(event_line(logging.getLevelName(level), event, fields))


def event_line(level: str, event: str, fields: dict[str, object]) -> bytes:
    """One event as a line of JSON, redacted."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    head = {"timestamp": now, "level": level, "event": event}
    # The head goes last into the merge: no field can pass for the time or the level.
    line = {**head, **_redacted(fields, _MAX_DEPTH), **head}
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def redacted_text(text: str) -> str:
    """The text without passwords in URLs and without credentials."""
    return _CREDENTIALS.sub(rf"\1 {_REDACTED}", _URL_USER.sub(f"{_REDACTED}@", text))


def _redacted(value: object, depth: int) -> Any:
    """What JSON can hold of a value, without secrets. Deeper than `depth` it is only named."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return redacted_text(value)
    if isinstance(value, float):
        return value if abs(value) < float("inf") else repr(value)
    if isinstance(value, bytes):
        return redacted_text(value.decode("ascii", "backslashreplace"))
    if depth and isinstance(value, dict):
        return {
            str(name): _REDACTED if _SECRET_NAME.search(str(name)) else _redacted(item, depth - 1)
            for name, item in value.items()
        }
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [_redacted(item, depth - 1) for item in value]
    if not depth:
        return f"<{type(value).__name__}>"
    try:
        return redacted_text(str(value))
    except Exception:  # noqa: BLE001 - a broken __str__ must not break the log
        return f"<{type(value).__name__}>"


class EventHandler(logging.Handler):
    """Python's logging as events: `logger`, `message`, and `exception` with its whole trace.

    A record whose arguments do not fit its message comes as `message` and `arguments`.
    """

    def __init__(self, log: EventLog) -> None:
        super().__init__()
        self._log = log
        self._traces = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        if not self._log.enabled(record.levelno):
            return
        fields: dict[str, object] = {"logger": record.name}
        try:
            fields["message"] = record.getMessage()
        except Exception:  # noqa: BLE001 - whatever a wrong format or a broken argument raises
            fields.update(message=record.msg, arguments=record.args)
        if record.exc_info and record.exc_info[0] is not None:
            fields["exception"] = self._traces.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = record.stack_info
        self._log.log(record.levelno, "log", fields)


def capture_logging(log: EventLog) -> None:
    """Sends all of Python's logging, warnings included, to `log` and nowhere else."""
    root = logging.getLogger()
    root.handlers[:] = [EventHandler(log)]
    # Libraries' debug output is theirs; our own threshold is asked for each record as well.
    root.setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
