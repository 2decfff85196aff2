"""A hub on a still clock, and ends of clients that remember what they were sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson

from gateway.exchange import Exchange, Peer, Principal, Response
from gateway.http1.request import RequestHead
from gateway.realtime.hub import Hub, Limits, Member
from gateway.realtime.subscriber import Pace
from gateway.realtime.wire import Offset, Update
from tests.still_loop import StillLoop

EPOCH = "e"
UNLIMITED = Pace(rate=None)


class TurningLoop(StillLoop):
    """Calls that were asked for soon are made by `turn`, as they stand when it begins."""

    def __init__(self) -> None:
        super().__init__()
        self.soon: list[Callable[[], object]] = []

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> None:
        self.soon.append(callback)

    def turn(self) -> None:
        soon, self.soon = self.soon, []
        for callback in soon:
            callback()

    def settle(self) -> None:
        while self.soon:
            self.turn()


class Cell:
    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: int = 1) -> None:
        self.value += amount

    def dec(self, amount: int = 1) -> None:
        self.value -= amount

    def set(self, value: float) -> None:
        self.value = value


class Meters:
    """What the hub counted."""

    def __init__(self) -> None:
        self.connections = Cell()
        self.sent = Cell()
        self.received = Cell()
        self.dropped = Cell()
        self.subscriptions = Cell()
        self.queued = Cell()
        self.events: Counter[str] = Counter()

    def event(self, result: str) -> None:
        self.events[result] += 1


class Log:
    """What the hub told, oldest first."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def info(self, event: str, /, **fields: object) -> None:
        self.lines.append((event, fields))

    warning = info

    def of(self, event: str) -> list[dict[str, object]]:
        return [fields for name, fields in self.lines if name == event]


class Front:
    draining = False


class Client:
    """A client's connection, without a socket."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.peer = Peer(address)
        self.sink: Any = None
        self.exchange: Exchange | None = None
        self.full = False
        self.out: list[Any] = []
        self.companion = None
        self.front = Front()
        self.written = b""
        self.held = b""  # what came behind the head
        self.ends: list[str] = []  # how it was ended
        self.paused = False
        self.received_all = True

    def writer(self) -> Callable[[bytes], None]:
        return self._write

    def _write(self, data: bytes) -> None:
        self.written += data

    def flush(self) -> None:
        self.written += b"".join(self.out)
        self.out.clear()

    def tunnel(self) -> bytes:
        held, self.held = self.held, b""
        return held

    def respond(self, response: Response) -> None:
        self.ends.append(f"respond {response.status}")

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def finish(self, keep_alive: bool) -> None:
        self.flush()
        self.ends.append(f"finish {keep_alive}")

    def cut(self) -> None:
        self.ends.append("cut")

    def close(self) -> None:
        self.ends.append("close")

    def taken(self) -> bytes:
        """What was written since it was last asked."""
        taken, self.written = self.written, b""
        return taken


def exchange(client: Client | None = None, principal: Principal | None = None) -> Exchange:
    made = Exchange(client or Client(), RequestHead(b"GET", 1, b""), b"/ws")  # type: ignore[arg-type]
    made.request_id = b"r1"
    made.principal = principal
    made.client.exchange = made
    return made


class Ear(Member):
    """A member that remembers; `full` is the test's to set."""

    def __init__(self, hub: Any, pace: Pace = UNLIMITED, by: Exchange | None = None) -> None:
        super().__init__(hub, pace)
        self.exchange = by or exchange()
        self.heard: list[Update] = []
        self.told: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.on_write: Callable[[Update], None] = lambda update: None
        self._full = False

    @property
    def full(self) -> bool:
        return self._full

    def block(self) -> None:
        self._full, self._ready = True, False

    def unblock(self) -> None:
        self._full = False
        self.release()

    def write(self, update: Update) -> None:
        self.heard.append(update)
        self.on_write(update)

    def tell(self, kind: str, **fields: object) -> None:
        self.told.append({"type": kind, **fields})

    def ping(self) -> None:
        self.calls.append("ping")

    def idle(self) -> None:
        self.calls.append("idle")

    def overdue(self) -> None:
        self.calls.append("overdue")

    def dismiss(self) -> None:
        self.calls.append("dismiss")

    def leave(self) -> None:
        self.calls.append("leave")

    @property
    def numbers(self) -> list[int]:
        return [update.number for update in self.heard]


class Scene:
    """A hub, and all that it touches."""

    def __init__(self, limits: Limits | None = None, *, begun: bool = True) -> None:
        self.loop = TurningLoop()
        self.meters = Meters()
        self.log = Log()
        self.hub = Hub(self.loop, limits or Limits(pace=UNLIMITED), self.meters, self.log)
        if begun:
            self.hub.begin(EPOCH, 0)

    def ear(self, *symbols: str, pace: Pace = UNLIMITED, by: Exchange | None = None) -> Ear:
        """A member that has entered and subscribed."""
        made = Ear(self.hub, pace, by)
        self.hub.enter(made)
        self.hub.subscribe(made, symbols)
        return made

    def event(self, number: int, symbol: str = "A", **more: object) -> None:
        self.hub.event(number, data(symbol, **more))

    def events(self, *numbers: int, symbol: str = "A") -> None:
        for number in numbers:
            self.event(number, symbol)
        self.loop.settle()


def data(symbol: str = "A", **more: object) -> bytes:
    return orjson.dumps({"symbol": symbol, "predicted_price": 1, **more})


def update(number: int, symbol: str = "A", epoch: str = EPOCH, **more: object) -> Update:
    return Update(symbol, {"predicted_price": 1, **more}, Offset(epoch, number))
