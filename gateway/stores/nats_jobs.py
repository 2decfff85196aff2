"""The queue on NATS JetStream, spoken as JetStream's own requests.

The stream has work-queue retention: what is acknowledged is gone. Each kind has a durable pull
consumer with explicit acknowledgement, of which any number of workers take; what none of them
acknowledges within `ack_wait`, counted from its last sign of life, is delivered again, but
`max_deliver` times at most. What was delivered so often stays in the stream, and the server says
so once, in an advisory, when a worker asks for more (2.15 does not do it by itself). Advisories
are kept by a stream of their own until a gateway has dealt with them, so that none is missed while
no gateway runs.

Subjects and fields: docs.nats.io, "JetStream wire API Reference".
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Final, NamedTuple, Protocol

import orjson

from gateway.errors import StoreDown
from gateway.jobs.job import KINDS, Message, QueueFull

STREAM: Final = "GATEWAY_JOBS"
LOST: Final = "GATEWAY_JOBS_LOST"
ADVISORIES: Final = f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{STREAM}.*"
BURIER: Final = "gateway"  # the durable consumer of these
API: Final = "$JS.API."
TWICE: Final = 120
"""s within which a message of the same id is taken for the same."""

LOST_AT_ONCE: Final = 100
SECOND: Final = 1_000_000_000  # ns, in which JetStream counts
ANSWER: Final = 2.0
"""s that an answer may be late."""

# JetStream's codes (server/errors.json).
NO_STREAM: Final = 10059
FULL: Final = frozenset((10077, 10167))  # the stream, or the subject's part of it
NO_MESSAGE: Final = 10037

OURS: Final = (
    "subjects",
    "discard",
    "discard_new_per_subject",
    "max_msgs_per_subject",
    "max_age",
    "duplicate_window",
)
"""What is changed in a stream that is there; its retention cannot be."""

ACK, NAK, PROGRESS = b"+ACK", b"-NAK", b"+WPI"


class Reply(NamedTuple):
    """A message as it came; `reply` is where it is answered."""

    data: bytes
    headers: Mapping[str, str]
    reply: str


class Subscription(Protocol):
    async def unsubscribe(self, limit: int = 0) -> None: ...


class Client(Protocol):
    """What is asked of the library's client."""

    def new_inbox(self) -> str: ...
    async def subscribe(
        self, subject: str, *, cb: Callable[[Any], Awaitable[None]]
    ) -> Subscription: ...
    async def publish(
        self,
        subject: str,
        payload: bytes = b"",
        reply: str = "",
        headers: dict[str, Any] | None = None,
    ) -> None: ...


class Nats(Protocol):
    """Who is connected."""

    def client(self) -> AbstractAsyncContextManager[Client]:
        """The client; inside, what the library raises becomes StoreDown."""


class Line:
    """Questions and answers over NATS. Raises StoreDown; ValueError for too much."""

    def __init__(self, nats: Nats) -> None:
        self._nats = nats

    async def ask(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None, timeout: float
    ) -> Reply | None:
        """The first answer; None where nobody listens.

        Who gives up is not given a message any more: the server sees that its inbox is gone.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def heard(message: Any) -> None:
            if not answer.done():
                answer.set_result(message)

        async with self._nats.client() as client:
            inbox = client.new_inbox()
            subscription = await client.subscribe(inbox, cb=heard)
            try:
                sent = None if headers is None else dict(headers)
                await client.publish(subject, data, inbox, sent)
                async with asyncio.timeout(timeout):
                    message = await answer
            finally:
                with suppress(Exception):  # with the connection it is gone; we may be cancelled
                    await subscription.unsubscribe()
        told: Mapping[str, str] = message.headers or {}
        return None if told.get("Status") == "503" else Reply(message.data, told, message.reply)

    async def tell(self, subject: str, data: bytes) -> None:
        """Nobody answers."""
        async with self._nats.client() as client:
            await client.publish(subject, data)


class StreamRefused(StoreDown):
    """JetStream said no, for a reason that no wait changes."""


class NatsQueue:
    """A `gateway.jobs.job.Queue`. What it needs on the server is made when it is missing."""

    def __init__(
        self, nats: Nats, *, timeout: float, attempts: int, depth: int, patience: float
    ) -> None:
        """`patience`: s for which a job waits for a worker. Others: see `TableQueue`."""
        self._server = Line(nats)
        self._timeout = timeout
        self._attempts = attempts
        self._depth = depth
        self._patience = patience
        self._settled = False

    async def put(self, message: Message) -> None:
        await self._settle()
        subject = KINDS[message.kind].subject
        headers = {**message.headers, "Nats-Msg-Id": message.id, "Nats-Expected-Stream": STREAM}
        reply = await self._server.ask(subject, message.data, headers, ANSWER)
        if reply is None:  # the stream was removed
            self._settled = False
            await self._settle()
            reply = await self._server.ask(subject, message.data, headers, ANSWER)
        if reply is None:
            raise StreamRefused
        code = _error(orjson.loads(reply.data))
        if code in FULL:
            raise QueueFull
        if code:
            raise StreamRefused(f"JetStream: {code}")

    async def take(self, kind: str, wait: float) -> Claim | None:
        reply = await self._next(STREAM, kind, wait)
        if reply is None:
            return None
        headers = dict(reply.headers)
        message = Message(headers.pop("Nats-Msg-Id", ""), kind, reply.data, headers)
        return Claim(self._server, reply.reply, times(reply.reply), message)

    async def lost(self) -> Sequence[Remains]:
        found: list[Remains] = []
        while len(found) < LOST_AT_ONCE:
            reply = await self._next(LOST, BURIER, 0)
            if reply is None:
                break
            place = orjson.loads(reply.data)["stream_seq"]
            told = await self._request(f"STREAM.MSG.GET.{STREAM}", {"seq": place}, NO_MESSAGE)
            if told is None:  # it was removed already
                await self._server.tell(reply.reply, ACK)
                continue
            job = _header(told["message"].get("hdrs", ""), "Nats-Msg-Id")
            found.append(Remains(self._server, self._forget, reply.reply, place, job))
        return found

    async def _forget(self, place: int) -> None:
        await self._request(f"STREAM.MSG.DELETE.{STREAM}", {"seq": place}, NO_MESSAGE)

    async def _next(self, stream: str, consumer: str, wait: float) -> Reply | None:
        """A message, if there is one within that time. 404, 408, 409: there is none."""
        await self._settle()
        wanted = (
            {"batch": 1, "expires": round(wait * SECOND)} if wait else {"batch": 1, "no_wait": True}
        )
        subject = f"{API}CONSUMER.MSG.NEXT.{stream}.{consumer}"
        reply = await self._server.ask(subject, orjson.dumps(wanted), None, wait + ANSWER)
        if reply is None:  # no such consumer: a server that forgot, or another one
            self._settled = False
            return None
        return reply if reply.reply.startswith("$JS.ACK.") else None

    # ---------------------------------------------------------------------- streams, consumers

    async def _settle(self) -> None:
        """Have the streams and the consumers, as the settings say."""
        if self._settled:
            return
        await self._stream(
            {
                "name": STREAM,
                "subjects": [kind.subject for kind in KINDS.values()],
                "retention": "workqueue",
                "storage": "file",
                "discard": "new",
                "discard_new_per_subject": True,
                "max_msgs_per_subject": self._depth,
                "max_msgs": -1,
                "max_bytes": -1,
                "max_consumers": -1,
                "max_age": round(max(self._patience, TWICE) * SECOND),
                "duplicate_window": TWICE * SECOND,
                "num_replicas": 1,
            }
        )
        await self._stream(
            {
                "name": LOST,
                "subjects": [ADVISORIES],
                "retention": "workqueue",
                "storage": "file",
                "discard": "old",
                "max_msgs": 100_000,
                "max_bytes": -1,
                "max_consumers": -1,
                "max_age": round(max(self._patience, TWICE) * SECOND),
                "duplicate_window": TWICE * SECOND,
                "num_replicas": 1,
            }
        )
        for kind in KINDS.values():
            await self._consumer(STREAM, kind.name, kind.subject, self._timeout, self._attempts)
        await self._consumer(LOST, BURIER, ADVISORIES, 30, -1)
        self._settled = True

    async def _stream(self, config: Mapping[str, Any]) -> None:
        """Made, or changed in what is ours to say: replicas and place are the operators'."""
        name = config["name"]
        found = await self._request(f"STREAM.INFO.{name}", {}, NO_STREAM)
        if found is None:
            await self._request(f"STREAM.CREATE.{name}", config)
            return
        wanted = {**found["config"], **{field: config[field] for field in OURS if field in config}}
        if wanted != found["config"]:
            await self._request(f"STREAM.UPDATE.{name}", wanted)

    async def _consumer(
        self, stream: str, name: str, subject: str, ack_wait: float, deliveries: int
    ) -> None:
        """Made, or changed: what is under way goes on."""
        config = {
            "durable_name": name,
            "name": name,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": round(ack_wait * SECOND),
            "max_deliver": deliveries,
            "filter_subject": subject,
            "replay_policy": "instant",
            "max_ack_pending": -1,
            "num_replicas": 0,
        }
        what = {"stream_name": stream, "config": config}
        await self._request(f"CONSUMER.DURABLE.CREATE.{stream}.{name}", what)

    async def _request(
        self, subject: str, data: Mapping[str, Any], forgiven: int = 0
    ) -> dict[str, Any] | None:
        """JetStream's answer; None for the error that is forgiven. Raises StoreDown."""
        reply = await self._server.ask(API + subject, orjson.dumps(data), None, ANSWER)
        if reply is None:
            raise StreamRefused("there is no JetStream")
        answer: dict[str, Any] = orjson.loads(reply.data)
        code = _error(answer)
        if code and code == forgiven:
            return None
        if code:
            raise StreamRefused(f"JetStream: {answer['error'].get('description', code)}")
        return answer


class Claim:
    """A `gateway.jobs.job.Delivery`."""

    __slots__ = ("_reply", "_server", "message", "number")

    def __init__(self, server: Line, reply: str, number: int, message: Message) -> None:
        self._server = server
        self._reply = reply
        self.number = number
        self.message = message

    async def extend(self) -> bool:
        await self._server.tell(self._reply, PROGRESS)
        return True  # the server does not say

    async def done(self) -> None:
        # With an answer: what is not acknowledged is delivered again.
        await self._server.ask(self._reply, ACK, None, ANSWER)

    async def again(self, delay: float) -> None:
        nak = b'%b {"delay": %d}' % (NAK, round(delay * SECOND))
        await self._server.tell(self._reply, nak if delay else NAK)


class Remains:
    """A `gateway.jobs.job.Lost`."""

    __slots__ = ("_forget", "_place", "_reply", "_server", "job")

    def __init__(self, server: Line, forget: Forget, reply: str, place: int, job: str) -> None:
        self._server = server
        self._forget = forget
        self._reply = reply
        self._place = place
        self.job = job

    async def forget(self) -> None:
        await self._forget(self._place)
        await self._server.tell(self._reply, ACK)


class Forget(Protocol):
    async def __call__(self, place: int) -> None: ...


def _error(answer: Mapping[str, Any]) -> int:
    """JetStream's code; 0 for none."""
    error = answer.get("error")
    return 0 if error is None else int(error.get("err_code", error["code"]))


def times(reply: str) -> int:
    """How often a message was delivered (NATS ADR-15: two forms, of 9 tokens and of more)."""
    tokens = reply.split(".")
    return int(tokens[4 if len(tokens) == 9 else 6])


def _header(encoded: str, name: str) -> str:
    """A field of a stored message's header block, which comes in base64."""
    block = b64decode(encoded).decode("utf-8", "replace")
    for line in block.split("\r\n"):
        field, _, value = line.partition(":")
        if field == name:
            return value.strip()
    return ""
