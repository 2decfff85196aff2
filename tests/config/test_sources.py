from __future__ import annotations

import pytest

from tests.config.folder import Folder


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("GATEWAY_TIMOUT", "1", "unknown setting, did you mean GATEWAY_TIMEOUT?"),
        ("GATEWAY_AUTH__TOKENS", "hunter2", "unknown setting, did you mean GATEWAY_AUTH__TOKEN?"),
        (
            "GATEWAY_LIMITS__BUFER",
            "1",
            "unknown setting, did you mean GATEWAY_LIMITS__BUFFER?",
        ),
        (
            "GATEWAY_HEAD_TIMEOUT",
            "1",
            "unknown setting, did you mean GATEWAY_LIMITS__HEAD_TIMEOUT?",
        ),
        ("GATEWAY_PORT__X", "1", "unknown setting"),
        ("GATEWAY_", "1", "unknown setting"),
        (
            "GATEWAY_ROUTES__0__TIMEOUT",
            "1",
            "a list is set whole, as JSON in GATEWAY_ROUTES",
        ),
        ("GATEWAY_TRUSTED_PROXIES", "::1", 'expected a JSON list such as ["a", "b"]'),
        ("GATEWAY_TRUSTED_PROXIES", "{}", 'expected a JSON list such as ["a", "b"]'),
        ("GATEWAY_LIMITS", "[]", "expected a JSON object"),
        ("GATEWAY_LIMITS", "[" * 100_000, "expected a JSON object"),
        ("GATEWAY_LIMITS", '{"buffer": 1, "buffer": 2}', "expected a JSON object"),
        ("GATEWAY_UPSTREAMS", "orders", "expected a JSON object"),
        ("GATEWAY_PORT", "eighty", "expected a whole number"),
        ("GATEWAY_PORT", "", "expected a whole number"),
    ],
)
def test_variable_that_sets_nothing_is_a_problem(
    folder: Folder, name: str, value: str, wrong: str
) -> None:
    assert folder.problems(env={name: value}) == [f"environment: {name}: {wrong}"]


def test_variables_of_kubernetes_get_a_hint(folder: Folder) -> None:
    names = {
        "GATEWAY_PORT": "tcp://10.0.0.1:80",
        "GATEWAY_PORT_80_TCP_ADDR": "10.0.0.1",
        "GATEWAY_SERVICE_HOST": "10.0.0.1",
    }
    lines = folder.problems(env=names)
    assert len(lines) == 3
    assert all("`enableServiceLinks: false`" in line for line in lines)


def test_names_of_habit_are_read_where_ours_are_not_set(folder: Folder) -> None:
    key = "k" * 32
    settings = folder.load(
        "stores: {nats: 'nats://file'}",
        dotenv="GATEWAY_PORT=81",
        env={
            "PORT": "80",
            "ENVIRONMENT": "production",
            "SECRET_KEY": key,
            "DATABASE_URL": "postgresql://a/b",
            "REDIS_URL": "redis://a",
            "NATS_URL": "",
        },
    )
    assert (settings.port, settings.environment) == (81, "production")
    assert settings.secret_key is not None
    assert settings.secret_key.get_secret_value() == key
    stores = settings.stores
    assert stores.postgres is not None
    assert stores.postgres.get_secret_value() == "postgresql://a/b"
    assert stores.redis is not None
    assert stores.nats is not None
    assert stores.nats.get_secret_value() == "nats://file"


def test_name_of_habit_with_a_bad_value_is_named(folder: Folder) -> None:
    assert folder.problems(env={"PORT": "x"}) == ["environment: PORT: expected a whole number"]


def test_dotenv_is_read_as_shells_write_it(folder: Folder) -> None:
    settings = folder.load(
        dotenv="# hello\n\nexport GATEWAY_PORT=81\nGATEWAY_SECRET_KEY='a ${b} #c'  # key\nOTHER=x"
    )
    assert settings.port == 81
    assert settings.secret_key is not None
    assert settings.secret_key.get_secret_value() == "a ${b} #c"


def test_dotenv_that_cannot_be_read_is_a_problem(folder: Folder) -> None:
    (folder.path / ".env").mkdir()
    assert folder.problems() == [".env: the file: cannot be read as UTF-8 text"]


def test_service_url_makes_a_route(folder: Folder) -> None:
    settings = folder.load(
        "routes: [{prefix: /x, target_url: 'http://x'}]",
        env={"SERVICE1_URL": "http://a:8001", "SERVICE_Orders_URL": "http://b", "SERVICE_URL": ""},
        dotenv="SERVICE2_URL=http://c",
    )
    assert [route.name for route in settings.routes] == [
        "x",
        "service1",
        "service2",
        "service_orders",
    ]
    one = settings.routes[1]
    assert (one.prefix, one.target_url) == ("/api/service1", "http://a:8001")
    assert (one.strip_prefix, one.rewrite, one.websocket) == (True, "/api", True)
    assert one.timeout is None


def test_service_url_that_is_bad_names_the_variable(folder: Folder) -> None:
    lines = folder.problems(env={"SERVICE1_URL": "", "SERVICE2_URL": "http://u:hunter2@a"})
    assert [line.split(": ")[:2] for line in lines] == [
        ["environment", "SERVICE1_URL"],
        ["environment", "SERVICE2_URL"],
    ]
    assert "hunter2" not in str(lines)


def test_service_url_that_clashes_names_both(folder: Folder) -> None:
    assert folder.problems(
        "routes: [{name: service1, prefix: /x, target_url: 'http://x'},"
        " {prefix: /api/service2, target_url: 'http://x'}]",
        env={"SERVICE1_URL": "http://a", "SERVICE2_URL": "http://a", "SERVICEa_URL": "http://a"},
        dotenv="SERVICEA_URL=http://a",
    ) == [
        "environment: SERVICE1_URL: has the name of gateway.yaml: routes[0]",
        "environment: SERVICE2_URL: has the prefix, a host and a method in common with"
        " gateway.yaml: routes[1]",
        "environment: SERVICEa_URL: has the name of .env: SERVICEA_URL",
        "environment: SERVICEa_URL: has the prefix, a host and a method in common with"
        " .env: SERVICEA_URL",
    ]


def test_service_url_does_not_hide_that_routes_are_no_list(folder: Folder) -> None:
    assert folder.problems("routes: {a: b}", env={"SERVICE1_URL": "http://a"}) == [
        "gateway.yaml: routes: expected a list"
    ]
