from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.config import Problem, Settings
from gateway.config.problems import key_path
from tests.config.folder import Folder


def test_nothing_at_all_gives_the_defaults(folder: Folder) -> None:
    assert folder.load() == Settings()


def test_each_source_wins_over_those_before_it(folder: Folder) -> None:
    settings = folder.load(
        "host: 127.0.0.1\nport: 1\ntimeout: 1\nworkers: 1\nconnect_timeout: 1",
        dotenv="GATEWAY_PORT=2\nGATEWAY_TIMEOUT=2\nGATEWAY_WORKERS=2\n",
        env={"GATEWAY_TIMEOUT": "3", "GATEWAY_WORKERS": "3"},
        flags={"workers": "4", "host": None},
    )
    assert settings.host == "127.0.0.1"
    assert settings.connect_timeout == 1
    assert (settings.port, settings.timeout, settings.workers) == (2, 3, 4)


def test_tables_merge_and_lists_are_replaced(folder: Folder) -> None:
    settings = folder.load(
        "limits: {head_timeout: 1, header_count: 5}\n"
        "trusted_proxies: [10.0.0.0/8, 11.0.0.0/8]\n"
        "upstreams: {orders: {targets: ['http://a'], retries: {attempts: 3}}}",
        env={
            "GATEWAY_LIMITS__HEAD_TIMEOUT": "2s",
            "GATEWAY_TRUSTED_PROXIES": '["::1"]',
            "GATEWAY_UPSTREAMS__ORDERS": '{"balance": "hash", "retries": null}',
            "GATEWAY_UPSTREAMS__ORDERS__HASH_ON": "cookie:sid",
        },
    )
    assert (settings.limits.head_timeout, settings.limits.header_count) == (2, 5)
    assert [str(network) for network in settings.trusted_proxies] == ["::1/128"]
    orders = settings.upstreams["orders"]
    assert (orders.balance, orders.hash_on, orders.retries) == ("hash", "cookie:sid", None)
    assert orders.targets[0].url == "http://a"


def test_single_key_wins_over_its_table_in_the_environment(folder: Folder) -> None:
    settings = folder.load(
        env={"GATEWAY_LIMITS__BUFFER": "2", "GATEWAY_LIMITS": '{"buffer": 1, "replay": 1}'}
    )
    assert (settings.limits.buffer, settings.limits.replay) == (2, 1)


def test_file_named_by_the_flag_wins_over_the_variable(folder: Folder) -> None:
    for number in (1, 2, 3):
        (folder.path / f"{number}.yaml").write_text(f"port: {number}")
    variable = {"GATEWAY_CONFIG": "2.yaml"}
    assert folder.load("port: 3", env=variable, config=Path("1.yaml")).port == 1
    assert folder.load("port: 3", env=variable).port == 2
    assert folder.load("port: 3", env={"GATEWAY_CONFIG": ""}).port == 3
    assert folder.load("port: 3", dotenv="GATEWAY_CONFIG=1.yaml").port == 1


def test_file_that_was_named_and_is_missing_is_a_problem(folder: Folder) -> None:
    assert folder.problems(config=Path("x.yaml")) == ["flags: --config: there is no file 'x.yaml'"]
    assert folder.problems(env={"GATEWAY_CONFIG": "x.yaml"}) == [
        "environment: GATEWAY_CONFIG: there is no file 'x.yaml'"
    ]


def test_all_problems_of_a_file_are_told_at_once(folder: Folder) -> None:
    content = """
timout: 3
head_timeout: 3
port: http
workers:
environment: dev
access_log: perhaps
drain_delay: -1
trusted_proxies: 10.0.0.0/8
tls: {cert: none.pem}
stores: {redis: "mysql://:hunter2@a", sqlite: 7}
limits: {buffer: 0, tiemout: 1}
upstreams:
  orders: {targets: ["http://a", "b:80"], retries: {budget: lots}, pool: none}
  "a b": {targets: []}
routes:
  - {prefix: /a, upstream: ordrs}
  - {prefix: /a, name: 7, upstream: orders, timeout: 10 parsecs}
  - {upstream: orders, auht: token}
  - {prefix: /a, target_url: "http://a"}
  - hello
"""
    assert folder.problems(content) == [
        "gateway.yaml: port: expected a whole number",
        "gateway.yaml: workers: expected a whole number",
        "gateway.yaml: environment: expected local, staging or production",
        "gateway.yaml: drain_delay: expected a length of time: seconds, or 250ms, 10s, 2m, 1h, 90d;"
        " not less than 0",
        "gateway.yaml: access_log: expected true or false",
        "gateway.yaml: trusted_proxies: expected a list",
        "gateway.yaml: tls.cert: there is no such file",
        "gateway.yaml: tls.key: is required",
        "gateway.yaml: limits.buffer: has to be more than 0",
        "gateway.yaml: limits.tiemout: unknown key",
        "gateway.yaml: stores.redis: expected a URL that begins with redis:// or rediss://",
        "gateway.yaml: stores.sqlite: expected the path of a file",
        "gateway.yaml: upstreams.orders.targets[1]: expected the URL of a service:"
        " http://host:port, https://host:port or unix:///path/of/socket",
        "gateway.yaml: upstreams.orders.retries.budget: expected a number",
        "gateway.yaml: upstreams.orders.pool: expected a mapping",
        "gateway.yaml: upstreams.'a b': a name is 1 to 64 letters, digits, dots, hyphens or"
        " underscores",
        "gateway.yaml: upstreams.'a b'.targets: expected at least one",
        "gateway.yaml: routes[1].name: expected text (put it into quotes)",
        "gateway.yaml: routes[1].timeout: expected a length of time: seconds, or 250ms, 10s, 2m,"
        " 1h, 90d",
        "gateway.yaml: routes[2]: a route needs a prefix or a path",
        "gateway.yaml: routes[2].auht: unknown key, did you mean auth?",
        "gateway.yaml: routes[4]: expected a mapping",
        "gateway.yaml: timout: unknown key, did you mean timeout?",
        "gateway.yaml: head_timeout: unknown key, did you mean limits.head_timeout?",
        "gateway.yaml: routes[0].upstream: there is no upstream 'ordrs', did you mean orders?",
        "gateway.yaml: routes[3].prefix: has the prefix, a host and a method in common with"
        " gateway.yaml: routes[0]",
    ]


def test_problem_of_each_source_names_it(folder: Folder) -> None:
    assert folder.problems(
        "port: a\ntimeout: a",
        dotenv="GATEWAY_CONNECT_TIMEOUT=a\nGATEWAY_TIMEOUT=2\n\n\nwhat is this\nalone\n",
        env={"GATEWAY_DRAIN_TIMEOUT": "a", "GATEWAY_LIMITS__BUFFER": "a"},
        flags={"port": "b"},
    ) == [
        ".env: line 5: expected NAME=value",
        ".env: line 6: expected NAME=value",
        "flags: --port: expected a whole number",
        ".env: GATEWAY_CONNECT_TIMEOUT: expected a length of time: seconds, or 250ms, 10s, 2m, 1h,"
        " 90d",
        "environment: GATEWAY_DRAIN_TIMEOUT: expected a length of time: seconds, or 250ms, 10s, 2m,"
        " 1h, 90d",
        "environment: GATEWAY_LIMITS__BUFFER: expected a size: bytes, or 64k, 512KiB, 8MiB",
    ]


def test_problem_within_json_names_the_variable_and_the_rest_of_the_path(folder: Folder) -> None:
    routes = [{"prefix": "/a", "target_url": "http://a", "timeout": "x", "auht": "any"}, {}]
    assert folder.problems(
        "upstreams: {orders: {balance: hash}}",
        env={
            "GATEWAY_ROUTES": json.dumps(routes),
            "GATEWAY_UPSTREAMS__ORDERS__HASH_ON": "cookie:sid",
            "GATEWAY_UPSTREAMS__BILLS__BALANCE": "hash",
            "GATEWAY_STORES": '{"nats": "nats"}',
        },
    ) == [
        "environment: GATEWAY_STORES.nats: expected a URL that begins with nats:// or tls://",
        "gateway.yaml: upstreams.orders.targets: is required",
        "environment: GATEWAY_UPSTREAMS__BILLS__TARGETS: is required",
        "environment: GATEWAY_ROUTES[0].timeout: expected a length of time: seconds, or 250ms, 10s,"
        " 2m, 1h, 90d",
        "environment: GATEWAY_ROUTES[0].auht: unknown key, did you mean auth?",
        "environment: GATEWAY_ROUTES[1]: a route needs a prefix or a path",
        "environment: GATEWAY_ROUTES[1]: a route needs an upstream or a target_url",
    ]


def test_problem_within_a_list_names_the_source_that_replaced_it(folder: Folder) -> None:
    assert folder.problems(
        "upstreams: {a: {targets: [{url: 'http://a'}]}}",
        env={"GATEWAY_UPSTREAMS__A__TARGETS": '[{"weight": 2}]'},
    ) == ["environment: GATEWAY_UPSTREAMS__A__TARGETS[0].url: is required"]


def test_upstreams_as_a_list_are_a_problem(folder: Folder) -> None:
    assert folder.problems("upstreams: [{name: a}]") == [
        "gateway.yaml: upstreams: expected a mapping"
    ]


def test_null_in_the_file_is_told_from_a_wrong_kind(folder: Folder) -> None:
    assert folder.problems("limits:\nupstreams:\nroutes:\nhost:") == [
        f"gateway.yaml: {key}: has no value: give it one, or leave the key out"
        for key in ("host", "limits", "upstreams", "routes")
    ]


def test_text_that_is_not_utf8_is_a_problem(folder: Folder) -> None:
    assert folder.problems("host: !!binary /w==", env={"SECRET_KEY": "a\udcff"}) == [
        "gateway.yaml: host: expected text in UTF-8",
        "environment: SECRET_KEY: expected text in UTF-8",
    ]


@pytest.mark.parametrize(
    "key", ["timeout", "port", "max_body_size", "host", "log_level", "access_log", "secret_key"]
)
def test_value_of_a_variable_is_in_no_problem(folder: Folder, key: str) -> None:
    (line,) = folder.problems(
        f"environment: production\n{key}: ${{SECRET}}", env={"SECRET": "hunter2 hunter2"}
    )
    assert line.startswith(f"gateway.yaml: {key}: ")
    assert "hunter2" not in line


def test_key_with_control_characters_is_shown_escaped() -> None:
    problem = Problem("gateway.yaml", key_path(("routes", 0, "a\nb.c", "d")), "unknown key")
    assert str(problem) == r"gateway.yaml: routes[0].'a\nb.c'.d: unknown key"
