"""The document of the realtime protocol: valid, true to the settings, and what the gateway does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from gateway.config.realtime import Realtime
from gateway.realtime import wire
from gateway.realtime.asyncapi import AsyncApi, name_of
from gateway.realtime.messages import FROM_CLIENTS, TO_CLIENTS
from tests.realtime.described import payloads

HERE = Path(__file__).parent


@cache
def specification() -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(
        json.loads((HERE / "asyncapi" / "schema-3.0.0.json").read_text("utf-8"))
    )


def document(host: str = "gateway.test", secure: bool = False, **settings: Any) -> dict[str, Any]:
    return AsyncApi(Realtime.model_validate(settings), "1.2.3").at(host, secure)


def flaws(made: dict[str, Any]) -> list[str]:
    return [
        f"{error.instance_path}: {error.message}" for error in specification().iter_errors(made)
    ]


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def at(made: dict[str, Any], reference: str) -> Any:
    found: Any = made
    for name in reference.removeprefix("#/").split("/"):
        found = found[name]
    return found


WAYS = ("none", "token", "api_key", "jwt", "any")


@pytest.mark.parametrize("auth", WAYS)
@pytest.mark.parametrize("wildcard", [False, True])
def test_document_is_asyncapi_3(auth: str, wildcard: bool) -> None:
    made = document(auth=auth, wildcard=wildcard)
    assert flaws(made) == []


def test_what_is_no_asyncapi_is_found() -> None:
    made = document()
    made["operations"]["ping"]["action"] = "publish"
    assert len(flaws(made)) == 1


@pytest.mark.parametrize("auth", WAYS)
def test_every_reference_leads_somewhere(auth: str) -> None:
    made = document(auth=auth)
    found = list(references(made))
    assert len(found) > 20
    for reference in found:
        assert at(made, reference)


def test_operations_name_messages_of_their_own_channel() -> None:
    made = document()
    for operation in made["operations"].values():
        for told in (operation, operation.get("reply", operation)):
            channel = told["channel"]["$ref"]
            assert told["messages"]
            assert all(m["$ref"].startswith(f"{channel}/messages/") for m in told["messages"])


@pytest.mark.parametrize("model", [*FROM_CLIENTS, *TO_CLIENTS])
def test_every_message_has_a_summary_and_examples_that_are_valid(model: Any) -> None:
    name = name_of(model)
    message = document()["components"]["messages"][name]
    assert message["summary"]
    assert message["examples"]
    for example in message["examples"]:
        payloads(document())[name].validate(example["payload"])
        model.model_validate(example["payload"])


@pytest.mark.parametrize(
    ("auth", "schemes"),
    [
        ("none", []),
        ("token", ["bearer"]),
        ("api_key", ["apiKey"]),
        ("jwt", ["bearer", "query"]),
        ("any", ["apiKey", "bearer", "query"]),
    ],
)
def test_security_is_that_of_the_settings(auth: str, schemes: list[str]) -> None:
    made = document(auth=auth)
    named = {
        name: [each["$ref"].rpartition("/")[2] for each in server.get("security", [])]
        for name, server in made["servers"].items()
    }
    assert named["websocket"] == schemes
    assert named["http"] == [scheme for scheme in schemes if scheme != "query"]
    binding = made["channels"]["predictions"]["bindings"]["ws"]
    assert ("query" in binding) == ("query" in schemes)


def test_schemes_say_where_a_credential_goes() -> None:
    schemes = document(auth="any")["components"]["securitySchemes"]
    assert schemes["apiKey"] == {"type": "httpApiKey", "name": "X-API-Key", "in": "header"}
    assert (schemes["bearer"]["type"], schemes["bearer"]["scheme"]) == ("http", "bearer")
    assert (schemes["query"]["name"], schemes["query"]["in"]) == ("token", "query")


def test_paths_and_limits_are_those_of_the_settings() -> None:
    made = document(
        path="/live",
        stream="/live/events",
        max_symbols=7,
        max_message=4096,
        message_rate="3/second",
        update_rate="unlimited",
    )
    channels = made["channels"]
    assert [channel["address"] for channel in channels.values()] == ["/live", "/live/events"]
    limits = channels["predictions"]["x-limits"]
    assert (limits["max_message_bytes"], limits["max_symbols"]) == (4096, 7)
    assert (limits["messages"], limits["updates"]) == ("3/second", "unlimited")
    assert made["components"]["schemas"]["Subscribe"]["properties"]["symbols"]["maxItems"] == 7


@pytest.mark.parametrize(("secure", "protocols"), [(False, "ws http"), (True, "wss https")])
def test_servers_are_where_it_was_asked_for(secure: bool, protocols: str) -> None:
    servers = document("predictions.test:8443", secure)["servers"].values()
    assert {server["host"] for server in servers} == {"predictions.test:8443"}
    assert " ".join(server["protocol"] for server in servers) == protocols


ASKED = [
    {"action": "subscribe", "symbols": ["AAPL"]},
    {"action": "subscribe", "symbols": ["A", "ABCDE"], "since": "00ff-1", "conflate": False},
    {"action": "subscribe", "symbols": ["A"], "more": 1},
    {"action": "unsubscribe", "symbols": ["A"]},
    {"action": "ping"},
    {"action": "subscribe", "symbols": ["*"]},
    {"action": "unsubscribe", "symbols": ["*"]},
    {"action": "subscribe"},
    {"action": "subscribe", "symbols": []},
    {"action": "subscribe", "symbols": "AAPL"},
    {"action": "subscribe", "symbols": ["aapl"]},
    {"action": "subscribe", "symbols": ["ABCDEF"]},
    {"action": "subscribe", "symbols": ["A", "B", "C", "D"]},
    {"action": "subscribe", "symbols": [1]},
    {"action": "subscribe", "symbols": ["A"], "since": "1"},
    {"action": "subscribe", "symbols": ["A"], "since": 1},
    {"action": "subscribe", "symbols": ["A"], "conflate": 1},
    {"action": "unsubscribe"},
    {"action": "shout"},
    {},
]


@pytest.mark.parametrize("wildcard", [False, True])
@pytest.mark.parametrize("asked", ASKED)
def test_what_is_described_is_what_is_obeyed(asked: dict[str, Any], wildcard: bool) -> None:
    described = payloads(document(max_symbols=3, wildcard=wildcard))
    valid = any(described[name_of(model)].is_valid(asked) for model in FROM_CLIENTS)
    try:
        wire.read_action(json.dumps(asked), 3, wildcard)
    except wire.Refused:
        assert not valid
    else:
        assert valid


def test_an_update_is_as_described() -> None:
    fields = {"predicted_price": 231.07, "confidence": 0.9, "timestamp": "2026-11-21T10:00:00Z"}
    update = wire.Update("AAPL", fields, wire.Offset("00ff", 7))
    payloads(document())["prediction_update"].validate(json.loads(update.text))
