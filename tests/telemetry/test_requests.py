"""What is counted of each request."""

from __future__ import annotations

import pytest

from gateway.telemetry import memory
from gateway.telemetry.instruments import Registry
from gateway.telemetry.metrics import NO_ROUTE, Metrics
from gateway.telemetry.requests import RouteMetrics


@pytest.fixture
def metrics() -> Metrics:
    regions = memory.allocate(1)
    return Metrics(Registry(regions[0], regions))


def test_finished_request_is_counted_and_timed(metrics):
    RouteMetrics(metrics, "orders").finished(b"GET", 200, 0.02)

    merged = metrics.registry.merged()

    assert merged["gateway_requests_total"] == {("orders", "GET", "200"): [1.0]}
    (durations,) = merged["gateway_request_duration_seconds"].values()
    assert durations[-1] == 0.02


def test_requests_of_a_route_add_up_by_method_and_status(metrics):
    route = RouteMetrics(metrics, NO_ROUTE)
    for method, status in [(b"GET", 404), (b"GET", 404), (b"POST", 404), (b"GET", 400)]:
        route.finished(method, status, 0.001)

    assert metrics.registry.merged()["gateway_requests_total"] == {
        ("__none__", "GET", "404"): [2.0],
        ("__none__", "POST", "404"): [1.0],
        ("__none__", "GET", "400"): [1.0],
    }


def test_thousand_invented_methods_make_one_label(metrics):
    route = RouteMetrics(metrics, "orders")
    for number in range(1000):
        route.finished(b"M%d" % number, 405, 0.001)

    assert metrics.registry.merged()["gateway_requests_total"] == {
        ("orders", "OTHER", "405"): [1000.0]
    }
    assert not route._cells
