from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.openapi.document import Document, DocumentError
from gateway.openapi.loading import Loading, load
from gateway.openapi.operations import MOST_FINDINGS
from tests.openapi.describing import FORM, JSON, api, ask, operation, parameter, takes

ROOT = Path(__file__).parents[2]
INTEGER = {"type": "integer"}
GET: dict[str, Any] = {"get": {}}


@pytest.mark.parametrize(
    ("more", "paths"),
    [
        ({}, [b"/x"]),
        ({"base": "/b"}, [b"/b/x"]),
        ({"base": ""}, [b"/x"]),
        ({"servers": []}, [b"/x"]),
        ({"servers": [{"url": "/v2/"}]}, [b"/v2/x"]),
        ({"servers": [{"url": "https://a.b:8/v2"}, {"url": "https://c"}]}, [b"/v2/x", b"/x"]),
        ({"servers": [{"url": "https://a/v2"}, {"url": "https://b/v2"}]}, [b"/v2/x"]),
        ({"servers": [{"url": "https://a/v2"}], "base": "/b"}, [b"/b/x"]),
        (
            {"servers": [{"url": "https://{h}/{v}", "variables": {
                "h": {"default": "a"}, "v": {"default": "v3"}}}]},
            [b"/v3/x"],
        ),
    ],
)  # fmt: skip
def test_paths_stand_behind_what_servers_have(more: Any, paths: list[bytes]) -> None:
    made = api({"/x": GET}, **more)
    for path in (b"/x", b"/v2/x", b"/b/x", b"/v3/x"):
        assert (made.match(path) is not None) is (path in paths)


def test_servers_of_a_path_count_for_it_alone() -> None:
    made = api({"/x": {**GET, "servers": [{"url": "/own"}]}, "/y": GET}, servers=[{"url": "/v2"}])
    assert made.match(b"/own/x")
    assert made.match(b"/v2/y")
    assert not made.match(b"/v2/x")


def test_extensions_beside_paths_are_left_alone() -> None:
    assert api({"x-mine": 5, "/x": GET}).match(b"/x")


def test_methods_of_a_path_are_told() -> None:
    found = api({"/x": {"get": {}, "post": {}, "x-mine": {}, "summary": "?"}}).match(b"/x")
    assert found is not None
    assert found[0].operations.keys() == {b"GET", b"HEAD", b"POST"}
    assert found[0].allow == b"Allow: GET, HEAD, POST"


def test_head_of_its_own_is_kept() -> None:
    needs = {"parameters": [parameter(INTEGER, required=True)]}
    found = api({"/x": {"get": {}, "head": needs}}).match(b"/x")
    assert found is not None
    assert ask(found[0].operations[b"HEAD"]) == [("query", "q", "", "is missing")]
    assert ask(found[0].operations[b"GET"]) == []


def test_parameters_of_a_path_are_its_operations_and_can_be_replaced() -> None:
    text = {"type": "string"}
    value = {
        "parameters": [parameter(INTEGER), parameter(INTEGER, name="r", required=True)],
        "get": {"parameters": [parameter(text)]},
        "post": {},
    }
    found = api({"/x": value}).match(b"/x")
    assert found is not None
    operations = found[0].operations
    assert ask(operations[b"GET"], b"q=a&r=1") == []
    assert ask(operations[b"POST"], b"q=a") == [
        ("query", "q", "", "expected integer"),
        ("query", "r", "", "is missing"),
    ]


def test_paths_parameters_and_bodies_may_be_references() -> None:
    made = api(
        {"/x": {"$ref": "#/components/pathItems/X"}},
        components={
            "pathItems": {
                "X": {
                    "get": {
                        "parameters": [{"$ref": "#/components/parameters/Q"}],
                        "requestBody": {"$ref": "#/components/requestBodies/B"},
                    }
                }
            },
            "parameters": {"Q": parameter(INTEGER)},
            "requestBodies": {"B": {"content": {"application/json": {"schema": INTEGER}}}},
        },
    )
    found = made.match(b"/x")
    assert found is not None
    asked = found[0].operations[b"GET"]
    assert ask(asked, b"q=x") == [("query", "q", "", "expected integer")]
    assert ask(asked, lines=JSON, body=b'"x"') == [("body", "", "", "expected integer")]


def test_one_schema_may_stand_behind_several_names() -> None:
    shared = {"$ref": "#/components/parameters/Q"}
    made = api(
        {"/x": {"get": {"parameters": [shared]}}, "/y": {"get": {"parameters": [shared]}}},
        components={"parameters": {"Q": parameter(INTEGER)}},
    )
    for path in (b"/x", b"/y"):
        found = made.match(path)
        assert found is not None
        assert ask(found[0].operations[b"GET"], b"q=x")


def test_values_of_a_path_belong_to_their_names() -> None:
    described = [
        parameter(INTEGER, "path", "b", required=True),
        parameter({"const": "x"}, "path", "a", required=True),
    ]
    found = api({"/{a}/{c}/{b}": {"get": {"parameters": described}}}).match(b"/x/y/5")
    assert found is not None
    item, values = found
    assert ask(item.operations[b"GET"], path=values) == []
    assert ask(item.operations[b"GET"], path=values[::-1]) == [
        ("path", "b", "", "expected integer"),
        ("path", "a", "", 'expected "x"'),
    ]


AT = "#/paths/~1x/get/parameters/0"


def with_parameter(**value: Any) -> dict[str, Any]:
    return {"paths": {"/x": {"get": {"parameters": [value]}}}}


def with_content(content: Any) -> dict[str, Any]:
    return with_parameter(name="q", **{"in": "query"}, content=content)


@pytest.mark.parametrize(
    ("root", "told"),
    [
        ({}, "#/paths: is missing"),
        ({"paths": []}, "#/paths: expected a mapping"),
        ({"paths": {"x": {}}}, "#/paths/x: a path begins with a slash"),
        ({"paths": {"/x": None}}, "#/paths/~1x: expected a mapping"),
        ({"paths": {"/x": {"get": None}}}, "#/paths/~1x/get: expected a mapping"),
        ({"paths": {"/{a}/{a}": {}}}, "#/paths/~1{a}~1{a}: has a parameter twice in its path"),
        ({"paths": {"/{a}": {}, "/{b}": {}}}, "#/paths/~1{b}: stands here a second time"),
        ({"paths": {"/x": {"parameters": {}}}}, "#/paths/~1x/parameters: expected a list"),
        ({"paths": {}, "servers": {"url": "/"}}, "#/servers: expected a list"),
        ({"paths": {}, "servers": [{}]}, "#/servers/0/url: expected text"),
        ({"paths": {}, "servers": [{"url": "v2"}]}, "#/servers/0/url: leads nowhere by itself"),
        ({"paths": {}, "servers": [{"url": "http://[a"}]}, "#/servers/0/url: is no URL"),
        ({"paths": {}, "servers": [{"url": "/{v}"}]}, "#/servers/0/variables/v: expected a mapp"),
        ({"paths": {}, "components": {"securitySchemes": {"k": {"type": "apiKey", "in": "query"}}}},
         "#/components/securitySchemes/k/name: expected text"),
        (with_parameter(), f"{AT}/name: expected text"),
        (with_parameter(name="q", **{"in": "body"}), f"{AT}/in: expected path, query, header or"),
        (with_parameter(name="q", **{"in": "query"}), f"{AT}: a parameter has either a schema or"),
        (with_parameter(**parameter({}), content={}), f"{AT}: a parameter has either a schema or"),
        (with_parameter(**parameter({}, style="matrix")), f"{AT}/style: in a query, only form or"),
        (with_parameter(**parameter({}, "header", style="form")), f"{AT}/style: in a header, only"),
        (with_parameter(**parameter({}, style="deepObject")), f"{AT}/style: a deepObject needs"),
        (with_parameter(**parameter({}, "path")), "#/paths/~1x/get: there is no {q} in its path"),
        (with_parameter(**parameter({"type": 5})), f"{AT}/schema/type: is no schema: has none of"),
        (with_content({}), f"{AT}/content: expected one media type, of JSON"),
        (with_content({"text/plain": {}}), f"{AT}/content: expected one media type, of JSON"),
        (with_content({"application/json": {}}), f"{AT}/content/application~1json/schema: is miss"),
        ({"paths": {"/x": {"get": {"parameters": [parameter({}), parameter({})]}}}},
         "#/paths/~1x/get/parameters/1: stands here a second time"),
        ({"paths": {"/x": {"get": {"requestBody": {}}}}},
         "#/paths/~1x/get/requestBody/content: expected a mapping"),
        ({"paths": {"/x": {"get": {"requestBody": {"$ref": "a.yaml"}}}}},
         "#/paths/~1x/get/requestBody/$ref: only references within the document are followed"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_document_is_told_with_its_place(root: Any, told: str) -> None:
    with pytest.raises(DocumentError) as raised:
        Loading(Document({"openapi": "3.1.0", **root}), base=None, strict=False).api()
    assert str(raised.value).startswith(told)


# Bodies: which are read, which pass, which are refused unread.


@pytest.mark.parametrize(
    ("kind", "lines", "body", "told"),
    [
        ("application/json", [b"Content-Type: application/json; charset=UTF-8"], b"1", []),
        ("application/json", [b"Content-Type: Application/JSON"], b"1", []),
        ("application/json", [b"content-type: application/json"], b"x", ["is no JSON: line 1"]),
        ("application/json", [b"Content-Type: text/plain"], b"x", ["expected one of"]),
        ("application/json", [], b"1", ["expected one of application/json"]),
        ("application/json", [JSON[0], JSON[0]], b"1", ["expected one of application/json"]),
        ("application/json", [JSON[0], b"Content_Type: a/b"], b"1", ["expected one of applicatio"]),
        ("application/json", [JSON[0], b"Content-Encoding: gzip"], b"1", ["a coded body"]),
        ("application/json", [JSON[0], b"Content-Encoding: identity"], b"1", []),
        ("application/json", [JSON[0] + b";charset=utf-16"], b"1", ["expected charset utf-8"]),
        ("application/json", [JSON[0] + b'; x=y; charset="utf-8"'], b"1", []),
        ("a/vnd.x+json", [b"Content-Type: a/vnd.x+json"], b'"x"', ["expected i"]),
        ("application/json; charset=utf-8", JSON, b'"x"', ["expected integer"]),
        ("application/*", JSON, b'"x"', []),
        ("*/*", JSON, b'"x"', []),
        ("text/plain", [b"Content-Type: text/plain", b"Content-Encoding: gzip"], b"x", []),
        ("application/xml", [b"Content-Type: application/xml"], b"<", []),
    ],
)  # fmt: skip
def test_body_is_read_if_its_type_can_be(
    kind: str, lines: list[bytes], body: bytes, told: list[str]
) -> None:
    found = ask(takes(INTEGER, kind), lines=lines, body=body)
    assert len(found) == len(told)
    for finding, start in zip(found, told, strict=True):
        assert finding[3].startswith(start)


def test_closest_range_of_types_counts() -> None:
    content = {"*/*": {}, "application/*": {}, "application/json": {"schema": INTEGER}}
    asked = operation({"requestBody": {"content": content}})
    assert ask(asked, lines=JSON, body=b'"x"')
    assert not ask(asked, lines=[b"Content-Type: application/pdf"], body=b"x")
    assert not ask(asked, lines=[b"Content-Type: image/png"], body=b"x")


def test_type_without_a_schema_is_not_read() -> None:
    asked = operation({"requestBody": {"content": {"application/json": {}}}})
    assert ask(asked, lines=JSON, body=b"{") == []


@pytest.mark.parametrize(("required", "told"), [(True, ["is missing"]), (False, [])])
def test_body_that_is_not_there(required: bool, told: list[str]) -> None:
    content = {"application/json": {"schema": INTEGER}}
    asked = operation({"requestBody": {"required": required, "content": content}})
    assert [finding[3] for finding in ask(asked)] == told
    assert [finding[3] for finding in ask(asked, lines=JSON, body=b"")] == told


def test_body_that_is_not_described_passes_unless_strict() -> None:
    assert ask(operation({}), lines=JSON, body=b"x") == []
    told = ask(operation({}, strict=True), lines=JSON, body=b"x")
    assert told == [("body", "", "", "is not described")]
    assert ask(operation({}, strict=True)) == []


def test_body_whose_content_is_left_open_passes() -> None:
    assert (
        ask(operation({"requestBody": {"content": {}}}, strict=True), lines=FORM, body=b"x") == []
    )


# Strict queries

STRICT = operation(
    {
        "parameters": [
            parameter(INTEGER),
            parameter({"type": "object", "properties": {"r": INTEGER}}, name="spread"),
            parameter({"type": "object"}, name="deep", style="deepObject"),
        ]
    },
    strict=True,
    components={
        "securitySchemes": {
            "key": {"type": "apiKey", "in": "query", "name": "key"},
            "header": {"type": "apiKey", "in": "header", "name": "X-Key"},
            "token": {"$ref": "#/components/securitySchemes/key"},
        }
    },
)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (b"q=1&r=2&deep[a]=3&key=4", []),
        (b"other=1&q=1&other=2", ["other"]),
        (b"spread=1", ["spread"]),
        (b"X-Key=1", ["X-Key"]),
        (b"deep2[a]=1", ["deep2[a]"]),
        (b"%ff=1", [""]),
        (b"n" * 100 + b"=1", ["n" * 63 + "…"]),
    ],
)
def test_strict_query_takes_what_is_described(query: bytes, names: list[str]) -> None:
    told = ask(STRICT, query)
    assert [(place, name) for place, name, _, _ in told] == [("query", name) for name in names]


def test_findings_are_bounded() -> None:
    told = ask(STRICT, b"&".join(b"n%d=1" % number for number in range(3000)))
    assert len(told) == MOST_FINDINGS


def test_example_is_read_from_its_file() -> None:
    made = load(ROOT / "deploy" / "examples" / "orders.yaml")
    assert made.match(b"/v2/orders/latest")
    assert not made.match(b"/orders")
    assert load(ROOT / "deploy" / "examples" / "orders.yaml", base="/b").match(b"/b/orders/7")
