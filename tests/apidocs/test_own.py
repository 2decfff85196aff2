"""The gateway's own endpoints in the document: all of them, with what they want and answer."""

from __future__ import annotations

from typing import Any

import pytest
from openapi_spec_validator import validate
from pydantic import BaseModel

from gateway.abouts import ABOUT, live
from gateway.apidocs import problems
from gateway.apidocs.document import Composer
from gateway.config import Settings
from gateway.config.ratelimits import RateLimit
from gateway.own import About, Own, unasked
from tests.e2e.stage import stage

PAGES = {"gateway.docs", "gateway.docs_file", "gateway.redoc", "gateway.docs_redirect"}


class Query(BaseModel):
    limit: int | None = None
    name: str


class Body(BaseModel):
    text: str


class Answer(BaseModel):
    text: str | None = None


def operation(about: About, path: str = "/x", method: str = "POST", **own: Any) -> dict[str, Any]:
    one = Own("gateway.x", method, path, unasked, **own)
    document = Composer("1", Settings(), [(one, about)], lambda *_: None).make({}).document
    validate(document)
    found: dict[str, Any] = document["paths"][path][method.lower()]
    return found


async def test_every_endpoint_is_described_but_the_pages() -> None:
    async with stage(
        stores={"sqlite": ":memory:"},
        auth={"login": True},
        secret_key="k" * 32,
        realtime=True,
        route={"cache": True},
        apis={"predictions": True},
    ) as scene:
        own = scene.gateway._own()
    names = {one.name for one in own if one.about is None}
    assert names - set(ABOUT) == PAGES
    assert set(ABOUT) <= names


def test_ways_to_live_updates_are_described() -> None:
    settings = Settings.model_validate({"realtime": {"auth": "api_key"}}).realtime
    assert settings is not None
    document = Composer("1", Settings(), live(settings), lambda *_: None).make({}).document
    validate(document)
    stream = document["paths"]["/api/stream/predictions"]["get"]
    assert stream["security"] == [{"X-API-Key": []}]
    assert "text/event-stream" in stream["responses"]["200"]["content"]


@pytest.mark.parametrize("way", list(problems.WAYS))
def test_what_clients_bring_is_said_with_the_errors_that_follow(way: Any) -> None:
    scopes = frozenset({"read"}) if way in ("api_key", "jwt", "any") else frozenset[str]()
    found = operation(About("x", "x", {204: None}), way=way, scopes=scopes)
    assert found.get("security", []) == problems.security(way, scopes)
    assert ("401" in found["responses"]) is (way != "none")
    assert ("403" in found["responses"]) is bool(scopes)


def test_limit_is_said_in_words_and_as_data() -> None:
    limit = RateLimit.model_validate({"rate": "60/minute", "burst": 5, "by": "key"})
    found = operation(About("x", "x", {204: None}), limit=limit)
    assert found["description"] == "At most 60/minute by key or user."
    assert found["x-rate-limit"] == {
        "by": "key", "mode": "enforce", "rate": "60/minute", "burst": 5
    }  # fmt: skip
    assert "429" in found["responses"]


def test_tiers_are_said() -> None:
    found = operation(About("x", "x", {204: None}), limit=RateLimit(by="tier"))
    assert "pro 1000/hour" in found["description"]
    assert found["x-rate-limit"]["tiers"]["enterprise"] == "unlimited"


def test_query_body_path_and_fields_are_said() -> None:
    about = About(
        "x",
        "x",
        {200: Answer},
        body=Body,
        query=Query,
        pattern="^[a-z]+$",
        fields={"If-Match": "an ETag"},
    )
    found = operation(about, "/x/{id}")
    by_name = {each["name"]: each for each in found["parameters"]}
    assert by_name["id"]["schema"] == {"type": "string", "minLength": 1, "pattern": "^[a-z]+$"}
    assert by_name["limit"]["schema"] == {"type": "integer"}  # a query says no null
    assert (by_name["limit"]["required"], by_name["name"]["required"]) == (False, True)
    assert by_name["If-Match"]["in"] == "header"
    assert found["requestBody"]["required"]
    assert {"400", "413", "422", "500", "503", "default"} <= set(found["responses"])


def test_answer_has_the_forms_of_which_a_client_has_the_choice() -> None:
    about = About("x", "x", {200: Answer}, media=("text/plain", "application/json"))
    content = operation(about)["responses"]["200"]["content"]
    assert content["text/plain"]["schema"] == {"type": "string"}
    assert content["application/json"]["schema"]["$ref"].endswith("/Answer")


def test_two_methods_of_a_path_stand_together() -> None:
    both = [
        (Own(f"gateway.{m}", m, "/x", unasked), About("x", "x", {204: None}))
        for m in ("GET", "POST")
    ]
    document = Composer("1", Settings(), both, lambda *_: None).make({}).document
    assert set(document["paths"]["/x"]) == {"get", "post"}


def test_every_status_of_an_error_has_a_response() -> None:
    made = problems.responses()
    assert {"Error400", "Error401", "Error429", "Error503", "Error"} <= set(made)
    assert "Retry-After" in made["Error429"]["headers"]
    assert "`service_unavailable`" in made["Error503"]["description"]
