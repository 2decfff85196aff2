"""What stands at a route's edge, as it is written: CORS, access lists, sunset, compression."""

from __future__ import annotations

from datetime import UTC, date, datetime
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Settings, checks
from gateway.config.model import Route
from gateway.policies.cors import Origins
from tests.config.folder import Folder

ROUTE = """
routes:
  - prefix: /a
    target_url: http://127.0.0.1:1
"""


def route(folder: Folder, lines: str, **env: str) -> Route:
    (made,) = folder.load(ROUTE + lines, env=env).routes
    return made


def settings(**table: Any) -> Settings:
    return Settings.model_validate(table)


# ------------------------------------------------------------------------------------- origins


@pytest.mark.parametrize(
    ("written", "origin"),
    [
        ("https://app.example.com", "https://app.example.com"),
        ("HTTPS://App.Example.com/", "https://app.example.com"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("http://app.example.com:80", "http://app.example.com"),
        ("http://app.example.com:443", "http://app.example.com:443"),
        ("http://localhost:05173", "http://localhost:5173"),
        ("https://*.Example.com", "https://*.example.com"),
        ("https://*.example.com:8443", "https://*.example.com:8443"),
        ("https://*.example.com:*", "https://*.example.com:*"),
        ("http://10.0.0.1:*", "http://10.0.0.1:*"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("null", "null"),
        ("*", "*"),
    ],
)
def test_origin_is_put_into_the_form_that_browsers_send(written: str, origin: str) -> None:
    assert checks.origin(written) == origin


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        ("app.example.com", "origin"),
        ("https://", "origin"),
        ("https://app.example.com/path", "origin"),
        ("https://app.example.com?x", "origin"),
        ("https://user@app.example.com", "origin"),
        ("https://*", "origin"),
        ("https://*:8080", "origin"),
        ("https://a.*.example.com", "origin"),
        ("https://*example.com", "origin"),
        ("https://**.example.com", "origin"),
        ("https://a.example.*", "origin"),
        ("*.example.com", "origin"),
        ("NULL", "origin"),
        ("", "origin"),
        ("https://app.example.com\n", "host name"),
        ("https://bücher.example", "xn--"),
        ("https://app.example.com:0", "port"),
        ("https://app.example.com:65536", "port"),
        ("https://*.10.0.0.1", "not of an address"),
        ("https://*.[::1]", "not of an address"),
        ("https://a..example.com", "host name"),
    ],
)
def test_what_no_browser_sends_is_refused(written: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        checks.origin(written)


@given(st.from_regex(r"[a-z]{1,5}://[a-z0-9.*:-]{1,20}", fullmatch=True))
def test_origin_that_is_taken_stays_and_lets_itself_in(written: str) -> None:
    try:
        origin = checks.origin(written)
    except ValueError:
        return
    assert checks.origin(origin) == origin
    if "*" not in origin:
        assert origin.encode() in Origins([origin])


# ---------------------------------------------------------------------------------------- CORS


def test_cors_of_a_team_that_sets_it_by_habit(folder: Folder) -> None:
    env = {"BACKEND_CORS_ORIGINS": '["http://localhost:5173/", "https://*.example.com"]'}
    assert folder.load(env=env).cors.origins == ("http://localhost:5173", "https://*.example.com")


@pytest.mark.parametrize("value", ["https://a.example", '"https://a.example"', "[", "{}"])
def test_cors_by_habit_is_a_json_array(folder: Folder, value: str) -> None:
    (problem,) = folder.problems(env={"BACKEND_CORS_ORIGINS": value})
    assert problem.startswith("environment: BACKEND_CORS_ORIGINS: expected a JSON list")


def test_problem_of_cors_by_habit_is_told_by_its_name(folder: Folder) -> None:
    (problem,) = folder.problems(env={"BACKEND_CORS_ORIGINS": '["https://a.example/x"]'})
    assert problem.startswith("environment: BACKEND_CORS_ORIGINS[0]: expected an origin")


def test_own_name_wins_over_the_name_of_habit(folder: Folder) -> None:
    env = {"BACKEND_CORS_ORIGINS": '["http://a"]', "GATEWAY_CORS__ORIGINS": '["http://b"]'}
    assert folder.load(env=env).cors.origins == ("http://b",)


def test_credentials_for_all_are_refused_where_they_stand(folder: Folder) -> None:
    problems = folder.problems(
        'cors: {origins: ["*"], credentials: true}\n'
        + ROUTE
        + '    cors: {origins: ["*"], credentials: true}'
    )
    wrong = 'never with the origin "*": list the origins that may'
    assert problems == [
        f"gateway.yaml: cors.credentials: {wrong}",
        f"gateway.yaml: routes[0].cors.credentials: {wrong}",
    ]


@pytest.mark.parametrize(
    ("table", "wrong"),
    [
        ({"origins": ["*", "https://a"]}, "leave out the others"),
        ({"origins": ["https://a", "https://a:443/"]}, "same value twice"),
        ({"headers": ["*", "X-A"]}, "leave out the others"),
        ({"headers": ["X A"]}, "header's name"),
        ({"expose": ["*"]}, "name them"),
        ({"methods": ["get"]}, "upper case"),
        ({"max_age": -1}, "not less than 0"),
    ],
)
def test_cors_that_cannot_be_is_refused(table: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        settings(cors=table)


def test_routes_own_cors_says_whose(folder: Folder) -> None:
    (problem,) = folder.problems(ROUTE + "    cors: {credentials: true}")
    assert problem.startswith("gateway.yaml: routes[0].cors: needs origins of its own")
    assert route(folder, "    cors: {origins: []}").cors is not None


# -------------------------------------------------------------------------------------- access


def test_access_is_lists_of_networks(folder: Folder) -> None:
    access = route(folder, "    access: {allow: [10.0.0.0/8], deny: [10.1.2.3]}").access
    assert access is not None
    assert access.allow == (ip_network("10.0.0.0/8"),)
    assert access.deny == (ip_network("10.1.2.3/32"),)


def test_network_that_is_let_in_and_not_is_refused(folder: Folder) -> None:
    (problem,) = folder.problems(ROUTE + "    access: {allow: [10.1.2.3], deny: [10.1.2.3/32]}")
    assert problem == "gateway.yaml: routes[0].access.deny: holds a network that is allowed, too"


# -------------------------------------------------------------------------------------- sunset


def seconds(year: int, month: int, day: int, hour: int = 0) -> int:
    return int(datetime(year, month, day, hour, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("written", "end"),
    [
        ("2026-02-01", seconds(2026, 2, 1)),
        ('"2026-02-01"', seconds(2026, 2, 1)),
        ("2026-02-01T12:00:00Z", seconds(2026, 2, 1, 12)),
        ('"2026-02-01T12:00:00+02:00"', seconds(2026, 2, 1, 10)),
        ("2026-02-01 12:00:00", seconds(2026, 2, 1, 12)),
        ("30d", seconds(2026, 1, 31)),
        ("3600", seconds(2026, 1, 1, 1)),
        ('"${END:-30d}"', seconds(2026, 1, 31)),
    ],
)
def test_end_is_a_date_or_a_time_after_the_beginning(
    folder: Folder, written: str, end: int
) -> None:
    table = route(folder, f"    deprecated: {{since: 2026-01-01, sunset: {written}}}").deprecated
    assert table is not None
    assert (table.since, table.sunset) == (seconds(2026, 1, 1), end)


@pytest.mark.parametrize(
    ("table", "wrong"),
    [
        ("{since: 2026-01-02, sunset: 2026-01-01}", "sunset: is before since"),
        ("{since: soon}", "since: expected a date"),
        ("{since: 30d}", "since: expected a date"),
        ("{since: 20260101}", "since: expected a date"),
        ("{since: 2026-01-01, sunset: never}", "sunset: expected a date"),
        ("{since: 1969-12-31}", "since: expected a date such as .* not before 1970"),
        ("{since: soon, sunset: 30d}", "since: expected a date"),
        ("{sunset: 2026-01-01}", "since: is required"),
        ('{since: 2026-01-01, successor: "/v 1"}', "successor: expected a URL or a path"),
        ('{since: 2026-01-01, successor: "/v1>; rel=x"}', "successor: expected a URL or a path"),
    ],
)
def test_sunset_that_cannot_be_is_refused(folder: Folder, table: str, wrong: str) -> None:
    problems = "\n".join(folder.problems(ROUTE + f"    deprecated: {table}"))
    with pytest.raises(ValueError, match=wrong):
        raise ValueError(problems)


def test_date_before_time_began_and_one_out_of_reach_are_refused() -> None:
    with pytest.raises(ValueError, match="expected a date"):
        settings(routes=[deprecated(date(1, 1, 1))])
    assert settings(routes=[deprecated(date(9999, 12, 31))])


def deprecated(since: date) -> dict[str, Any]:
    return {"prefix": "/", "target_url": "http://a:1", "deprecated": {"since": since}}


def test_links_are_named_by_their_relation(folder: Folder) -> None:
    table = route(
        folder,
        "    deprecated: {since: 2026-01-01, successor: /v1, "
        'deprecation_link: "https://a.example/why", sunset_link: "https://a.example/end?x#y"}',
    ).deprecated
    assert table is not None
    assert table.links == {
        "successor-version": "/v1",
        "deprecation": "https://a.example/why",
        "sunset": "https://a.example/end?x#y",
    }


# --------------------------------------------------------------------------------- compression


def test_compression_is_on_by_a_word_and_off_by_default(folder: Folder) -> None:
    assert route(folder, "").compress is None
    assert route(folder, "    compress: false").compress is None
    on = route(folder, "    compress: true").compress
    assert on is not None
    assert (on.codings, on.min_size) == (("zstd", "br", "gzip"), 1024)


def test_compression_can_be_told_how(folder: Folder) -> None:
    table = route(
        folder, "    compress: {codings: [gzip], min_size: 2KiB, types: [Text/*]}"
    ).compress
    assert table is not None
    assert (table.codings, table.min_size, table.types) == (("gzip",), 2048, ("text/*",))


@pytest.mark.parametrize(
    ("table", "wrong"),
    [
        ("{codings: [deflate]}", "compress.codings[0]: expected one of zstd, br, gzip"),
        ("{codings: [gzip, gzip]}", "compress.codings: holds the same value twice"),
        ("{types: [json]}", "compress.types[0]: expected a media type"),
        ("{types: ['*/*']}", "compress.types[0]: expected a media type"),
        ("{level: 9}", "compress.level: unknown key"),
        ("gzip", "compress: expected a mapping"),
    ],
)
def test_compression_that_cannot_be_is_refused(folder: Folder, table: str, wrong: str) -> None:
    (problem,) = folder.problems(ROUTE + f"    compress: {table}")
    assert problem.startswith(f"gateway.yaml: routes[0].{wrong}")
