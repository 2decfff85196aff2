"""Jobs in Redis: a hash each, which expires.

| key | holds |
|---|---|
| `gateway:job:{id}` | a hash: the fields of `gateway.jobs.job.Job` |
| `gateway:job-key:{caller}:{key}` | the id of the job that this caller asked for under that key |
| `gateway:job-history:{caller}` | a sorted set of `{time} {id}` of those that are over |
| `gateway:job-explained:{symbol}` | the id of the newest explanation |
| `gateway:job-took:{kind}` | a list of what the last ones took, in ms |
| `gateway:job-last` | a sorted set of ids, by when their last attempt has failed |
| `gateway:job-ended` | a list of `{kind} {status} {ms}` that nobody has counted yet |

Each change is one script, so that nobody sees or leaves half of one. A worker in another language
does with `EVAL` what `BEGIN`, `ALIVE`, `PROGRESS` and `END` do here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import time
from typing import Any, Final, Protocol

from gateway.jobs.job import BEFORE, OVER, QUEUED, RECENT, RUNNING, Ended, Job, Outcome
from gateway.stores.scripts import Script

PREFIX: Final = b"gateway:job:"
KEY: Final = b"gateway:job-key:"
HISTORY: Final = b"gateway:job-history:"
EXPLAINED: Final = b"gateway:job-explained:"
TOOK: Final = b"gateway:job-took:"
LAST: Final = b"gateway:job-last"
ENDED: Final = b"gateway:job-ended"
AT_ONCE: Final = 100
UNCOUNTED: Final = 10_000  # that wait to be counted: where nobody counts, the oldest are let go
TOOK_KEPT: Final = 86_400_000  # ms
BEGUN: Final = 3_600_000
"""ms for which a job is kept at least, once it was begun."""

_WAITS: Final = ",".join(BEFORE[RUNNING])

ADD: Final = Script("""
if KEYS[2] ~= '' then
  local known = redis.call('GET', KEYS[2])
  if known and redis.call('EXISTS', ARGV[1] .. known) == 1 then
    return known
  end
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
end
redis.call('HSET', KEYS[1], 'reserved', KEYS[2], unpack(ARGV, 4))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return ARGV[2]
""")

# Those that change a job begin with the statuses in which they may, and end with how long it is
# kept from then on, together with what its caller's key says.
_GUARD: Final = """
local status = redis.call('HGET', KEYS[1], 'status')
if not status or not string.find(',' .. ARGV[1] .. ',', ',' .. status .. ',', 1, true) then
  return 0
end
local function keep(ms)
  redis.call('PEXPIRE', KEYS[1], ms)
  local key = redis.call('HGET', KEYS[1], 'reserved')
  if key and key ~= '' then
    redis.call('PEXPIRE', key, ms)
  end
end
"""

QUEUE: Final = Script(
    _GUARD
    + """
redis.call('HSET', KEYS[1], 'status', 'queued')
keep(ARGV[2])
return 1
"""
)

BEGIN: Final = Script(
    _GUARD
    + """
redis.call('HSET', KEYS[1], 'status', 'running', 'attempt', ARGV[2], 'started_at', ARGV[3],
  'progress', 0, 'message', '')
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then
  keep(ARGV[4])
end
if ARGV[6] ~= '0' then
  redis.call('ZADD', KEYS[2], ARGV[6], ARGV[5])
end
return redis.call('HGETALL', KEYS[1])
"""
)

ALIVE: Final = Script(
    _GUARD
    + """
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[2])
return 1
"""
)

PROGRESS: Final = Script(
    _GUARD
    + """
redis.call('HSET', KEYS[1], 'progress', ARGV[2], 'message', ARGV[3])
return 1
"""
)

# KEYS: the job, the last attempts. ARGV: statuses, status, result, reason, now, keep, what to trim
# the history by, how many durations, how long these, how many uncounted; then the prefixes.
END: Final = Script(
    _GUARD
    + """
local name = string.sub(KEYS[1], #ARGV[11] + 1)
local fields = redis.call('HMGET', KEYS[1], 'kind', 'caller', 'symbol', 'created_at')
local kind, caller, symbol, took = fields[1], fields[2], fields[3], ARGV[5] - fields[4]
redis.call('HSET', KEYS[1], 'status', ARGV[2], 'result', ARGV[3], 'reason', ARGV[4],
  'finished_at', ARGV[5], 'message', '')
keep(ARGV[6])
redis.call('ZREM', KEYS[2], name)
local history = ARGV[12] .. caller
redis.call('ZADD', history, 0, string.format('%016.0f %s', ARGV[5], name))
redis.call('ZREMRANGEBYLEX', history, '-', '(' .. ARGV[7])
if redis.call('PTTL', history) < tonumber(ARGV[6]) then
  redis.call('PEXPIRE', history, ARGV[6])
end
if ARGV[2] == 'done' then
  redis.call('HSET', KEYS[1], 'progress', 100)
  redis.call('LPUSH', ARGV[14] .. kind, string.format('%.0f', took))
  redis.call('LTRIM', ARGV[14] .. kind, 0, ARGV[8] - 1)
  redis.call('PEXPIRE', ARGV[14] .. kind, ARGV[9])
  if kind == 'explanation' then
    redis.call('SET', ARGV[13] .. symbol, name, 'PX', ARGV[6])
  end
end
redis.call('LPUSH', ARGV[15], string.format('%s %s %.0f', kind, ARGV[2], took))
redis.call('LTRIM', ARGV[15], 0, ARGV[10] - 1)
return 1
"""
)

FIND: Final = Script("""
local found = {}
for i, key in ipairs(KEYS) do
  found[i] = redis.call('HGETALL', key)
end
return found
""")

PAGE: Final = Script("""
return redis.call('ZREVRANGEBYLEX', KEYS[1], ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])
""")

DURATIONS: Final = Script("return redis.call('LRANGE', KEYS[1], 0, ARGV[1] - 1)")

OVERDUE: Final = Script("""
local found = {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])) do
  if redis.call('EXISTS', ARGV[1] .. name) == 1 then
    found[#found + 1] = name
  else
    redis.call('ZREM', KEYS[1], name)
  end
end
return found
""")

TAKE_ENDED: Final = Script("""
local found = redis.call('LRANGE', KEYS[1], -ARGV[1], -1)
redis.call('LTRIM', KEYS[1], 0, -ARGV[1] - 1)
return found
""")


class Server(Protocol):
    """What is asked of Redis. Raises StoreDown."""

    async def run(
        self, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes | str | int] = ()
    ) -> Any: ...
    async def get(self, key: bytes) -> bytes | None: ...


class RedisJobs:
    """A `gateway.jobs.job.Jobs`."""

    def __init__(self, server: Server, now: Callable[[], float] = time) -> None:
        self._server = server
        self._clock = now

    # ---------------------------------------------------------------------------------- intake

    async def add(self, job: Job, keep: float) -> Job:
        fields: list[str | int] = []
        for name in Job.__slots__:
            value = getattr(job, name)
            if value is not None:
                fields += [name, value]
        key = b"" if job.key is None else KEY + f"{job.caller}:{job.key}".encode()
        arguments = (PREFIX, job.id, _ms(keep), *fields)
        name = (await self._server.run(ADD, [_of(job.id), key], arguments)).decode()
        if name == job.id:
            return job
        found = await self.find([name])
        return found.get(name, job)

    async def queued(self, name: str, keep: float) -> None:
        await self._server.run(QUEUE, [_of(name)], [",".join(BEFORE[QUEUED]), _ms(keep)])

    async def find(self, names: Sequence[str]) -> Mapping[str, Job]:
        if not names:
            return {}
        rows = await self._server.run(FIND, [_of(name) for name in names])
        return {job.id: job for row in rows if (job := _job(row)) is not None}

    async def explained(self, symbol: str) -> Job | None:
        name = await self._server.get(EXPLAINED + symbol.encode())
        if name is None:
            return None
        return (await self.find([name.decode()])).get(name.decode())

    async def history(self, caller: str, before: tuple[int, str] | None, limit: int) -> list[Job]:
        found: list[Job] = []
        highest = b"+" if before is None else b"(" + _entry(*before)
        while len(found) < limit:
            page: list[bytes] = await self._server.run(
                PAGE, [HISTORY + caller.encode()], [highest, b"-", AT_ONCE]
            )
            names = [entry.partition(b" ")[2].decode() for entry in page]
            jobs = await self.find(names)  # what has expired is in the list for a while
            found += [jobs[name] for name in names if name in jobs]
            if len(page) < AT_ONCE:
                break
            highest = b"(" + page[-1]
        return found[:limit]

    # ------------------------------------------------------------------------------------ desk

    async def begin(self, name: str, attempt: int, now: int, fails_at: int = 0) -> Job | None:
        told = (_WAITS, attempt, now, BEGUN, name, fails_at)
        return _job(await self._server.run(BEGIN, [_of(name), LAST], told))

    async def alive(self, name: str, fails_at: int) -> None:
        await self._server.run(ALIVE, [_of(name), LAST], (RUNNING, name, fails_at))

    async def progress(self, name: str, percent: int, message: str) -> bool:
        return bool(await self._server.run(PROGRESS, [_of(name)], [RUNNING, percent, message]))

    async def end(self, name: str, outcome: Outcome, now: int, keep: float) -> bool:
        oldest = _entry(round((self._clock() - keep) * 1000), "")
        told = (outcome.status, outcome.result, outcome.reason, now, _ms(keep), oldest)
        bounds = (RECENT, TOOK_KEPT, UNCOUNTED)
        names = (PREFIX, HISTORY, EXPLAINED, TOOK, ENDED)
        waits = ",".join(BEFORE[outcome.status])
        return bool(await self._server.run(END, [_of(name), LAST], (waits, *told, *bounds, *names)))

    # ----------------------------------------------------------------------------------- tally

    async def recent(self, kind: str) -> list[int]:
        found = await self._server.run(DURATIONS, [TOOK + kind.encode()], [RECENT])
        return [int(took) for took in found]

    async def overdue(self, now: int) -> list[str]:
        found = await self._server.run(OVERDUE, [LAST], (PREFIX, now, AT_ONCE))
        return [name.decode() for name in found]

    async def uncounted(self) -> list[Ended]:
        found = await self._server.run(TAKE_ENDED, [ENDED], [AT_ONCE])
        parts = [entry.decode().split(" ") for entry in found]
        return [Ended(kind, status, int(took)) for kind, status, took in parts if status in OVER]


def _of(name: str) -> bytes:
    return PREFIX + name.encode()


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _entry(when: int, name: str) -> bytes:
    """Sorted as texts these are sorted by time: 16 digits last for 300,000 years."""
    return f"{when:016} {name}".encode()


def _job(row: Sequence[bytes] | int) -> Job | None:
    """Of a hash, names and values in turn; None for none at all."""
    if not row or isinstance(row, int):
        return None
    texts = [part.decode() for part in row]
    fields: dict[str, Any] = dict(zip(texts[::2], texts[1::2], strict=True))
    whole = {name: int(fields.get(name, 0)) for name in NUMBERS}
    return Job(**{name: fields[name] for name in Job.__slots__ if name in fields} | whole)


NUMBERS: Final = ("progress", "attempt", "created_at", "started_at", "finished_at")
