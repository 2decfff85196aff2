from __future__ import annotations

import pytest

from gateway.openapi.document import DocumentError
from gateway.openapi.matcher import Paths

TEMPLATES = (
    "/",
    "/orders",
    "/orders/latest",
    "/orders/{id}",
    "/orders/{id}/lines",
    "/orders/{order}/lines/{line}",
    "/orders/latest/{part}/x",
    "/{any}/lines",
    "/files/{name}.{ext}",
    "/files/{name}",
    "/files/report-{day}",
    "/größe/a b",
    "/end/",
)


@pytest.fixture(scope="module")
def paths() -> Paths[str]:
    made: Paths[str] = Paths()
    for template in TEMPLATES:
        made.add(template, template, ("paths", template))
    return made


@pytest.mark.parametrize(
    ("path", "template", "values"),
    [
        (b"/", "/", []),
        (b"/orders", "/orders", []),
        (b"/orders/latest", "/orders/latest", []),
        (b"/orders/7", "/orders/{id}", [b"7"]),
        (b"/orders/a%2Fb", "/orders/{id}", [b"a%2Fb"]),
        (b"/orders/7/lines", "/orders/{id}/lines", [b"7"]),
        (b"/orders/latest/lines", "/orders/{id}/lines", [b"latest"]),
        (b"/orders/latest/7/x", "/orders/latest/{part}/x", [b"7"]),
        (b"/orders/latest/lines/2", "/orders/{order}/lines/{line}", [b"latest", b"2"]),
        (b"/other/lines", "/{any}/lines", [b"other"]),
        (b"/files/a.txt", "/files/{name}.{ext}", [b"a", b"txt"]),
        (b"/files/a.b.txt", "/files/{name}.{ext}", [b"a", b"b.txt"]),
        (b"/files/a", "/files/{name}", [b"a"]),
        (b"/files/report-5", "/files/report-{day}", [b"5"]),
        (b"/%6frders", "/orders", []),
        (b"/gr%C3%B6%c3%9fe/a%20b", "/größe/a b", []),
        (b"/end/", "/end/", []),
    ],
)
def test_path_is_found_with_what_is_in_it(
    paths: Paths[str], path: bytes, template: str, values: list[bytes]
) -> None:
    assert paths.match(path) == (template, values)


@pytest.mark.parametrize(
    "path",
    [
        b"/orders/", b"/orders//lines", b"/Orders", b"/orders/7/lines/", b"/orders/7/other",
        b"/nothing", b"//", b"/end", b"/orders%2f7", b"/orders/7/lines/2/3", b"",
    ],
)  # fmt: skip
def test_path_that_is_not_described_is_not_found(paths: Paths[str], path: bytes) -> None:
    assert paths.match(path) is None


def test_longest_path_costs_no_more_than_the_templates_are_deep(paths: Paths[str]) -> None:
    assert paths.match(b"/orders" * 4000) is None


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("/a/{x}", "/a/{y}", "stands here a second time, but for parameters' names"),
        ("/a", "/a", "stands here a second time, but for parameters' names"),
        ("/b", "/a{", "holds a brace that belongs to no parameter"),
        ("/b", "/{}", "holds a brace that belongs to no parameter"),
        ("/b", "/a}b", "holds a brace that belongs to no parameter"),
    ],
)
def test_template_that_cannot_be_is_told(first: str, second: str, told: str) -> None:
    made: Paths[int] = Paths()
    made.add(first, 1, ())
    with pytest.raises(DocumentError, match=told):
        made.add(second, 2, ())
