"""The answers of /metrics, read by prometheus_client's own parsers."""

from __future__ import annotations

import orjson
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry import memory
from gateway.telemetry.exposition import (
    JSON_TYPE,
    OPENMETRICS_TYPE,
    TEXT_TYPE,
    Exposition,
    chosen_type,
)
from gateway.telemetry.instruments import Registry
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.requests import RouteMetrics

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.fixture
def exposition() -> Exposition:
    """Two workers; each has counted, timed and gauged something."""
    regions = memory.allocate(2)
    workers = [Metrics(Registry(region, regions)) for region in regions[:2]]
    for metrics in workers:
        metrics.build_info.child("1.2.3").set(1)
        metrics.target_up.child("orders", "http://127.0.0.1:8001").set(1)
        metrics.upstream_connections.child("orders", "idle").inc(3)
        RouteMetrics(metrics, "orders").finished(b"GET", 200, 0.02)
        metrics.upstream_errors.child("orders", 'odd "kind"\\\n').inc()
    return Exposition(workers[0].registry)


def samples(families) -> dict:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


async def test_text_passes_the_parser_and_adds_the_workers_up(exposition):
    body, content_type = await exposition.answer(None)

    found = samples(text_string_to_metric_families(body.decode()))

    assert content_type == TEXT_TYPE
    # The parser gives labels in the order of the text, which is the alphabet's.
    assert found["gateway_requests_total", "GET", "orders", "200"] == 2
    assert found["gateway_upstream_connections", "idle", "orders"] == 6
    assert found["gateway_target_up", "http://127.0.0.1:8001", "orders"] == 1
    assert found["gateway_build_info", "1.2.3"] == 1


async def test_histogram_is_cumulative_with_count_and_sum(exposition):
    body, _ = await exposition.answer(None)

    found = samples(text_string_to_metric_families(body.decode()))

    name = "gateway_request_duration_seconds"
    buckets = {key[1:]: value for key, value in found.items() if key[0] == f"{name}_bucket"}
    by_bound = {
        next(label for label in key if label not in {"GET", "orders"}): value
        for key, value in buckets.items()
    }
    assert (by_bound["0.01"], by_bound["0.025"], by_bound["30.0"], by_bound["+Inf"]) == (0, 2, 2, 2)
    assert found[f"{name}_count", "GET", "orders"] == 2
    assert found[f"{name}_sum", "GET", "orders"] == pytest.approx(0.04)


async def test_label_with_quote_backslash_and_line_feed_survives(exposition):
    body, _ = await exposition.answer(None)

    found = samples(text_string_to_metric_families(body.decode()))

    assert found["gateway_upstream_errors_total", 'odd "kind"\\\n', "orders"] == 2


async def test_openmetrics_passes_its_parser(exposition):
    body, content_type = await exposition.answer(PROMETHEUS)

    found = samples(openmetrics.text_string_to_metric_families(body.decode()))

    assert content_type == OPENMETRICS_TYPE
    assert 2 in found.values()


async def test_json_holds_the_same(exposition):
    body, content_type = await exposition.answer("application/json")

    by_name = {metric["name"]: metric for metric in orjson.loads(body)["metrics"]}

    assert content_type == "application/json"
    requests = by_name["gateway_requests_total"]
    assert (requests["type"], requests["help"]) == ("counter", "Requests answered.")
    assert requests["samples"] == [
        {"labels": {"route": "orders", "method": "GET", "status": "200"}, "value": 2.0}
    ]
    (durations,) = by_name["gateway_request_duration_seconds"]["samples"]
    assert durations["count"] == 2
    assert durations["buckets"]["+Inf"] == 2
    assert durations["buckets"]["0.01"] == 0


async def test_nothing_counted_is_an_answer_too():
    regions = memory.allocate(1)
    body, _ = await Exposition(Metrics(Registry(regions[0], regions)).registry).answer(None)

    assert samples(text_string_to_metric_families(body.decode())) == {
        ("gateway_metrics_dropped_total",): 0
    }


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, TEXT_TYPE),
        ("", TEXT_TYPE),
        ("*/*", TEXT_TYPE),
        ("text/html,application/xhtml+xml,*/*;q=0.8", TEXT_TYPE),
        (PROMETHEUS, OPENMETRICS_TYPE),
        ("application/openmetrics-text;version=abc", OPENMETRICS_TYPE),
        ("text/plain;version=0.0.4", TEXT_TYPE),
        ("Application/JSON", JSON_TYPE),
        ("application/json;q=0.1, text/plain;q=0.9", TEXT_TYPE),
        ("application/json, text/plain", JSON_TYPE),
        ("application/json;q=0", TEXT_TYPE),
        ("application/json;q=zero", TEXT_TYPE),
        (";;,,;q=,application/json ; charset=utf-8 ; q=1.0", JSON_TYPE),
    ],
)
def test_accept_header_chooses_the_format(accept, content_type):
    assert chosen_type(accept) == content_type
