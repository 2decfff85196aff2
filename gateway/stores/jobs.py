"""Jobs in either database, which all workers of a host, or all hosts, share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import time
from typing import Any, Final

from gateway.jobs.job import BEFORE, DONE, OVER, QUEUED, RECENT, RUNNING, Ended, Job, Outcome
from gateway.stores import Database

MIGRATION: Final = "jobs"
STEPS: Final = (
    """
    CREATE TABLE gateway_jobs (
        id TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        caller TEXT NOT NULL,
        key TEXT,
        digest TEXT NOT NULL,
        symbol TEXT NOT NULL,
        status TEXT NOT NULL,
        progress BIGINT NOT NULL,
        message TEXT NOT NULL,
        attempt BIGINT NOT NULL,
        result TEXT NOT NULL,
        reason TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        started_at BIGINT NOT NULL,
        finished_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL,
        fails_at BIGINT NOT NULL,
        counted BIGINT NOT NULL,
        UNIQUE (caller, key)
    )
    """,
    "CREATE INDEX gateway_jobs_expiry ON gateway_jobs (expires_at)",
    "CREATE INDEX gateway_jobs_history ON gateway_jobs (caller, finished_at, id)",
    "CREATE INDEX gateway_jobs_recent ON gateway_jobs (kind, status, symbol, finished_at)",
    "CREATE INDEX gateway_jobs_overdue ON gateway_jobs (fails_at) WHERE fails_at > 0",
    "CREATE INDEX gateway_jobs_uncounted ON gateway_jobs (counted) WHERE counted = 0",
)
FIELDS: Final = tuple(Job.__slots__)
COLUMNS: Final = ", ".join(FIELDS)
UNCOUNTED, COUNTED, UNENDED = 0, 1, 2
NEVER: Final = 0
AT_ONCE: Final = 100
ENDED: Final = ", ".join(f"'{status}'" for status in OVER)


class DatabaseJobs:
    """A `gateway.jobs.job.Jobs`. The table is made when it is first needed."""

    def __init__(self, database: Database, now: Callable[[], float] = time) -> None:
        self._opened = database
        self._clock = now
        self._migrated = False

    async def _database(self) -> Database:
        if not self._migrated:
            await self._opened.migrate(MIGRATION, STEPS)
            self._migrated = True
        return self._opened

    def _in(self, seconds: float) -> int:
        return round((self._clock() + seconds) * 1000)

    # ---------------------------------------------------------------------------------- intake

    async def add(self, job: Job, keep: float) -> Job:
        values = [getattr(job, name) for name in FIELDS]
        marks = ", ".join(f"${number}" for number in range(1, len(values) + 4))
        async with (await self._database()).transaction() as change:
            await change.execute("DELETE FROM gateway_jobs WHERE expires_at <= $1", self._in(0))
            added = await change.execute(
                f"INSERT INTO gateway_jobs ({COLUMNS}, expires_at, fails_at, counted) "
                f"VALUES ({marks}) ON CONFLICT DO NOTHING",
                *values,
                self._in(keep),
                NEVER,
                UNENDED,
            )
            if added:
                return job
            rows = await change.fetch(
                f"SELECT {COLUMNS} FROM gateway_jobs WHERE caller = $1 AND key = $2",
                job.caller,
                job.key,
            )
        return _job(rows[0]) if rows else await self.add(job, keep)  # it has expired since

    async def queued(self, name: str, keep: float) -> None:
        await (await self._database()).execute(
            f"UPDATE gateway_jobs SET status = $2, expires_at = $3 "
            f"WHERE id = $1 AND status IN ({_before(QUEUED)})",
            name,
            QUEUED,
            self._in(keep),
        )

    async def find(self, names: Sequence[str]) -> Mapping[str, Job]:
        if not names:
            return {}
        marks = ", ".join(f"${number}" for number in range(2, len(names) + 2))
        rows = await (await self._database()).fetch(
            f"SELECT {COLUMNS} FROM gateway_jobs WHERE expires_at > $1 AND id IN ({marks})",
            self._in(0),
            *names,
        )
        return {row["id"]: _job(row) for row in rows}

    async def explained(self, symbol: str) -> Job | None:
        rows = await (await self._database()).fetch(
            f"SELECT {COLUMNS} FROM gateway_jobs WHERE kind = 'explanation' AND status = 'done' "
            "AND symbol = $1 AND expires_at > $2 ORDER BY finished_at DESC, id DESC LIMIT 1",
            symbol,
            self._in(0),
        )
        return _job(rows[0]) if rows else None

    async def history(self, caller: str, before: tuple[int, str] | None, limit: int) -> list[Job]:
        behind = "" if before is None else "AND (finished_at, id) < ($4, $5) "
        rows = await (await self._database()).fetch(
            f"SELECT {COLUMNS} FROM gateway_jobs WHERE caller = $1 AND expires_at > $2 "
            f"AND status IN ({ENDED}) {behind}ORDER BY finished_at DESC, id DESC LIMIT $3",
            caller,
            self._in(0),
            limit,
            *(before or ()),
        )
        return [_job(row) for row in rows]

    # ------------------------------------------------------------------------------------ desk

    async def begin(self, name: str, attempt: int, now: int, fails_at: int = NEVER) -> Job | None:
        rows = await (await self._database()).fetch(
            "UPDATE gateway_jobs SET status = $2, attempt = $3, progress = 0, message = '', "
            "started_at = $4, fails_at = $7, "
            "expires_at = CASE WHEN expires_at < $5 THEN $5 ELSE expires_at END "
            f"WHERE id = $1 AND expires_at > $6 AND status IN ({_before(RUNNING)}) "
            f"RETURNING {COLUMNS}",
            name,
            RUNNING,
            attempt,
            now,
            self._in(BEGUN),
            self._in(0),
            fails_at,
        )
        return _job(rows[0]) if rows else None

    async def alive(self, name: str, fails_at: int) -> None:
        await (await self._database()).execute(
            "UPDATE gateway_jobs SET fails_at = $2 WHERE id = $1 AND status = 'running'",
            name,
            fails_at,
        )

    async def progress(self, name: str, percent: int, message: str) -> bool:
        return bool(
            await (await self._database()).execute(
                "UPDATE gateway_jobs SET progress = $2, message = $3 "
                "WHERE id = $1 AND status = 'running'",
                name,
                percent,
                message,
            )
        )

    async def end(self, name: str, outcome: Outcome, now: int, keep: float) -> bool:
        return bool(
            await (await self._database()).execute(
                "UPDATE gateway_jobs SET status = $2, result = $3, reason = $4, finished_at = $5, "
                "message = '', fails_at = 0, expires_at = $6, counted = $7, "
                "progress = CASE WHEN $2 = 'done' THEN 100 ELSE progress END "
                f"WHERE id = $1 AND status IN ({_before(outcome.status)})",
                name,
                outcome.status,
                outcome.result,
                outcome.reason,
                now,
                self._in(keep),
                UNCOUNTED,
            )
        )

    # ----------------------------------------------------------------------------------- tally

    async def recent(self, kind: str) -> list[int]:
        rows = await (await self._database()).fetch(
            "SELECT finished_at - created_at AS took FROM gateway_jobs "
            "WHERE kind = $1 AND status = $2 ORDER BY finished_at DESC LIMIT $3",
            kind,
            DONE,
            RECENT,
        )
        return [row["took"] for row in rows]

    async def overdue(self, now: int) -> list[str]:
        rows = await (await self._database()).fetch(
            "SELECT id FROM gateway_jobs WHERE fails_at > 0 AND fails_at <= $1 LIMIT $2",
            now,
            AT_ONCE,
        )
        return [row["id"] for row in rows]

    async def uncounted(self) -> list[Ended]:
        database = await self._database()
        rows = await database.fetch(
            "UPDATE gateway_jobs SET counted = $2 WHERE counted = $1 "
            "RETURNING kind, status, finished_at - created_at AS took",
            UNCOUNTED,
            COUNTED,
        )
        await database.execute("DELETE FROM gateway_jobs WHERE expires_at <= $1", self._in(0))
        return [Ended(row["kind"], row["status"], row["took"]) for row in rows]


BEGUN: Final = 3600.0
"""s for which a job is kept at least, once it was begun."""


def _before(status: str) -> str:
    return ", ".join(f"'{one}'" for one in BEFORE[status])


def _job(row: Mapping[str, Any]) -> Job:
    return Job(**row)
