"""The prediction that is asked for: where it lies before the gateway starts, and how it is told."""

from __future__ import annotations

import json
import socket
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

SYMBOL: Final = "AAPL"
AGE: Final = 200_000
"""s: its digits stay as many for as long as any run lasts."""

FIELDS: Final = {"confidence": 0.87, "model_version": "2026.3", "horizon_days": 5}
PRICE: Final = 185.42
TIMEOUT: Final = 5.0
_TIME: Final = "2026-01-01T00:00:00Z"


def answer() -> str:
    """As the gateway tells it, but for the time."""
    told = {"symbol": SYMBOL, "predicted_price": PRICE, **FIELDS, "predicted_at": _TIME}
    fresh = {"age_seconds": AGE + 0.123, "source": "cache", "stale": True}
    return json.dumps({**told, "freshness": fresh}, separators=(",", ":"))


def _moment() -> str:
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=AGE)
    return at.isoformat().replace("+00:00", "Z")


def write_file(path: Path) -> None:
    """A SQLite database with the prediction in its table."""
    names = ", ".join(FIELDS)
    with sqlite3.connect(path) as database:
        columns = f"ticker, predicted_price, {names}, predicted_at"
        database.execute(f"CREATE TABLE latest_predictions ({columns})")
        values = (SYMBOL, PRICE, *FIELDS.values(), _moment())
        database.execute("INSERT INTO latest_predictions VALUES (?, ?, ?, ?, ?, ?)", values)
    database.close()


def tell_redis(port: int) -> None:
    """Write it there as a model's service would. Raises OSError."""
    value = json.dumps({"predicted_price": PRICE, **FIELDS, "predicted_at": _moment()})
    words = (b"SET", b"pred:" + SYMBOL.encode(), value.encode())
    command = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
        connection.sendall(command)
        if connection.recv(64) != b"+OK\r\n":
            raise OSError("Redis did not take the prediction")
