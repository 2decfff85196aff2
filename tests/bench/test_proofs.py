from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench import loads, proofs
from bench.children import BenchError, Children, Cores
from bench.lineup import BY_NAME, POLICIES, Found, Peer
from bench.stage import Running, Stage

FOUND = Found(Path(sys.prefix))
NGINX = FOUND.program("nginx")
CORES = frozenset(os.sched_getaffinity(0))
CHAIN, CACHED = loads.BY_NAME["chain"], loads.BY_NAME["cached"]
PREDICTION = loads.BY_NAME["prediction"]

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is a Debian package")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("bench")
    with Children(folder) as children:
        stage = Stage(folder, children, Cores(load=CORES, proxy=CORES), FOUND)
        stage.start_upstreams(NGINX or "")
        yield stage


@pytest.fixture(scope="module")
def plain(stage: Stage) -> Iterator[Running]:
    with stage.briefly(BY_NAME["nginx"]) as running:
        yield running


def set_up(name: str, load: loads.Load) -> Peer:
    return next(peer for peer in POLICIES if peer.name == name and peer.takes(load))


@pytest.mark.parametrize("name", ["gateway", "nginx"])
def test_peer_with_the_chain_refuses_limits_and_tells_browsers(stage: Stage, name: str) -> None:
    with stage.briefly(set_up(name, CHAIN)) as running:
        proofs.prove(CHAIN, running.port, running.keys)


@pytest.mark.parametrize("name", ["gateway", "nginx", "nginx-tuned"])
def test_peer_with_a_cache_answers_the_second_time_from_it(stage: Stage, name: str) -> None:
    with stage.briefly(set_up(name, CACHED)) as running:
        proofs.prove(CACHED, running.port, running.keys)


@pytest.mark.parametrize("name", ["gateway", "gateway-redis", "aiohttp"])
def test_peer_with_predictions_tells_what_is_cached(stage: Stage, name: str) -> None:
    with stage.briefly(set_up(name, PREDICTION)) as running:
        proofs.prove(PREDICTION, running.port, running.keys)
        _, body = proofs.read(proofs.Site(running.port, PREDICTION.path, {}), {})
        assert len(body) == PREDICTION.answer


def test_peer_without_the_prediction_is_told(stage: Stage) -> None:
    with stage.briefly(set_up("gateway", PREDICTION)) as running:
        load = replace(PREDICTION, path="/api/prediction/MSFT")
        with pytest.raises(BenchError, match="status: 200 was expected, 404 came"):
            proofs.prove(load, running.port, {})


def test_peer_that_lets_anybody_in_has_no_chain(plain: Running) -> None:
    with pytest.raises(BenchError, match=f"CORS .*: {loads.ORIGIN} was expected, None came"):
        proofs.prove(CHAIN, plain.port, {"pro": "one", "free": "two"})


def test_peer_without_a_limit_for_the_tier_has_no_chain(stage: Stage) -> None:
    with stage.briefly(set_up("nginx", CHAIN)) as running:
        key = running.keys["pro"]
        with pytest.raises(BenchError, match="statuses at the limit of `free`"):
            proofs.prove(CHAIN, running.port, {"pro": key, "free": key})


def test_peer_that_asks_the_upstream_again_has_no_cache(plain: Running) -> None:
    with pytest.raises(BenchError, match="X-V of the second answer"):
        proofs.prove(CACHED, plain.port, {})


def test_proof_that_nobody_answers_names_the_load(stage: Stage) -> None:
    with stage.briefly(BY_NAME["nginx"]) as running:
        port = running.port

    with pytest.raises(BenchError, match="cached: ConnectionRefusedError"):
        proofs.prove(CACHED, port, {})


def test_load_without_a_proof_asks_nothing() -> None:
    proofs.prove(loads.BY_NAME["small"], 1, {})


def test_key_that_cannot_be_made_leaves_the_peer_out(stage: Stage) -> None:
    refusing = Peer(
        "refusing", "python", (), "", "", create_key=("-c", "import sys; sys.exit('no @TIER@')")
    )

    with pytest.raises(BenchError, match="no key of the tier pro: no pro"):
        stage.start(refusing)
