"""The settings of live updates."""

from __future__ import annotations

from typing import Any

import pytest

from gateway import units
from gateway.config.realtime import Realtime
from tests.config.folder import Folder

AUTH = "auth: {jwt: {issuer: i, audience: a, jwks_url: 'https://a/keys'}}\n"
SECRET = "secret_key: " + "x" * 40 + "\n"


def test_left_out_it_is_off(folder: Folder) -> None:
    assert folder.load("port: 1").realtime is None
    assert folder.load("realtime: false").realtime is None


@pytest.mark.parametrize("written", ["true", "{}"])
def test_asked_for_it_has_its_defaults(folder: Folder, written: str) -> None:
    made = folder.load(f"realtime: {written}").realtime
    assert made is not None
    assert (made.path, made.stream) == ("/ws/predictions", "/api/stream/predictions")
    assert made.subject == "event.prediction.updated"
    assert made.way == "none"
    assert (made.max_message, made.max_symbols, made.wildcard) == (65536, 100, False)
    assert (made.ping_interval, made.idle_timeout) == (30, 300)
    assert made.message_rate == made.update_rate == units.Rate(10, 1.0)
    assert (made.buffer, made.buffer_bytes) == (1000, 262144)
    assert (made.conflate, made.deflate, made.jetstream) == (False, False, None)
    assert (made.history, made.connections) == (10000, 20000)
    assert (made.connections_per_address, made.connections_per_key) == (0, 0)


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_outside_local_who_may_connect_has_to_be_said(folder: Folder, environment: str) -> None:
    table = f"environment: {environment}\n{SECRET}"
    assert folder.problems(table + "realtime: {}") == [
        "gateway.yaml: realtime: needs auth, and be it none, where environment is not local"
    ]
    for way in ("none", "api_key"):
        made = folder.load(table + f"realtime: {{auth: {way}}}").realtime
        assert made is not None
        assert made.way == way


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("{auth: jwt}", "auth: needs auth.jwt or auth.login"),
        ("{auth: token}", "auth: needs auth.token (or API_TOKEN)"),
        (
            "{scopes: [a]}",
            "auth: has scopes, which only api_key and jwt (or any) can have",
        ),
        ("{jetstream: PREDICTIONS}", "jetstream needs stores.nats"),
    ],
)
def test_what_it_lacks_is_said(folder: Folder, written: str, problem: str) -> None:
    assert folder.problems(f"realtime: {written}") == [f"gateway.yaml: realtime: {problem}"]


def test_with_what_it_needs_it_is_taken(folder: Folder) -> None:
    made = folder.load(
        AUTH + "stores: {nats: 'nats://127.0.0.1:1'}\n"
        "realtime: {auth: jwt, scopes: [live], jetstream: PREDICTIONS}"
    ).realtime
    assert made is not None
    assert (made.way, made.scopes, made.jetstream) == ("jwt", ("live",), "PREDICTIONS")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("path", "ws"),
        ("path", "/ws?x"),
        ("path", "/ws/predictions "),
        ("path", "/a/../b"),
        ("stream", ""),
        ("stream", "/ws/predictions"),
        ("subject", ""),
        ("subject", "event.*"),
        ("subject", "event.>"),
        ("subject", "event..x"),
        ("subject", "event x"),
        ("subject", "event.\n"),
        ("jetstream", "a.b"),
        ("jetstream", "x" * 65),
        ("auth", "basic"),
        ("max_message", 0),
        ("max_symbols", 0),
        ("buffer", 0),
        ("buffer_bytes", 0),
        ("history", -1),
        ("connections", -1),
        ("ping_interval", -1),
        ("idle_timeout", "soon"),
        ("message_rate", "unlimited"),
        ("message_rate", "0/second"),
        ("update_rate", "10001/second"),
        ("update_rate", "fast"),
        ("conflate", "perhaps"),
        ("unknown", 1),
    ],
)
def test_what_it_cannot_be_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=key):
        Realtime.model_validate({key: value})


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("unlimited", None),
        ("5/second", units.Rate(5, 1.0)),
        ("10000/minute", units.Rate(10000, 60.0)),
    ],
)
def test_the_rate_of_updates_may_be_any(written: str, meant: units.Rate | None) -> None:
    assert Realtime.model_validate({"update_rate": written}).update_rate == meant


def test_the_environment_has_names_for_it(folder: Folder) -> None:
    env = {"GATEWAY_REALTIME__PATH": "/live", "GATEWAY_REALTIME__IDLE_TIMEOUT": "10m"}
    made = folder.load("realtime: {}", env=env).realtime
    assert made is not None
    assert (made.path, made.idle_timeout) == ("/live", 600)
