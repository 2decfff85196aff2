"""A service's document moved behind a route: paths, names, references, dialect, credentials."""

from __future__ import annotations

from typing import Any

import pytest
from openapi_spec_validator import validate

from gateway.apidocs import services
from gateway.apidocs.document import Composer, Made
from gateway.apidocs.services import client_path
from gateway.config import Settings
from gateway.config.routes import Route
from gateway.openapi.document import Document

ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
DONE = {"200": {"description": "done"}}


def source(version: str = "3.1.0", **parts: Any) -> Document:
    return Document({"openapi": version, "info": {"title": "t", "version": "1"}, **parts})


def made(document: Document, *routes: dict[str, Any], **settings: Any) -> Made:
    table = [{"name": "shop", "prefix": "/shop", "strip_prefix": True}]
    model = Settings.model_validate(
        {
            "upstreams": {"orders": {"targets": ["http://127.0.0.1:1"]}},
            "routes": [{"upstream": "orders", **route} for route in routes or table],
            **settings,
        }
    )
    names = sorted(((r.prefix or r.path or "", r.name) for r in model.routes), reverse=True)

    def leads_to(path: str, host: str, method: str) -> str | None:
        return next((name for prefix, name in names if path.startswith(prefix)), None)

    found = Composer("1", model, [], leads_to).make({"orders": document})
    validate(found.document)
    return found


@pytest.mark.parametrize(
    ("route", "asked", "path"),
    [
        ({"prefix": "/shop"}, "/shop/a", "/shop/a"),
        ({"prefix": "/shop"}, "/shop", "/shop"),
        ({"prefix": "/shop"}, "/shops", None),
        ({"prefix": "/shop"}, "/a", None),
        ({"prefix": "/shop", "strip_prefix": True}, "/a/{id}", "/shop/a/{id}"),
        ({"prefix": "/shop", "strip_prefix": True}, "/", "/shop/"),
        ({"prefix": "/shop", "strip_prefix": True, "rewrite": "/v2"}, "/v2/a", "/shop/a"),
        ({"prefix": "/shop", "strip_prefix": True, "rewrite": "/v2"}, "/v2", "/shop"),
        ({"prefix": "/shop", "strip_prefix": True, "rewrite": "/v2"}, "/v20/a", None),
        ({"prefix": "/"}, "/a", "/a"),
        ({"path": "/one"}, "/one", "/one"),
        ({"path": "/one"}, "/one/more", None),
        ({"path": "/one", "strip_prefix": True}, "/", "/one"),
        ({"path": "/one", "strip_prefix": True, "rewrite": "/two"}, "/two", "/one"),
    ],
)
def test_path_is_where_the_route_leads_from(
    route: dict[str, Any], asked: str, path: str | None
) -> None:
    made = Route.model_validate({**route, "target_url": "http://127.0.0.1:1"})
    assert client_path(made, asked) == path


def test_servers_path_stands_before_the_paths() -> None:
    item = {"get": {"responses": DONE}}
    document = source(servers=[{"url": "https://orders.example/v2"}], paths={"/a": item})
    route = {"name": "shop", "prefix": "/shop", "strip_prefix": True, "rewrite": "/v2"}
    found = made(document, route).document
    assert "/shop/a" in found["paths"]
    assert found["servers"] == [{"url": "/"}]


def test_path_that_another_route_takes_is_left_out() -> None:
    document = source(paths={p: {"get": {"responses": DONE}} for p in ("/shop/a", "/shop/b")})
    paths = made(
        document, {"name": "shop", "prefix": "/shop"}, {"name": "b", "prefix": "/shop/b"}
    ).document["paths"]
    assert paths["/shop/a"]["get"]["x-route"] == "shop"
    assert paths["/shop/b"]["get"]["x-route"] == "b"


def test_components_get_the_services_name_wherever_they_are_named() -> None:
    order = {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Order"}}}
    kinds = {
        "oneOf": [{"$ref": "#/components/schemas/Order"}],
        "discriminator": {"propertyName": "kind", "mapping": {"order": "Order"}},
    }
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Kinds"}}}
    document = source(
        paths={
            "/a": {
                "get": {
                    "parameters": [{"$ref": "#/components/parameters/Page"}],
                    "responses": {"200": {"$ref": "#/components/responses/Done"}},
                }
            }
        },
        components={
            "schemas": {"Order": order, "Kinds": kinds},
            "responses": {"Done": {"description": "done", "content": content}},
            "parameters": {"Page": {"name": "page", "in": "query", "schema": {"type": "integer"}}},
        },
    )
    found = made(document).document
    schemas = found["components"]["schemas"]
    to = "#/components/schemas/orders.Order"
    assert schemas["orders.Order"]["properties"]["next"]["$ref"] == to
    assert schemas["orders.Kinds"]["discriminator"]["mapping"] == {"order": to}
    operation = found["paths"]["/shop/a"]["get"]
    assert operation["parameters"] == [{"$ref": "#/components/parameters/orders.Page"}]
    assert operation["responses"]["200"] == {"$ref": "#/components/responses/orders.Done"}


def test_examples_and_members_of_telling_names_are_left_as_they_are() -> None:
    schema = {
        "type": "object",
        "properties": {"schema": {"type": "string"}, "$ref": {"type": "string"}},
        "default": {"$ref": "#/components/schemas/None"},
    }
    example = {"schema": {"$ref": "x"}, "x-y": 1}
    media = {"schema": schema, "example": example}
    document = source(
        paths={
            "/a": {
                "post": {
                    "requestBody": {"content": {"application/json": media}},
                    "responses": {"default": {"description": "done"}},
                }
            }
        }
    )
    operation = made(document).document["paths"]["/shop/a"]["post"]
    assert operation["requestBody"]["content"]["application/json"] == media
    assert operation["responses"]["default"] == {"description": "done"}


def test_openapi_3_0_becomes_3_1() -> None:
    old = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "nullable": True},
            "count": {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
            "other": {"$ref": "#/components/schemas/Other", "description": "ignored"},
        },
    }
    document = source(
        "3.0.3",
        paths={"/a": {"get": {"responses": DONE}}},
        components={"schemas": {"Old": old, "Other": {"type": "string"}}},
    )
    found = made(document).document["components"]["schemas"]["orders.Old"]["properties"]
    assert found["name"] == {"type": ["string", "null"]}
    assert found["count"] == {"type": "integer", "exclusiveMinimum": 0}
    assert found["other"] == {"$ref": "#/components/schemas/orders.Other"}


def test_gateways_and_services_credentials_are_both_asked_for() -> None:
    schemes = {
        "oauth": {"type": "http", "scheme": "Bearer"},
        "basic": {"type": "http", "scheme": "basic"},
    }
    document = source(
        security=[{"basic": []}],
        paths={
            "/a": {"get": {"responses": DONE}},
            "/b": {"get": {"responses": DONE, "security": [{"oauth": ["x"]}, {}]}},
            "/c": {"get": {"responses": DONE, "security": []}},
        },
        components={"securitySchemes": schemes},
    )
    route = {
        "name": "shop", "prefix": "/shop", "strip_prefix": True, "auth": "any", "scopes": ["read"]
    }  # fmt: skip
    found = made(document, route).document
    ours = [{"X-API-Key": ["read"]}, {"bearer": ["read"]}]
    asked = {path[-1]: item["get"]["security"] for path, item in found["paths"].items()}
    assert asked["a"] == [{**each, "orders.basic": []} for each in ours]
    assert asked["b"] == [
        {"X-API-Key": ["read"], "bearer": ["x"]},
        {"X-API-Key": ["read"]},
        {"bearer": ["read", "x"]},
        {"bearer": ["read"]},
    ]
    assert asked["c"] == ours
    assert set(found["components"]["securitySchemes"]) == {"X-API-Key", "bearer", "orders.basic"}


def test_service_alone_says_what_it_wants() -> None:
    document = source(
        security=[{"basic": []}],
        paths={"/a": {"get": {"responses": DONE}}},
        components={"securitySchemes": {"basic": {"type": "http", "scheme": "basic"}}},
    )
    operation = made(document).document["paths"]["/shop/a"]["get"]
    assert operation["security"] == [{"orders.basic": []}]


def test_operation_gets_the_routes_name_its_errors_and_its_methods() -> None:
    operation = {"operationId": "list", "tags": ["items"], "responses": DONE}
    document = source(paths={"/a": {"get": operation, "delete": {"responses": DONE}}})
    route = {"name": "shop", "prefix": "/shop", "strip_prefix": True, "methods": ["GET"]}
    item = made(document, route).document["paths"]["/shop/a"]
    assert set(item) == {"get", "delete"}  # whether it is let through, the table says
    assert item["get"]["operationId"] == "shop_list"
    assert item["get"]["tags"] == ["shop: items"]
    assert {"200", "400", "502", "503", "504"} <= set(item["get"]["responses"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"paths": {"/a": {"get": {"responses": {"200": {"$ref": "#/nowhere"}}}}}},
        {"paths": {"/a": {"get": {"responses": {"200": {"$ref": "other.yaml"}}}}}},
        {"paths": {"/a": {"get": {"responses": DONE, "security": [{"no": []}]}}}},
        {"paths": {"/a": {"get": []}}},
        {"paths": [], "components": {}},
        {"paths": {}, "components": {"schemas": {"A": {"$ref": "#/nowhere"}}}},
        {"paths": {"/a": {"get": {"responses": DONE}}}, "servers": [{"url": "v2"}]},
    ],
)
def test_document_that_cannot_be_moved_is_left_out_and_said(wrong: dict[str, Any]) -> None:
    found = made(source(**wrong))
    assert set(found.left_out) == {"orders"}
    assert set(found.document["paths"]) == {"/shop/{path}"}
    assert not any(name.startswith("orders") for name in found.document["components"]["schemas"])


def test_short_document_that_grows_without_end_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(services, "MOST_PARTS", 10_000)
    value: Any = "x"
    for _ in range(20):
        value = [value] * 4
    for schema in ({"default": value}, {"allOf": value}, {"x-more": value}):
        found = made(source(paths={"/a": {}}, components={"schemas": {"A": schema}}))
        assert set(found.left_out) == {"orders"}
    content = {"application/json": {"example": value}}
    for part in (
        {"requestBody": {"content": content}},
        {"tags": value},
        {"operationId": value},
        {"description": value},
        {"parameters": value},
        {"x-more": value},
    ):
        assert made(source(paths={"/a": {"post": {**part, "responses": DONE}}}))


def test_document_that_is_nested_without_end_is_left_out() -> None:
    value: Any = {}
    for _ in range(300):
        value = {"items": value}
    assert made(source(paths={}, components={"schemas": {"A": value}})).left_out
