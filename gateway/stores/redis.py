"""Redis, or what speaks its protocol, through `redis.asyncio`: its only importer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from itertools import repeat
from typing import Any, Final, cast

import redis.asyncio as client
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from gateway import limits
from gateway.errors import StoreDown
from gateway.stores import Decision, Unwatched, Watch
from gateway.stores.scripts import Script
from gateway.units import Rate

CONNECTIONS: Final = 100
"""At most so many; who finds none free waits, within its own time-out."""

TIMEOUT: Final = 2.0
"""s for a whole call: a free connection, opening it if need be, question and answer."""

LIMIT_TIMEOUT: Final = 0.5
"""s for a limiter's call: a request waits for it, and the host can count instead."""

HEALTH_CHECK: Final = 15.0
"""s of idleness after which a connection is asked whether it lives before it is used."""

SCAN: Final = 500  # keys looked at by one step of a scan

Argument = bytes | str | int


class Redis:
    """Connects when it is first asked something, and again after a loss.

    Nothing is tried twice here: whether that is safe only the caller knows. Values are bytes.
    """

    name = "redis"

    def __init__(self, url: str, watch: Watch | None = None) -> None:
        pool = client.BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            socket_timeout=None,  # each call has its own
            health_check_interval=HEALTH_CHECK,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        self._client = client.Redis.from_pool(pool)
        self._watch = watch or Unwatched()

    async def ping(self) -> None:
        """Raises StoreDown, as everything here does."""
        await self._call(self._client.ping())

    async def run(
        self,
        script: Script,
        keys: Sequence[bytes],
        arguments: Sequence[Argument] = (),
        timeout: float = TIMEOUT,
    ) -> Any:
        """What the script returns: one round trip, but for the first time."""
        return await self._call(self._run(script, (*keys, *arguments), len(keys)), timeout)

    async def _run(self, script: Script, values: tuple[Argument, ...], keys: int) -> Any:
        try:
            return await self._client.evalsha(script.sha, keys, *values)
        except NoScriptError:
            return await self._client.eval(script.text, keys, *values)

    async def get(self, key: bytes) -> bytes | None:
        return cast("bytes | None", await self._call(self._client.get(key)))

    async def mget(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values in the order of the keys, of which there is at least one."""
        return cast("list[bytes | None]", await self._call(self._client.mget(list(keys))))

    async def values(
        self, keys: Sequence[bytes], timeout: float = TIMEOUT
    ) -> list[bytes | Mapping[bytes, bytes] | None]:
        """What the keys hold, strings and hashes: a second round trip for those without a string.

        What is neither counts as nothing. There is at least one key.
        """
        return await self._call(self._values(list(keys)), timeout)  # type: ignore[no-any-return]

    async def _values(self, keys: list[bytes]) -> list[bytes | Mapping[bytes, bytes] | None]:
        found: dict[bytes, Any] = dict(zip(keys, await self._client.mget(keys), strict=True))
        rest = [key for key, value in found.items() if value is None]
        if rest:
            pipe = self._client.pipeline(transaction=False)
            for key in rest:
                pipe.hgetall(key)
            hashes = await pipe.execute(raise_on_error=False)
            found.update((k, h) for k, h in zip(rest, hashes, strict=True) if isinstance(h, dict))
            # No hash, and there: a string that was written since, or of another kind.
            rest = [k for k, h in zip(rest, hashes, strict=True) if isinstance(h, ResponseError)]
        if rest:
            found.update(zip(rest, await self._client.mget(rest), strict=True))
        return [found[key] or None for key in keys]

    async def set_new(
        self, values: Mapping[bytes, bytes], seconds: float, timeout: float = TIMEOUT
    ) -> None:
        """Set those keys that hold nothing, for so long, at least a millisecond."""
        pipe = self._client.pipeline(transaction=False)
        for key, value in values.items():
            pipe.set(key, value, px=max(1, round(seconds * 1000)), nx=True)
        await self._call(pipe.execute(), timeout)

    async def set(self, key: bytes, value: bytes, seconds: float | None = None) -> None:
        """`seconds` is how long it is kept, at least a millisecond; for ever if left out."""
        kept = None if seconds is None else max(1, round(seconds * 1000))
        await self._call(self._client.set(key, value, px=kept))

    async def delete(self, *keys: bytes) -> int:
        """How many of them there were."""
        return int(await self._call(self._client.delete(*keys)) if keys else 0)

    async def scan(self, pattern: bytes) -> AsyncIterator[bytes]:
        """The keys that match the glob, each at least once; the server is not held up."""
        cursor = 0
        while True:
            step = self._client.scan(cursor, match=pattern, count=SCAN)
            cursor, keys = await self._call(step)
            for key in keys:
                yield key
            if not cursor:
                return

    async def set_if(
        self, key: bytes, value: bytes, seconds: float, guard: bytes, count: bytes
    ) -> bool:
        """Set a value unless the guard, a counter, says something else by now: it tells."""
        kept = max(1, round(seconds * 1000))
        return bool(await self.run(SET_IF, (key, guard), (value, kept, count)))

    async def count_up(self, keys: Sequence[bytes], seconds: int) -> list[int]:
        """Each of these counters by one; one that is left alone for so long is forgotten."""
        return cast("list[int]", await self.run(COUNT_UP, keys, (seconds,)))

    async def append(self, stream: bytes, values: Sequence[bytes], limit: int) -> None:
        """Add entries to a stream, which keeps about `limit` of them."""
        pipe = self._client.pipeline(transaction=False)
        for value in values:
            pipe.xadd(stream, {b"v": value}, maxlen=limit, approximate=True)
        await self._call(pipe.execute())

    async def entries(self, stream: bytes, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Ids and values behind an id, oldest first, `limit` of them at most."""
        found = await self._call(self._client.xrange(stream, min=b"(" + after, count=limit))
        return [(identity, fields[b"v"]) for identity, fields in found]

    async def last_entry(self, stream: bytes) -> bytes:
        """A stream's newest id; `0-0` where it has none."""
        found = await self._call(self._client.xrevrange(stream, count=1))
        return cast("bytes", found[0][0]) if found else b"0-0"

    async def close(self) -> None:
        await self._client.aclose()

    async def _call(self, command: Awaitable[Any], timeout: float = TIMEOUT) -> Any:
        try:
            async with asyncio.timeout(timeout):
                answer = await command
        except (RedisError, OSError) as error:  # TimeoutError is one of the latter
            self._watch.failed(error)
            raise StoreDown from error
        self._watch.worked()
        return answer


SET_IF: Final = Script("""
if (redis.call('GET', KEYS[2]) or '0') ~= ARGV[3] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
""")

COUNT_UP: Final = Script("""
local counts = {}
for i, key in ipairs(KEYS) do
  counts[i] = redis.call('INCR', key)
  redis.call('EXPIRE', key, ARGV[1])
end
return counts
""")

# The arithmetic of gateway.limits.take, for each key in turn. Lua has floats only, exact to 2^53,
# and the clock's microseconds take most of these: so a time is a pair, whole microseconds and parts
# of one by the rate's count, of which no number ever grows large.
TAKE: Final = Script("""
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local answers = {}
for i, key in ipairs(KEYS) do
  local at = i * 5 - 4
  local count, most, most_part = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local cost, cost_part = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local ahead, part = 0, 0
  local held = redis.call('GET', key)
  if held then
    local whole, rest = string.match(held, '^(%d+) (%d+)$')
    ahead, part = whole - now, tonumber(rest)
    if ahead < 0 then
      ahead, part = 0, 0
    elseif ahead > most or (ahead == most and part > most_part) then
      ahead, part = most, most_part
    end
  end
  local after, after_part = ahead + cost, part + cost_part
  if after_part >= count then
    after, after_part = after + 1, after_part - count
  end
  if after > most or (after == most and after_part > most_part) then
    answers[i] = {0, ahead, part}
  else
    if cost + cost_part > 0 then
      redis.call('SET', key, string.format('%.0f %.0f', now + after, after_part),
        'PX', string.format('%.0f', math.ceil(after / 1000) + 1))
    end
    answers[i] = {1, after, after_part}
  end
end
return answers
""")


_Asked = tuple[bytes, tuple[int, ...], asyncio.Future[list[int]]]
"""A key, its numbers, and who waits."""


class RedisLimiter:
    """A `Limiter` over all hosts that share a server; time is the server's.

    What is asked in one turn of the event loop goes in one call: a call costs the client 200 µs of
    processor time, a further key in it 12. Keys expire when they say no more than none would.
    Raises StoreDown.
    """

    PREFIX: Final = b"gateway:limit:"
    BATCH: Final = 128  # keys in a call, so that a script is short: others wait for it

    def __init__(self, server: Redis) -> None:
        self._server = server
        self._asked: list[_Asked] = []
        self._calls: set[asyncio.Task[list[list[int]]]] = set()

    async def take(self, key: bytes, rate: Rate, cost: int = 1) -> Decision:
        """Count `cost` requests of the key, if they are within the rate: one round trip."""
        count = rate.count
        interval = rate.nanoseconds // 1000
        most = divmod(rate.burst * interval, count)
        each = divmod(cost * interval, count)
        # Hashed: a key may be long, and is not the operators' business.
        name = self.PREFIX + blake2b(key, digest_size=16).hexdigest().encode()
        allowed, whole, part = await self._ask(name, (count, *most, *each))
        ahead = whole * count + part
        return limits.decision(bool(allowed), ahead, rate, cost, limits.MICROSECONDS)

    def _ask(self, name: bytes, numbers: tuple[int, ...]) -> asyncio.Future[list[int]]:
        loop = asyncio.get_running_loop()
        if not self._asked:
            loop.call_soon(self._send)
        answer: asyncio.Future[list[int]] = loop.create_future()
        self._asked.append((name, numbers, answer))
        return answer

    def _send(self) -> None:
        asked, self._asked = self._asked, []
        for at in range(0, len(asked), self.BATCH):
            part = asked[at : at + self.BATCH]
            names = [name for name, _, _ in part]
            numbers = [number for _, those, _ in part for number in those]
            call = asyncio.create_task(self._server.run(TAKE, names, numbers, LIMIT_TIMEOUT))
            self._calls.add(call)
            call.add_done_callback(partial(self._answer, part))

    def _answer(self, asked: Sequence[_Asked], call: asyncio.Task[list[list[int]]]) -> None:
        self._calls.discard(call)
        lost = call.cancelled() or call.exception() is not None
        answers = repeat([]) if lost else call.result()
        for (_, _, waiting), told in zip(asked, answers, strict=False):
            if waiting.done():  # its client has left
                continue
            if lost:
                waiting.set_exception(StoreDown())
            else:
                waiting.set_result(told)

    async def close(self) -> None:
        """End the calls that are under way."""
        for call in self._calls:
            call.cancel()
        if self._calls:
            await asyncio.wait(self._calls)
