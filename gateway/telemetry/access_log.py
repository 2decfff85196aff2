"""One JSON line for each request.

Measured with the same eleven values: formatting bytes 0.8 µs, an f-string with decoding
0.9, orjson with a dict built for it 1.0 to 1.5. So the line is one format, of which the
constant parts are constant, the time is formatted once a millisecond, and escaping costs a
single look at the bytes when there is nothing to escape.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from json.encoder import encode_basestring_ascii
from typing import Final

from gateway.telemetry.events import redacted_text

# What stands in JSON for itself: visible ASCII and the space, without quote and backslash.
_PLAIN: Final = bytes(byte for byte in range(0x20, 0x7F) if byte not in b'"\\')

_LINE: Final = (
    b'%b%b","method":"%b","path":"%b",%b,"status_code":%d,"duration_ms":%.3f,'
    b'"client_ip":"%b","bytes_sent":%d,"trace_id":"%b"}\n'
)

NO_TARGET: Final = b'"target_service":null,"target_url":null'


def target_fields(service: str, url: str) -> bytes:
    """The part of a line that names the target. Make it once for each target and keep it."""
    return (
        f'"target_service":{encode_basestring_ascii(service)},'
        f'"target_url":{encode_basestring_ascii(redacted_text(url))}'
    ).encode()


class AccessLog:
    """Writes a line for each request, at level INFO whatever the status."""

    __slots__ = ("_clock", "_head", "_millisecond", "_write")

    def __init__(
        self, write: Callable[[bytes], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._write = write
        self._clock = clock
        self._millisecond = -1
        self._head = b""

    def record(
        self,
        request_id: bytes,
        method: bytes,
        path: bytes,
        target: bytes,
        status: int,
        seconds: float,
        client_ip: str,
        bytes_sent: int,
        trace_id: bytes,
    ) -> None:
        """Logs one request.

        `request_id` and `trace_id` are the checked ones; method, path (as the client sent it,
        without its query) and client address may hold anything. `target` comes from
        `target_fields` or is `NO_TARGET`.
        """
        now = self._clock()
        if int(now * 1000) != self._millisecond:
            self._tick(now)
        client = client_ip.encode()
        if (method + path + client).translate(None, _PLAIN):
            method, path, client = _escaped(method), _escaped(path), _escaped(client)
        self._write(
            _LINE
            % (
                self._head,
                request_id,
                method,
                path,
                target,
                status,
                seconds * 1000,
                client,
                bytes_sent,
                trace_id,
            )
        )

    def _tick(self, now: float) -> None:
        self._millisecond = int(now * 1000)
        seconds, milliseconds = divmod(self._millisecond, 1000)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        self._head = (
            f'{{"timestamp":"{stamp}.{milliseconds:03d}Z","level":"INFO",'
            '"event":"request","request_id":"'
        ).encode()


def _escaped(value: bytes) -> bytes:
    """The inside of a JSON string. Bytes beyond ASCII become the code points of their numbers."""
    return encode_basestring_ascii(value.decode("latin-1"))[1:-1].encode()
