"""One JSON line for each request.

Measured with the same eleven values: formatting bytes 0.8 µs, an f-string with decoding
0.9, orjson with a dict built for it 1.0 to 1.5. So the line is one format, of which the
constant parts are constant, the time is formatted once a millisecond, and escaping costs a
single look at the bytes when there is nothing to escape.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from json.encoder import encode_basestring_ascii
from typing import Final

from gateway.exchange import Exchange
from gateway.telemetry.events import redacted_text

# What does not stand in JSON for itself: all but visible ASCII and the space, without quote and
# backslash.
SPECIAL: Final = re.compile(rb"[^ !#-\[\]-~]")

_LINE: Final = (
    b'%b%b","method":"%b","path":"%b",%b%b%b,"status_code":%d,"duration_ms":%.3f,'
    b'"client_ip":"%b","bytes_sent":%d,"trace_id":"%b"%b}\n'
)

NO_TARGET: Final = b'"target_service":null,"target_url":null'
"""What stands for a target where there was none."""


def target_fields(service: str, origin: str) -> bytes:
    """The part of a line that names the target, up to the path that it was asked for.

    Make it once for each target and keep it.
    """
    url = encode_basestring_ascii(redacted_text(origin))[:-1]
    return f'"target_service":{encode_basestring_ascii(service)},"target_url":{url}'.encode()


class AccessLog:
    """Writes a line for each request, at level INFO whatever the status."""

    __slots__ = ("_clock", "_from", "_head", "_until", "_write")

    def __init__(
        self, write: Callable[[bytes], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._write = write
        self._clock = clock
        self._head = b""
        self._from = self._until = 0.0  # the millisecond that `_head` is for

    def record(self, exchange: Exchange, seconds: float) -> None:
        """Log one request that took so many seconds.

        The path may hold anything when the request was malformed.
        """
        now = self._clock()
        if not self._from <= now < self._until:
            self._tick(now)
        method, path = exchange.head.method, exchange.path
        principal = exchange.principal
        target, sent, quote = exchange.target_fields, exchange.sent_path, b'"'
        if not target:
            target, sent, quote = NO_TARGET, b"", b""
        if SPECIAL.search(path) is not None:
            path, sent = _escaped(path), _escaped(sent)
        self._write(
            _LINE
            % (
                self._head,
                exchange.request_id,
                method,
                path,
                target,
                sent,
                quote,
                exchange.status,
                seconds * 1000,
                exchange.client_ip,
                exchange.body_sent,
                exchange.trace_id,
                b"" if principal is None else principal.logged,
            )
        )

    def _tick(self, now: float) -> None:
        millisecond = int(now * 1000)
        self._from, self._until = millisecond / 1000, (millisecond + 1) / 1000
        seconds, milliseconds = divmod(millisecond, 1000)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        self._head = (
            f'{{"timestamp":"{stamp}.{milliseconds:03d}Z","level":"INFO",'
            '"event":"request","request_id":"'
        ).encode()


def _escaped(value: bytes) -> bytes:
    """The inside of a JSON string. Bytes beyond ASCII become the code points of their numbers."""
    return encode_basestring_ascii(value.decode("latin-1"))[1:-1].encode()
