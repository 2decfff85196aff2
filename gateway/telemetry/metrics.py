"""Every metric of the gateway, and the tables that keep clients out of its labels."""

from __future__ import annotations

from typing import Final

from gateway.telemetry.instruments import Counter, Gauge, Histogram, Registry

NO_ROUTE: Final = "__none__"
"""The `route` of a request that matched none."""

SECONDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Bounds from what a healthy hop takes to the default timeout; 0.1 is a common objective."""

JOB_SECONDS: Final = (
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
)  # fmt: skip
"""Bounds from what a worker answers at once to what it may take at most."""

# aiohttp's parser hands methods out as text, ours as bytes: both find their label.
_METHODS: Final[dict[bytes | str, str]] = {
    spelling: method
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
    for spelling in (method, method.encode())
}


def method_label(method: bytes | str) -> str:
    """The method when it is a standard one (RFC 9110, RFC 5789), else `OTHER`."""
    return _METHODS.get(method, "OTHER")


class Metrics:
    """The table. An attribute is a metric; its `child(...)` takes the labels in this order."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

        self.requests = Counter(
            registry, "gateway_requests_total",
            "Requests answered.",
            "route", "method", "status",
        )  # fmt: skip
        self.request_duration = Histogram(
            registry, "gateway_request_duration_seconds",
            "From the request's head to the answer's last byte.",
            "route", "method", buckets=SECONDS,
        )  # fmt: skip

        self.upstream_duration = Histogram(
            registry, "gateway_upstream_duration_seconds",
            "From an attempt's start to the head of the upstream's answer.",
            "upstream", buckets=SECONDS,
        )  # fmt: skip
        self.connect_duration = Histogram(
            registry, "gateway_upstream_connect_seconds",
            "Opening a connection to a target: name, TCP and TLS.",
            "upstream", buckets=SECONDS,
        )  # fmt: skip
        self.upstream_errors = Counter(
            registry, "gateway_upstream_errors_total",
            "Attempts that failed.",
            "upstream", "kind",
        )  # fmt: skip
        self.upstream_connections = Gauge(
            registry, "gateway_upstream_connections",
            "Connections to the upstream.",
            "upstream", "state",
        )  # fmt: skip
        self.target_up = Gauge(
            registry, "gateway_target_up",
            "1 when every worker takes the target for healthy, else 0.",
            "upstream", "target", merge="min",
        )  # fmt: skip
        self.retries = Counter(
            registry, "gateway_retries_total",
            "Attempts after the first.",
            "upstream",
        )  # fmt: skip

        self.auth_accepted = Counter(
            registry, "gateway_auth_accepted_total",
            "Requests let in, by the kind of what they brought.",
            "kind",
        )  # fmt: skip
        self.auth_failures = Counter(
            registry, "gateway_auth_failures_total",
            "Credentials that were refused, or missing.",
            "reason",
        )  # fmt: skip
        self.rate_limited = Counter(
            registry, "gateway_rate_limited_total",
            "Requests beyond their limit, refused or only observed.",
            "route", "tier",
        )  # fmt: skip
        self.limits_fallback = Counter(
            registry, "gateway_rate_limit_fallback_total",
            "Requests that this host counted by itself because Redis was lost.",
        )  # fmt: skip
        self.limits_displaced = Counter(
            registry, "gateway_rate_limit_displaced_total",
            "Keys forgotten before their time because the host's counters were full.",
        )  # fmt: skip
        self.store_errors = Counter(
            registry, "gateway_store_errors_total",
            "Calls to a store's server that failed.",
            "store",
        )  # fmt: skip

        self.cache_requests = Counter(
            registry, "gateway_cache_requests_total",
            "Requests of cached routes, by what the cache did for them.",
            "route", "result",
        )  # fmt: skip

        self.predictions = Counter(
            registry, "gateway_predictions_total",
            "Predictions asked for: cache, database, missing, unavailable.",
            "result",
        )  # fmt: skip
        self.prediction_queries = Counter(
            registry, "gateway_prediction_queries_total",
            "Questions to the database for what the cache did not have.",
        )  # fmt: skip

        self.compression_saved = Counter(
            registry, "gateway_compression_saved_bytes_total",
            "Bytes of answers that compression kept from being sent.",
            "route",
        )  # fmt: skip

        self.websocket_connections = Gauge(
            registry, "gateway_websocket_connections",
            "WebSockets open.",
            "route",
        )  # fmt: skip
        self.websocket_messages = Counter(
            registry, "gateway_websocket_messages_total",
            "WebSocket messages passed on.",
            "route", "direction",
        )  # fmt: skip
        self.websocket_dropped = Counter(
            registry, "gateway_websocket_dropped_total",
            "WebSocket messages dropped for a client that was too slow.",
            "route",
        )  # fmt: skip

        self.realtime_events = Counter(
            registry, "gateway_realtime_events_total",
            "Events from the bus: accepted, overrun, or why they are none.",
            "result",
        )  # fmt: skip
        self.realtime_subscriptions = Gauge(
            registry, "gateway_realtime_subscriptions",
            "Subscriptions of live connections, one for each symbol of each.",
        )  # fmt: skip
        self.realtime_queued = Gauge(
            registry, "gateway_realtime_queued",
            "Updates that wait for a client.",
        )  # fmt: skip

        self.jobs = Counter(
            registry, "gateway_jobs_total",
            "Jobs: accepted, repeated, full (there was no room), done, failed.",
            "kind", "result",
        )  # fmt: skip
        self.job_duration = Histogram(
            registry, "gateway_job_duration_seconds",
            "From when a job was accepted to when it was done.",
            "kind", buckets=JOB_SECONDS,
        )  # fmt: skip

        self.open_connections = Gauge(
            registry, "gateway_open_connections",
            "Connections of clients.",
        )  # fmt: skip
        self.accept_paused = Counter(
            registry, "gateway_accept_paused_total",
            "Times that accepting paused because file descriptors or memory had run out.",
        )  # fmt: skip
        self.event_loop_lag = Gauge(
            registry, "gateway_event_loop_lag_seconds",
            "How late the last tick of a second was, in the worst worker.",
            merge="max",
        )  # fmt: skip
        self.worker_exits = Counter(
            registry, "gateway_worker_exits_total",
            "Workers that ended unasked and were replaced.",
            "reason",
        )  # fmt: skip
        self.reloads = Counter(
            registry, "gateway_config_reloads_total",
            "Reloads of the configuration, counted once for all workers.",
            "result",
        )  # fmt: skip
        self.log_lines_dropped = Counter(
            registry, "gateway_log_lines_dropped_total",
            "Log lines dropped because standard output was blocked, full or closed.",
        )  # fmt: skip
        self.build_info = Gauge(
            registry, "gateway_build_info",
            "1, with the version as a label.",
            "version", merge="max",
        )  # fmt: skip
