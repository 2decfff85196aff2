"""The API of jobs put together: state, queue, endpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from time import time
from typing import Any, Final

from aiohttp import web

from gateway.config.apis import Jobs as Settings
from gateway.endpoints.jobs import RESULTS, Handler, JobEndpoints
from gateway.exchange import Exchange
from gateway.jobs import answers, asked
from gateway.jobs.job import Jobs, Queue
from gateway.jobs.service import Service, Times
from gateway.jobs.watching import Watching
from gateway.own import About, Own
from gateway.telemetry.metrics import Metrics

SYMBOL: Final = "^[A-Za-z]{1,5}$"
TAG: Final = "jobs"
PATHS: Final = {"explanation": "/api/explanation/{symbol}"}
WHAT: Final = {
    "explanation": "an explanation of a symbol's prediction",
    "generate": "something to be generated from a prompt",
    "detect_inventory": "an inventory of what an image shows",
}


class Jobbing:
    """A `gateway.apis.Service`."""

    def __init__(
        self,
        settings: Settings,
        jobs: Jobs,
        queue: Queue,
        *,
        exchange_of: Callable[[web.Request], Exchange],
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._service = Service(
            jobs,
            queue,
            Times(settings.keep, settings.patience, settings.attempts),
            now=time,
            counted=lambda kind, result: metrics.jobs.child(kind, result).inc(),
            took=lambda kind, seconds: metrics.job_duration.child(kind).observe(seconds),
        )
        self._watching = Watching(jobs, settings.watchers)
        self._models = asked.models(settings.prompt, settings.image)
        self._endpoints = JobEndpoints(
            self._service,
            self._watching,
            models=self._models,
            limits=asked.body_limits(settings.prompt, settings.image),
            exchange_of=exchange_of,
        )
        self._service.open()

    def own(self) -> Sequence[Own]:
        return [*self._by_kind(), *self._of_all()]

    def _by_kind(self) -> Iterator[Own]:
        endpoints = self._endpoints
        for kind in self._settings.kinds:
            yield self._own(
                f"{kind}_take",
                "POST",
                PATHS.get(kind, RESULTS[kind]),
                endpoints.take(kind),
                About(
                    f"Ask for {WHAT[kind]}; with Idempotency-Key, for the same job again",
                    TAG,
                    {202: answers.Accepted},
                    body=self._models[kind],
                    errors=(400, 413, 422, 503),
                    pattern=SYMBOL,
                    fields={"Idempotency-Key": "the same job again for the same key"},
                ),
            )
            yield self._own(
                f"{kind}_job",
                "GET",
                RESULTS[kind] + "/{job_id}",
                endpoints.tell(kind),
                About(
                    "What came of a job, or how far it is",
                    TAG,
                    {200: answers.Finished, 202: answers.Underway},
                    errors=(404, 500, 503),
                ),
            )
        if "explanation" in self._settings.kinds:
            yield self._own(
                "explanation",
                "GET",
                PATHS["explanation"],
                endpoints.explanation,
                About(
                    "The newest explanation for a symbol",
                    TAG,
                    {200: answers.Explanation},
                    errors=(400, 404, 503),
                    pattern=SYMBOL,
                ),
            )

    def _of_all(self) -> Iterator[Own]:
        yield self._own(
            "job_progress",
            "GET",
            "/progress/{job_id}",
            self._endpoints.progress,
            About(
                "A job's progress, as it comes, until it is over",
                TAG,
                {200: answers.Change, 204: None},
                errors=(404, 503),
                media="text/event-stream",
            ),
        )
        yield self._own(
            "job_history",
            "GET",
            "/history",
            self._endpoints.history,
            About(
                "The caller's jobs that are over, newest first",
                TAG,
                {200: answers.History},
                query=answers.HistoryQuery,
                errors=(400, 503),
            ),
        )

    def _own(self, name: str, method: str, path: str, handler: Handler, about: About) -> Own:
        settings = self._settings
        guarded: dict[str, Any] = {
            "scopes": frozenset(settings.scopes),
            "way": settings.way,
            "limit": settings.rate_limit,
        }
        return Own(f"gateway.{name}", method, path, handler, about=about, **guarded)

    async def close(self) -> None:
        await self._watching.close()
        await self._service.close()
