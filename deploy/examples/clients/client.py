"""A client of the gateway in Python, with nothing but the standard library.

    GATEWAY_KEY=gwk_… python client.py http://127.0.0.1:8000 AAPL MSFT

What may be asked again is asked again: a GET whose connection was lost, and anything that was
refused for now (429, 503), after as long as the gateway says. All else is for the caller, with the
id by which the gateway's log has it.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

TIMEOUT = 10.0  # s, for each attempt
ATTEMPTS = 4
LONGEST = 30.0  # s between two attempts; who is told to wait longer is told so
AGAIN = (429, 503)


class GatewayError(Exception):
    """An answer that is an error. `status` is 0 where there was no answer at all."""

    def __init__(self, status: int, body: Mapping[str, Any], retry_after: float | None) -> None:
        self.status = status
        self.code = str(body.get("error", ""))  # for programs: rate_limited, not_found, …
        self.message = str(body.get("message", ""))  # for people
        self.request_id = str(body.get("request_id", ""))
        self.details = body.get("details", [])  # with 422: in, name, path and message of each flaw
        self.retry_after = retry_after  # s, if the gateway says
        super().__init__(f"{status} {self.code}: {self.message} (request {self.request_id})")


class Gateway:
    """A gateway, and who asks it: by `key`, by `token`, or by neither."""

    def __init__(self, url: str, *, key: str = "", token: str = "") -> None:
        self._url = url.rstrip("/")
        self._fields = {"Accept": "application/json"}
        if key:
            self._fields["X-API-Key"] = key
        if token:
            self._fields["Authorization"] = f"Bearer {token}"

    def get(self, path: str, **query: object) -> Any:
        """What a GET gives. Raises GatewayError."""
        return self.ask("GET", path + (f"?{urlencode(query)}" if query else ""))

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """What a request gives; its body is sent as JSON. Raises GatewayError."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._ask(method, path, body)
            except GatewayError as error:
                lost = error.status == 0
                safe = error.status in AGAIN or (lost and method in ("GET", "HEAD"))
                # Not all clients at once: each waits for a random time, longer with each attempt.
                pause = random.uniform(0, 0.25 * 2**attempt)
                if error.retry_after is not None:
                    pause += error.retry_after
                if not safe or attempt == ATTEMPTS or pause > LONGEST:
                    raise
                time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _ask(self, method: str, path: str, body: object) -> Any:
        data = None if body is None else json.dumps(body).encode()
        fields = (
            self._fields if data is None else {**self._fields, "Content-Type": "application/json"}
        )
        request = Request(self._url + path, data, fields, method=method)
        try:
            with urlopen(request, timeout=TIMEOUT) as answer:
                content = answer.read()
        except HTTPError as error:
            raise refused(error) from None
        except (URLError, HTTPException, OSError) as error:
            raise GatewayError(0, {"error": "no_answer", "message": str(error)}, None) from error
        return json.loads(content) if content else None


def refused(error: HTTPError) -> GatewayError:
    """An answer that is an error: the gateway's own, or a service's, which may be no JSON."""
    try:
        with error:
            body = json.load(error)
    except (ValueError, OSError, HTTPException):
        body = None
    if not isinstance(body, dict):
        body = {"message": error.reason}
    seconds = error.headers.get("Retry-After", "")
    body.setdefault("request_id", error.headers.get("X-Request-ID", ""))
    return GatewayError(error.code, body, float(seconds) if seconds.isdecimal() else None)


def main() -> int:
    url, *symbols = sys.argv[1:]
    gateway = Gateway(
        url, key=os.environ.get("GATEWAY_KEY", ""), token=os.environ.get("GATEWAY_TOKEN", "")
    )
    try:
        found = gateway.get("/api/predictions", symbols=",".join(symbols))
    except GatewayError as error:
        print(error, file=sys.stderr)
        for flaw in error.details:
            print(f"  {flaw['in']} {flaw['path']}: {flaw['message']}", file=sys.stderr)
        return 1
    for symbol, prediction in found["predictions"].items():
        print(symbol, prediction["predicted_price"])
    for symbol in found["missing"]:
        print(symbol, "is not known")
    return 0


if __name__ == "__main__":
    sys.exit(main())
