"""How a store's server is doing: told once when it is lost and once when it is back."""

from __future__ import annotations

from gateway.telemetry.events import EventLog
from gateway.telemetry.metrics import Metrics


class Standing:
    """The `gateway.stores.Watch` of one server. Every failed call is counted."""

    __slots__ = ("_errors", "_log", "_lost", "_name")

    def __init__(self, name: str, metrics: Metrics, log: EventLog) -> None:
        self._name = name
        self._log = log
        self._lost = False
        self._errors = metrics.store_errors.child(name)

    def worked(self) -> None:
        if self._lost:
            self._lost = False
            self._log.info("store_back", store=self._name)

    def failed(self, error: BaseException) -> None:
        self._errors.inc()
        if not self._lost:
            self._lost = True
            # Its type only: messages of client libraries hold addresses, and worse.
            self._log.warning("store_lost", store=self._name, problem=type(error).__name__)
