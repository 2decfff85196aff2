"""The OpenAPI document of a gateway at work: made when it is asked for, kept until a reload.

Making it takes tens of milliseconds, so a thread does it. What services say of themselves is asked
of them at most once a minute, while somebody looks; who does not answer is told of as it last was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Final

import aiohttp
import orjson

from gateway import __version__
from gateway.config.upstreams import Spec
from gateway.errors import GatewayError
from gateway.generation import Dialing, Generation, tls_context
from gateway.own import Own
from gateway.proxy.fetch import fetch
from gateway.telemetry.events import EventLog

if TYPE_CHECKING:
    from gateway.apidocs.document import Made
    from gateway.apidocs.pages import Page
    from gateway.openapi.document import Document

PATIENCE: Final = 5.0  # s for a service to say what it is
FRESH: Final = 60.0  # s until it is asked again
AGAIN: Final = 10.0  # s, where it did not answer
MOST_BYTES: Final = 4 << 20  # of what a service says


@dataclass(slots=True)
class Told:
    """What a service said of itself, and when it is to be asked again (monotonic seconds)."""

    spec: Spec
    due: float = 0.0
    content: bytes = b""
    document: Document | None = None
    lost: bool = False


class Described:
    """Makes the document for one worker."""

    def __init__(
        self,
        generation: Callable[[], Generation],
        own: Callable[[], Sequence[Own]],
        dialing: Dialing,
        log: EventLog,
    ) -> None:
        """`generation` and `own` give what is at work now."""
        self._generation = generation
        self._own = own
        self._dialing = dialing
        self._log = log
        self._making: asyncio.Task[Page] | None = None
        self._asking: asyncio.Task[None] | None = None
        self._told: dict[str, Told] = {}

    def forget(self) -> None:
        """The settings changed: what was made from them is made anew."""
        self._making = None

    async def close(self) -> None:
        tasks = [task for task in (self._asking, self._making) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def document(self) -> Page:
        """As JSON."""
        generation = self._generation()
        due = self._due(generation)
        if due and self._asking is None:
            self._asking = asyncio.create_task(self._ask(generation, due))
            self._asking.add_done_callback(self._asked)
        if self._asking is not None and any(not told.due for told in self._told.values()):
            await asyncio.wait((self._asking,))  # for the first time; later, what is known will do
        if self._making is None:
            self._making = asyncio.create_task(self._make(generation))
        making = self._making
        try:
            return await asyncio.shield(making)
        except Exception:
            if self._making is making:
                self._making = None
            raise

    # ------------------------------------------------------------------ what services say of them

    def _due(self, generation: Generation) -> dict[str, Told]:
        """The upstreams that are to be asked, by name."""
        wanted = {
            name: upstream.openapi
            for name, upstream in generation.settings.upstreams.items()
            if upstream.openapi is not None and upstream.openapi.path and name in generation.behind
        }
        for name, told in list(self._told.items()):
            if wanted.get(name) != told.spec:
                del self._told[name]
        for name, spec in wanted.items():
            self._told.setdefault(name, Told(spec))
        now = monotonic()
        return {name: told for name, told in self._told.items() if told.due <= now}

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._asking = None
        if not task.cancelled():
            task.result()

    async def _ask(self, generation: Generation, due: Mapping[str, Told]) -> None:
        """Ask them, all at once."""
        await asyncio.gather(*(self._ask_one(generation, told, name) for name, told in due.items()))

    async def _ask_one(self, generation: Generation, told: Told, name: str) -> None:
        from gateway.openapi.document import Document, DocumentError, parsed

        problem = ""
        try:
            async with asyncio.timeout(PATIENCE):
                content = await self._fetch(generation, name, told.spec.path or "/")
            if content != told.content:
                told.document = await asyncio.to_thread(lambda: Document(parsed(content)))
                told.content = content
                self._making = None
        except TimeoutError:
            problem = "timeout"
        except (GatewayError, DocumentError, aiohttp.ClientError, OSError) as error:
            problem = f"{type(error).__name__}: {error}"
        if problem and not told.lost:
            self._log.warning("openapi_lost", upstream=name, problem=problem)
        told.lost = bool(problem)
        told.due = monotonic() + (AGAIN if problem else FRESH)

    async def _fetch(self, generation: Generation, name: str, path: str) -> bytes:
        """From the first target that answers, the healthy ones first."""
        service = generation.behind[name].service
        table = generation.settings.upstreams[name]
        targets = sorted(service.dialers, key=lambda target: not target.healthy)
        for number, target in enumerate(targets, 1):
            try:
                return await fetch(
                    service.dialers[target],
                    self._dialing.connector(target),
                    path,
                    tls=tls_context(table),
                    server_name=table.tls.server_name if table.tls else None,
                    most=MOST_BYTES,
                )
            except (GatewayError, aiohttp.ClientError, OSError):
                if number == len(targets):
                    raise
        raise AssertionError("an upstream has a target")

    # ------------------------------------------------------------------------------- the document

    async def _make(self, generation: Generation) -> Page:
        own = self._own()
        sources = dict(self._sources(generation))
        page, made = await asyncio.to_thread(compose, generation, own, sources)
        for name, problem in made.left_out.items():
            self._log.warning("openapi_left_out", upstream=name, problem=problem)
        return page

    def _sources(self, generation: Generation) -> Iterator[tuple[str, Document]]:
        """What is known of services, by the upstream's name."""
        for name, upstream in generation.settings.upstreams.items():
            if upstream.openapi is not None and upstream.openapi.document is not None:
                yield name, upstream.openapi.document
        for name, told in self._told.items():
            if told.document is not None:
                yield name, told.document


def compose(
    generation: Generation, own: Sequence[Own], sources: dict[str, Document]
) -> tuple[Page, Made]:
    """The document as JSON; for a thread of its own, at work for tens of milliseconds."""
    from gateway.abouts import ABOUT, live
    from gateway.apidocs.document import Composer
    from gateway.apidocs.pages import Page

    settings = generation.settings
    found = ((one, one.about or ABOUT.get(one.name)) for one in own)
    told = [(one, about) for one, about in found if about is not None]
    if settings.realtime is not None:
        told += live(settings.realtime)

    def leads_to(path: str, host: str, method: str) -> str | None:
        try:
            route = generation.table.find(path.encode(), host.encode() or None, method.encode())
        except GatewayError:
            return None
        return route.name

    made = Composer(__version__, settings, told, leads_to).make(sources)
    return Page.of("application/json", orjson.dumps(made.document)), made
