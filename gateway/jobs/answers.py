"""What clients are told of jobs: models for the documents, and the bodies themselves."""

from __future__ import annotations

from typing import Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from gateway.jobs.job import FAILED, Job
from gateway.jobs.service import moment

Status = Literal["queued", "running", "done", "failed"]
DEFAULT_PAGE: Final = 20
LARGEST_PAGE: Final = 100


class Accepted(BaseModel):
    """A job that was taken on, or that was before under the same Idempotency-Key."""

    job_id: str
    kind: str
    status: Status
    estimated_time_sec: int = Field(description="as the last ones of this kind took")


class Underway(Accepted):
    """A job that is not over."""

    progress: int = Field(description="percent")
    message: str


class Finished(BaseModel):
    """A job that is over, with what came of it."""

    job_id: str
    kind: str
    status: Status
    progress: int
    created_at: str
    finished_at: str
    result: dict[str, JsonValue]


class Explanation(BaseModel):
    """The newest explanation for a symbol, with whatever else its worker said."""

    model_config = ConfigDict(extra="allow")

    symbol: str
    generated_at: str
    sources: list[JsonValue]


class Past(BaseModel):
    """One line of the history."""

    job_id: str
    kind: str
    status: Status
    created_at: str
    finished_at: str
    reason: str | None = Field(None, description="of one that failed")


class History(BaseModel):
    """The caller's jobs that are over, newest first."""

    jobs: list[Past]
    next_cursor: str | None = Field(description="for the next page; null where there is none")


class HistoryQuery(BaseModel):
    """Which page."""

    cursor: str | None = Field(None, description="`next_cursor` of the page before")
    limit: int = Field(DEFAULT_PAGE, ge=1, le=LARGEST_PAGE)


class Change(BaseModel):
    """The data of one event of a job's progress, with a result or a reason in the last one."""

    job_id: str
    kind: str
    status: Status
    progress: int
    message: str
    result: dict[str, JsonValue] | None = None
    reason: str | None = None


def accepted(job: Job, estimate: int) -> dict[str, Any]:
    return {
        "job_id": job.id,
        "kind": job.kind,
        "status": job.shown_status,
        "estimated_time_sec": estimate,
    }


def underway(job: Job, estimate: int) -> dict[str, Any]:
    return {**accepted(job, estimate), "progress": job.progress, "message": job.message}


def finished(job: Job) -> dict[str, Any]:
    return {
        "job_id": job.id,
        "kind": job.kind,
        "status": job.status,
        "progress": job.progress,
        "created_at": moment(job.created_at),
        "finished_at": moment(job.finished_at),
        "result": orjson.Fragment(job.result),
    }


def explanation(job: Job) -> dict[str, Any]:
    """Where and when is ours to say, the rest its worker's."""
    result: dict[str, Any] = orjson.loads(job.result)
    sources = result.get("sources")
    return {
        **result,
        "symbol": job.symbol,
        "generated_at": moment(job.finished_at),
        "sources": sources if isinstance(sources, list) else [],
    }


def past(job: Job) -> dict[str, Any]:
    return {
        "job_id": job.id,
        "kind": job.kind,
        "status": job.status,
        "created_at": moment(job.created_at),
        "finished_at": moment(job.finished_at),
        "reason": job.reason or None,
    }


def change(job: Job) -> dict[str, Any]:
    told: dict[str, Any] = {
        "job_id": job.id,
        "kind": job.kind,
        "status": job.shown_status,
        "progress": job.progress,
        "message": job.message,
    }
    if job.over:
        failed = job.status == FAILED
        told |= {"reason": job.reason} if failed else {"result": orjson.Fragment(job.result)}
    return told
