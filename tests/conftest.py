"""What all tests share: the event loop, and servers that start when a test first asks for one.

With pytest-xdist each worker has servers of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from tests import servers
from tests.databases import database, stores  # noqa: F401 - fixtures for all
from tests.servers import Server

# A run of the suite is the same every time: a red build is a change's fault. For a search by hand,
# `--hypothesis-profile=search`.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
hypothesis_settings.register_profile(
    "suite", derandomize=True, database=None, max_examples=100, **_COMMON
)
hypothesis_settings.register_profile("search", max_examples=5_000, print_blob=True, **_COMMON)
hypothesis_settings.load_profile("suite")


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every asynchronous test runs on the loop that the gateway runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    with servers.postgres() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    with servers.valkey() as server:
        yield server


@pytest.fixture(scope="session")
def nats_server() -> Iterator[Server]:
    with servers.nats() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres_server: Server) -> str:
    return postgres_server.url


@pytest.fixture(scope="session")
def redis_url(redis_server: Server) -> str:
    return redis_server.url


@pytest.fixture(scope="session")
def nats_url(nats_server: Server) -> str:
    return nats_server.url
