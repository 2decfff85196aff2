"""Active health checks: when a target counts as up, and the loop that asks it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NoReturn

from gateway.upstreams.pool import C
from gateway.upstreams.target import Target

if TYPE_CHECKING:
    from gateway.config.upstreams import HealthCheck

# The share of the interval by which each pause varies, so that workers and targets that started
# together do not go on asking together.
JITTER = 0.1


class HealthState:
    """Presumed healthy; turns after so many results in a row that say otherwise."""

    __slots__ = ("_against", "_healthy_after", "_unhealthy_after", "healthy")

    def __init__(self, healthy_after: int, unhealthy_after: int) -> None:
        self.healthy = True
        self._healthy_after = healthy_after
        self._unhealthy_after = unhealthy_after
        self._against = 0

    def record(self, healthy: bool) -> bool:
        """Count one result; True when it turned the state."""
        if healthy is self.healthy:
            self._against = 0
            return False
        self._against += 1
        if self._against < (self._unhealthy_after if self.healthy else self._healthy_after):
            return False
        self.healthy = healthy
        self._against = 0
        return True


async def watch(
    target: Target[C],
    check: Callable[[Target[C]], Awaitable[bool]],
    settings: HealthCheck,
    changed: Callable[[Target[C], str], None],
    random: Callable[[], float],
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> NoReturn:
    """Keep the target's `healthy` up to date: ask soon after the start, then once an interval.

    What `check` raises, and a silence longer than the settings' timeout, count as no. `changed`
    hears of each turn and, when it is for the worse, what the last check came to. Runs until
    cancelled: the task is its starter's. `random` returns numbers in [0, 1).
    """
    state = HealthState(settings.healthy_after, settings.unhealthy_after)
    await sleep(settings.interval * JITTER * random())
    while True:
        problem = await _problem(target, check, settings.timeout)
        if state.record(not problem):
            target.healthy = state.healthy
            changed(target, problem)
        await sleep(settings.interval * (1 - JITTER + 2 * JITTER * random()))


async def _problem(
    target: Target[C], check: Callable[[Target[C]], Awaitable[bool]], timeout: float
) -> str:
    """What is wrong with the target, or "" when it is well."""
    try:
        async with asyncio.timeout(timeout):
            healthy = await check(target)
    except TimeoutError:
        return "timeout"
    except Exception as error:  # noqa: BLE001 - the loop outlives whatever a check raises
        return f"{type(error).__name__}: {error}"
    return "" if healthy else "unhealthy answer"
