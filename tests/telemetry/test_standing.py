from __future__ import annotations

import orjson

from gateway.telemetry.events import EventLog
from gateway.telemetry.instruments import Registry
from gateway.telemetry.memory import allocate
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.standing import Standing


def test_loss_and_return_are_told_once_and_every_failure_is_counted() -> None:
    lines: list[bytes] = []
    regions = allocate(1)
    metrics = Metrics(Registry(regions[0], regions))
    standing = Standing("redis", metrics, EventLog(lines.append, "INFO"))
    standing.worked()
    for _ in range(3):
        standing.failed(ConnectionError("secret at 10.0.0.1"))
    standing.worked()
    standing.worked()
    standing.failed(TimeoutError())
    told = [orjson.loads(line) for line in lines]
    assert [(line["event"], line["store"]) for line in told] == [
        ("store_lost", "redis"),
        ("store_back", "redis"),
        ("store_lost", "redis"),
    ]
    assert told[0]["problem"] == "ConnectionError"
    assert b"secret" not in b"".join(lines)
    merged = metrics.registry.merged()["gateway_store_errors_total"]
    assert merged == {("redis",): [4.0]}
