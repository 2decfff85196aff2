"""Import every module, start `gateway serve`, ask /health, stop it: exit 0 when all of it works.

Runs in an empty folder and without the caller's settings, so that only the defaults are tried.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

START_SECONDS = 20.0
STOP_SECONDS = 40.0  # the default drain_timeout is 30


def import_everything() -> int:
    """Import each module of the package; returns how many there are."""
    import gateway

    found = [module.name for module in pkgutil.walk_packages(gateway.__path__, "gateway.")]
    names = [name for name in found if not name.endswith(".__main__")]  # that one runs
    for name in names:
        importlib.import_module(name)
    return 1 + len(names)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def first_answer(url: str, gateway: subprocess.Popen[bytes]) -> dict[str, object]:
    """The first 200 of `url`, decoded; raises when the gateway ends or the time is up."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if gateway.poll() is not None:
            raise SystemExit(f"smoke: gateway serve ended with {gateway.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return dict(json.load(answer))
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.01)
    raise SystemExit(f"smoke: {url} did not answer 200 within {START_SECONDS:.0f} s")


def start_and_stop() -> float:
    """Start the gateway, see it healthy, end it; returns the seconds until the first answer."""
    port = free_port()
    ours = ("GATEWAY_", "SERVICE", "COVERAGE_")
    legacy = ("PORT", "ENVIRONMENT", "SECRET_KEY", "DATABASE_URL", "REDIS_URL", "NATS_URL")
    environ = {k: v for k, v in os.environ.items() if not k.startswith(ours) and k not in legacy}
    command = [sys.executable, "-m", "gateway", "serve", "--host", "127.0.0.1"]
    with tempfile.TemporaryDirectory() as empty:
        begun = time.monotonic()
        gateway = subprocess.Popen([*command, "--port", str(port)], cwd=empty, env=environ)
        try:
            answer = first_answer(f"http://127.0.0.1:{port}/health", gateway)
            seconds = time.monotonic() - begun
            if answer.get("status") != "healthy":
                raise SystemExit(f"smoke: /health says {answer}")
            gateway.send_signal(signal.SIGTERM)
            code = gateway.wait(STOP_SECONDS)
            if code != 0:
                raise SystemExit(f"smoke: exit {code} after SIGTERM, 0 expected")
        finally:
            if gateway.poll() is None:
                gateway.kill()
                gateway.wait()
    return seconds


if __name__ == "__main__":
    modules = import_everything()
    print(f"smoke: {modules} modules import")
    print(f"smoke: healthy after {start_and_stop():.2f} s, stopped with exit 0")
