"""NATS through nats-py: its only importer.

The theory. The client connects again by itself; whoever listens does so in sessions. A session
has a subscription of its own and ends when the connection is lost or something was missed; the
next one begins a moment later. Without a stream nothing is kept: events are counted here, in an
epoch that is drawn, and what may have been missed between two sessions is counted as one event
that nobody can have.

With a stream (JetStream) the events' numbers are the stream's, and the epoch is the time of its
creation, so that all gateways say the same. A session makes a consumer that begins behind the
last event that was heard: an ephemeral one, which pushes, expects no acknowledgement and sends
a heartbeat when there is nothing else. It numbers what it delivers: a number that is missing, or
silence, ends the session.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from secrets import token_hex
from time import monotonic
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import BadSubjectError, Error, MaxPayloadError, SlowConsumerError
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    StorageType,
    StreamConfig,
    StreamInfo,
)
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

from gateway.errors import StoreDown
from gateway.stores import Hearer, Unwatched, Watch
from gateway.stores.sessions import HEARTBEAT, ORIGIN, SILENCE, UNUSED, Listener, Session, counts

TIMEOUT: Final = 2
"""s for a whole call: a connection, if there is none yet, question and answer."""

RECENT: Final = 10_000  # events that those who listen ask for, unless told otherwise
KEPT: Final = 4  # a stream that is made here keeps as many times as many
PAUSE: Final = 0.25  # s between two tries to connect, and between two sessions
LONGEST: Final = 4.0  # s: each session that is refused doubles the pause, up to this
PING: Final = 5  # s between two looks whether the server is there; it is lost after three
ABANDONED: Final = 60  # s after which no answer comes: the connection was given up before

_LOST: Final = (OSError, TimeoutError, Error)
_TOO_LARGE: Final = 10054  # JetStream's code: "message size exceeds maximum allowed"
_ACK: Final = "$JS.ACK."

log = logging.getLogger("gateway.nats")


class Nats:
    """A `gateway.stores.Bus`. Connects when it is first asked something, and again for ever."""

    name = "nats"

    def __init__(
        self, url: str, watch: Watch | None = None, *, stream: str = "", recent: int = RECENT
    ) -> None:
        """`stream` names what keeps the events, if anything does; made if it is missing.

        Then it keeps some times `recent` events.
        """
        self._url = url
        self._watch = watch or Unwatched()
        self._stream = stream
        self._recent = recent
        self._client: Client | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._first: asyncio.Future[Client] | None = None  # how the present try to connect ends
        self._listeners: dict[asyncio.Task[None], Listener] = {}
        self._asked: set[asyncio.Task[None]] = set()
        self._down = False
        self._refused = ""  # why, in JetStream's words
        self._closing = False

    async def ping(self) -> None:
        """Raises StoreDown, as everything here does."""
        async with self.client() as client:
            await self._answer(client)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """For what is not done here; inside, what the library raises becomes StoreDown."""
        with self._translated():
            yield await self._open()
        self._worked(whole=not self._stream)

    async def publish(self, subject: str, data: bytes) -> None:
        """Returns when the server has it, or its stream. After StoreDown it may have it, too.

        Raises ValueError for too much.
        """
        with self._translated():
            async with asyncio.timeout(TIMEOUT):
                client = await self._open()
                if self._stream:
                    await self._store(client, subject, data)
                else:
                    await client.publish(subject, data)
                    await self._answer(client)
        self._worked()

    async def _store(self, client: Client, subject: str, data: bytes) -> None:
        context = client.jetstream(timeout=TIMEOUT)
        try:
            await context.publish(subject, data, TIMEOUT, self._stream)
        except NoStreamResponseError:
            await self._info(client, subject)
            await context.publish(subject, data, TIMEOUT, self._stream)

    async def listen(self, subject: str, hearer: Hearer, recent: int) -> None:
        listener = Listener(subject, hearer, recent)
        task = asyncio.create_task(self._follow(listener))
        self._listeners[task] = listener
        with suppress(TimeoutError):
            await asyncio.wait_for(listener.tried.wait(), TIMEOUT)

    async def close(self) -> None:
        self._closing = True
        tasks = [*self._listeners, *self._asked]
        if self._connecting is not None:
            tasks.append(self._connecting)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._client is not None:
            await self._client.close()

    # ----------------------------------------------------------------------------- connection

    async def _open(self) -> Client:
        """The client, connected. Raises what keeps it from that, at once if it is known."""
        if self._client is None or self._client.is_closed:
            self._client = None
            if self._connecting is None or self._connecting.done():
                self._first = asyncio.get_running_loop().create_future()
                self._connecting = asyncio.create_task(self._connect())
            assert self._first is not None
            async with asyncio.timeout(TIMEOUT):
                return await asyncio.shield(self._first)
        if not self._client.is_connected:
            raise ConnectionError("not connected")
        return self._client

    async def _answer(self, client: Client) -> None:
        """The server's, to all that was sent to it so far."""
        # An answer that comes when nobody waits any more would end the client's reading.
        asked = asyncio.create_task(client.flush(ABANDONED))
        self._asked.add(asked)
        asked.add_done_callback(self._answered)
        done, _ = await asyncio.wait({asked}, timeout=TIMEOUT)
        if not done:
            raise TimeoutError
        asked.result()
        if not client.is_connected:  # a flush succeeds without a server, too
            raise ConnectionError("not connected")

    def _answered(self, asked: asyncio.Task[None]) -> None:
        self._asked.discard(asked)
        if not asked.cancelled():
            asked.exception()  # it may be that nobody waits

    async def _connect(self) -> None:
        client = Client()
        try:
            await client.connect(
                self._url,
                name="gateway",
                max_reconnect_attempts=-1,
                reconnect_time_wait=PAUSE,  # type: ignore[arg-type]  # any number is good
                connect_timeout=TIMEOUT,
                ping_interval=PING,
                error_cb=self._failed,
                disconnected_cb=self._lost,
                reconnected_cb=self._found,
            )
        except BaseException as error:
            with suppress(*_LOST):
                await client.close()
            if not isinstance(error, Exception):
                raise
            self._not_yet(ConnectionError(type(error).__name__))
            return
        self._client = client
        if self._first is not None and not self._first.done():
            self._first.set_result(client)

    def _not_yet(self, error: Exception) -> None:
        """Tell those who wait for the first connection; who comes now waits for the next try."""
        waited, self._first = self._first, asyncio.get_running_loop().create_future()
        if waited is not None and not waited.done():
            waited.set_exception(error)
            waited.exception()  # it may be that nobody waits

    async def _failed(self, error: Exception) -> None:
        """What went wrong in the client, such as each try to connect again; or in a hearer."""
        if not isinstance(error, _LOST):
            log.error("nats: a hearer failed", exc_info=error)
        elif isinstance(error, SlowConsumerError):
            if self._end_sessions():
                log.warning("nats: events come faster than they are heard; some are lost")
        elif self._client is None:
            self._not_yet(error)

    async def _lost(self) -> None:
        self._end_sessions()
        if not self._closing:
            self._broke(ConnectionError())

    def _end_sessions(self) -> bool:
        """Says whether there was one."""
        sessions = [each.session for each in self._listeners.values() if each.session is not None]
        found = any(not session.over for session in sessions)
        for session in sessions:
            session.end()
        return found

    async def _found(self) -> None:
        if not self._listeners:  # else it is back when these hear again
            self._worked(whole=not self._stream)

    # -------------------------------------------------------------------------------- sessions

    async def _follow(self, listener: Listener) -> None:
        """Session after session, for ever."""
        pause = PAUSE
        while True:
            try:
                client = await self._open()
            except _LOST as error:
                if not self._down:
                    self._broke(error)
            else:
                well = await self._try(client, listener)
                pause = PAUSE if well else min(2 * pause, LONGEST)
            listener.tried.set()
            await asyncio.sleep(pause)

    async def _try(self, client: Client, listener: Listener) -> bool:
        """One session. Says whether that was possible."""
        session = Session()
        try:
            async with session.scope:
                listener.session = session
                if self._stream:
                    await self._hear_stream(client, listener, session)
                else:
                    await self._hear(client, listener, session)
        except _LOST as error:
            if not session.over:
                self._broke(error)
                return False
        except Exception:
            log.exception("nats: a session failed")
            return False
        finally:
            listener.session = None
            session.over = True
        return True

    async def _hear(self, client: Client, listener: Listener, session: Session) -> None:
        """Until the session ends. What comes before the hearer knows of the gap is in it."""
        begun = False

        async def heard(message: Msg) -> None:
            if begun and not session.over:
                listener.event(listener.last + 1, message.data)

        subscription = await client.subscribe(listener.subject, cb=heard)
        try:
            await self._answer(client)  # from here on the server knows
            if listener.epoch:
                listener.begin(listener.epoch, listener.last + 1)
            else:
                listener.begin(token_hex(8), 0)
            begun = True
            self._worked()
            listener.tried.set()
            await asyncio.Event().wait()
        finally:
            with suppress(*_LOST):
                await subscription.unsubscribe()

    # ------------------------------------------------------------------------------- JetStream

    async def _hear_stream(self, client: Client, listener: Listener, session: Session) -> None:
        """From behind the last event on, until the session ends or the consumer is silent."""
        info = await self._info(client, listener.subject)
        alone = info.config.subjects == [listener.subject]
        listener.settle(info.created or ORIGIN, info.state.first_seq, info.state.last_seq)

        async def heard(message: Msg) -> None:
            if session.over:
                return
            session.heard_at = monotonic()
            if not message.reply.startswith(_ACK):
                await _obey(client, session, message)
                return
            number, delivered, left = counts(message.reply)
            session.delivered += 1
            if delivered != session.delivered:
                session.end()
                return
            if alone and number > listener.last + 1:  # it was discarded while we were behind
                listener.begin(listener.epoch, number - 1)
            if number > listener.last:
                listener.event(number, message.data)
            if not left:
                listener.tried.set()

        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox, cb=heard)
        try:
            consumer = await client.jetstream(timeout=TIMEOUT).add_consumer(
                self._stream,
                ConsumerConfig(
                    deliver_subject=inbox,
                    deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                    opt_start_seq=listener.last + 1,
                    filter_subject=listener.subject,
                    ack_policy=AckPolicy.NONE,
                    flow_control=True,
                    idle_heartbeat=HEARTBEAT,
                    inactive_threshold=UNUSED,
                    num_replicas=1,
                    mem_storage=True,
                ),
            )
            self._worked()
            if not consumer.num_pending and not session.delivered:
                listener.tried.set()
            while monotonic() < session.heard_at + SILENCE:  # noqa: ASYNC110 - time, not an event
                await asyncio.sleep(HEARTBEAT)
        finally:
            with suppress(*_LOST):
                await subscription.unsubscribe()

    async def _info(self, client: Client, subject: str) -> StreamInfo:
        """What the stream is like; if it is missing, it is made."""
        context = client.jetstream(timeout=TIMEOUT)
        with suppress(NotFoundError):
            return await context.stream_info(self._stream)
        return await context.add_stream(
            StreamConfig(
                name=self._stream,
                subjects=[subject],
                storage=StorageType.FILE,
                discard=DiscardPolicy.OLD,
                max_msgs=KEPT * max(self._recent, 1),
            )
        )

    # ---------------------------------------------------------------------------- how it stands

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (MaxPayloadError, BadSubjectError) as error:
            raise ValueError(str(error)) from error
        except _LOST as error:
            if isinstance(error, APIError) and error.err_code == _TOO_LARGE:
                raise ValueError("more than the stream takes") from error
            self._broke(error)
            raise StoreDown from error

    def _broke(self, error: Exception) -> None:
        self._down = True
        self._watch.failed(error)
        if isinstance(error, APIError) and (error.description or "") != self._refused:
            self._refused = error.description or ""
            log.warning("nats: JetStream refuses: %s", self._refused)

    def _worked(self, *, whole: bool = True) -> None:
        """`whole` says that JetStream did, too, where it is needed: else a loss is not over."""
        if whole or not self._down:
            self._down = False
            self._refused = ""
            self._watch.worked()


async def _obey(client: Client, session: Session, message: Msg) -> None:
    """A consumer's own message: it asks for a sign that it was heard, or tells its count."""
    headers = message.headers or {}
    for answer in (message.reply, headers.get("Nats-Consumer-Stalled")):
        if answer:
            await client.publish(answer)
    if int(headers.get("Nats-Last-Consumer", session.delivered)) != session.delivered:
        session.end()
