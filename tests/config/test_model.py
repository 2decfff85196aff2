from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import ValidationError

from gateway.config.model import Route, Settings, Stores, Target, Tls, Upstream
from gateway.config.upstreams import HealthCheck, UpstreamTls

URL = "http://127.0.0.1:8001"


def route(**keys: Any) -> Route:
    return Route.model_validate({"prefix": "/a", "target_url": URL} | keys)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pem")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name in ("one", "two"):
        leaf = authority.issue_cert("localhost")
        leaf.private_key_pem.write_to_path(folder / f"{name}.key")
        leaf.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    return folder


def test_settings_without_any_key_are_the_defaults() -> None:
    settings = Settings()
    assert (settings.host, settings.port, settings.timeout) == ("0.0.0.0", 8000, 30.0)
    assert settings.max_body_size == 10485760
    assert settings.limits.head_timeout == 10.0
    assert settings.routes == ()


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    "key",
    ["api", "keys", "users"],
)
def test_settings_of_what_does_not_exist_are_refused(key: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Settings.model_validate({key: {}})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("port", 65536),
        ("port", -1),
        ("workers", 1025),
        ("timeout", 0),
        ("connect_timeout", "0s"),
        ("log_level", "LOUD"),
        ("environment", "dev"),
        ("access_log", "perhaps"),
        ("host", "0.0.0.0:80"),
        ("trusted_proxies", "10.0.0.0/8"),
        ("limits", {"head_timeout": 0}),
        ("upstreams", {"a b": {"targets": [URL]}}),
    ],
)
def test_settings_with_a_bad_value_are_refused(key: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({key: value})


def test_settings_in_notation_are_typed_values() -> None:
    settings = Settings.model_validate(
        {
            "timeout": "2m",
            "max_body_size": "1MiB",
            "port": "0",
            "log_level": "debug",
            "access_log": "no",
            "trusted_proxies": ["10.0.0.0/8", "::1"],
        }
    )
    assert (settings.timeout, settings.max_body_size, settings.port) == (120.0, 1048576, 0)
    assert (settings.log_level, settings.access_log) == ("DEBUG", False)
    assert settings.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1"))


def test_secret_key_that_is_weak_is_refused_outside_local() -> None:
    with pytest.raises(ValidationError, match="known to everybody"):
        Settings.model_validate({"environment": "production", "secret_key": "changethis"})
    assert Settings.model_validate({"secret_key": "changethis"}).secret_key is not None


def test_secret_key_that_is_empty_is_left_out() -> None:
    assert Settings.model_validate({"secret_key": ""}).secret_key is None


def test_secrets_are_in_no_representation_and_no_error() -> None:
    values = {
        "secret_key": "hunter2hunter2",
        "stores": {"redis": "redis://:hunter2@a", "nats": "nats://hunter2@a"},
    }
    assert "hunter2" not in repr(Settings.model_validate(values))
    values |= {"environment": "production", "stores": {"redis": "mysql://:hunter2@a"}}
    with pytest.raises(ValidationError) as raised:
        Settings.model_validate(values)
    assert "hunter2" not in str(raised.value)


def test_stores_that_are_empty_are_left_out() -> None:
    assert Stores.model_validate({"redis": "", "sqlite": "", "postgres": None}) == Stores()


def test_tls_with_a_certificate_and_its_key_is_taken(pem: Path) -> None:
    assert Tls(cert=pem / "one.pem", key=pem / "one.key").cert == pem / "one.pem"


@pytest.mark.parametrize(
    ("cert", "key", "wrong"),
    [
        ("one.pem", "two.key", "not a certificate and its unencrypted key"),
        ("one.key", "one.key", "not a certificate and its unencrypted key"),
        ("none.pem", "one.key", "no such file"),
        (".", "one.key", "no such file"),
    ],
)
def test_tls_that_cannot_serve_is_refused(pem: Path, cert: str, key: str, wrong: str) -> None:
    with pytest.raises(ValidationError, match=wrong):
        Tls(cert=pem / cert, key=pem / key)


def test_file_that_cannot_be_opened_is_refused(pem: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    # The tests may run as root, whom no file's mode keeps out.
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ValidationError, match="cannot be read"):
        UpstreamTls(ca=pem / "ca.pem")


def test_upstream_tls_takes_an_authority_and_a_name(pem: Path) -> None:
    tls = UpstreamTls(ca=pem / "ca.pem", server_name="Orders.internal")
    assert (tls.server_name, tls.verify) == ("orders.internal", True)


def test_upstream_tls_with_an_authority_that_is_none_is_refused(pem: Path) -> None:
    with pytest.raises(ValidationError, match="no certificate in PEM"):
        UpstreamTls(ca=pem / "one.key")


def test_upstream_tls_without_an_https_target_is_refused() -> None:
    with pytest.raises(ValidationError, match="there is none"):
        Upstream.model_validate({"targets": [URL], "tls": {"verify": False}})


def test_upstream_tls_with_an_https_target_is_taken() -> None:
    upstream = Upstream.model_validate({"targets": [URL, "https://a"], "tls": {"verify": False}})
    assert upstream.tls is not None
    assert upstream.tls.ca is None


def test_target_may_be_a_bare_url() -> None:
    upstream = Upstream.model_validate({"targets": [URL, {"url": "https://a", "weight": "3"}]})
    assert upstream.targets == (Target(url=URL), Target(url="https://a", weight=3))
    assert upstream.targets[0].place.port == 8001


@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        ({"targets": []}, "at least one"),
        ({}, "required"),
        ({"targets": [{"url": URL, "weight": 0}]}, "greater than 0"),
        ({"targets": [URL, URL + "/"]}, "same target twice"),
        ({"targets": [URL], "balance": "random"}, "'p2c'"),
        ({"targets": [URL], "hash_on": "cookie:sid"}, "only used with balance: hash"),
        ({"targets": [URL], "retries": {"attempts": 0}}, "greater than 0"),
        ({"targets": [URL], "retries": {"budget": 1.5}}, "less than or equal to 1"),
        ({"targets": [URL], "retries": {"budget": "nan"}}, "finite"),
        ({"targets": [URL], "health_check": {}}, "required"),
        ({"targets": [URL], "pool": {"connections": 0}}, "greater than 0"),
    ],
)
def test_upstream_that_cannot_serve_is_refused(keys: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValidationError, match=wrong):
        Upstream.model_validate(keys)


def test_hash_may_look_at_a_header() -> None:
    upstream = Upstream.model_validate(
        {"targets": [URL], "balance": "hash", "hash_on": "header:X-User"}
    )
    assert upstream.hash_on == "header:X-User"


def test_health_check_longer_than_its_interval_is_refused() -> None:
    with pytest.raises(ValidationError, match="overlap"):
        HealthCheck(path="/", interval=1, timeout=2)


def test_route_without_a_name_is_named_after_its_path() -> None:
    assert route(prefix="/api/orders").name == "api-orders"
    assert route(prefix=None, path="/x/y").name == "x-y"
    assert route(prefix="/", name="").name == "root"


@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        ({"path": "/b"}, "not both"),
        ({"prefix": None}, "needs a prefix or a path"),
        ({"upstream": "b"}, "not both"),
        ({"target_url": None}, "needs an upstream or a target_url"),
        ({"target_url": "a:80"}, "expected the URL"),
        ({"rewrite": "/b"}, "needs strip_prefix: true"),
        ({"strip_prefix": True, "rewrite": "/b/"}, 'leave out the "/"'),
        ({"strip_prefix": True, "rewrite": "b"}, "begin with"),
        ({"websocket_idle_timeout": 5}, "needs websocket: true"),
        ({"hosts": ["a", "A"]}, "same value twice"),
        ({"methods": ["GET", "GET"]}, "same value twice"),
        ({"methods": "GET"}, "valid tuple"),
        ({"timeout": 0}, "greater than 0"),
    ],
)
def test_route_that_makes_no_sense_is_refused(keys: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValidationError, match=wrong):
        route(**keys)


def test_exact_route_may_be_rewritten_to_a_folder() -> None:
    exact = route(prefix=None, path="/a", strip_prefix=True, rewrite="/b/")
    assert exact.rewrite == "/b/"


def test_route_with_websockets_may_bound_their_silence() -> None:
    assert route(websocket=True, websocket_idle_timeout="1m").websocket_idle_timeout == 60.0


def test_route_matches_each_of_its_hosts_with_each_of_its_methods() -> None:
    many = route(hosts=["a", "b"], methods=["GET", "PUT"])
    assert list(many.matches) == [
        ("a", "GET", "prefix", "/a"),
        ("a", "PUT", "prefix", "/a"),
        ("b", "GET", "prefix", "/a"),
        ("b", "PUT", "prefix", "/a"),
    ]
    assert list(route(prefix=None, path="/a").matches) == [("", "", "path", "/a")]


def settings(*routes: Route, **upstreams: Upstream) -> Settings:
    return Settings(routes=routes, upstreams=upstreams)


ORDERS = Upstream(targets=(Target(url=URL),))


@pytest.mark.parametrize(
    ("routes", "wrong"),
    [
        (
            [route(name="a"), route(name="a", prefix="/b")],
            r"routes\[1\]\.name: has the name of routes\[0\]",
        ),
        (
            [route(name="orders")],
            r"routes\[0\]\.name: .* has the name of upstreams\.orders",
        ),
        (
            [route(target_url=None, upstream="ordrs")],
            r"routes\[0\]\.upstream: there is no upstream 'ordrs', did you mean orders\?",
        ),
        (
            [route(), route()],
            r"routes\[1\]\.prefix: has the prefix, a host and a method in common with routes\[0\]",
        ),
        (
            [route(prefix=None, path="/a"), route(hosts=["a"]), route(prefix=None, path="/a")],
            r"routes\[2\]\.path: has the path, a host and a method in common with routes\[0\]",
        ),
        (
            [route(hosts=["a", "b"], methods=["GET"]), route(hosts=["b"], methods=["PUT", "GET"])],
            r"routes\[1\]\.prefix",
        ),
    ],
)
def test_routes_that_clash_are_refused(routes: list[Route], wrong: str) -> None:
    with pytest.raises(ValidationError, match=wrong):
        settings(*routes, orders=ORDERS)


def test_routes_that_differ_in_host_method_or_kind_stand_side_by_side() -> None:
    several = settings(
        route(),
        route(hosts=["a"]),
        route(methods=["GET"]),
        route(prefix=None, path="/a"),
        route(target_url=None, upstream="orders", prefix="/orders"),
        route(prefix="/orders/x", name="a-2"),
        route(prefix=None, path="/orders"),
        orders=ORDERS,
    )
    names = [each.name for each in several.routes]
    assert names == ["a", "a-3", "a-4", "a-5", "orders", "a-2", "orders-2"]


def test_routes_are_not_compared_when_the_upstreams_are_bad() -> None:
    with pytest.raises(ValidationError) as raised:
        Settings.model_validate({"upstreams": [], "routes": [route(), route()]})
    assert raised.value.error_count() == 1


def test_upstream_of_a_route_is_the_one_that_it_names() -> None:
    one = settings(route(target_url=None, upstream="orders"), orders=ORDERS)
    assert one.upstream_of(one.routes[0]) == ("orders", ORDERS)


def test_upstream_of_a_bare_url_is_one_target_without_any_extras() -> None:
    one = settings(route(name="x"))
    name, upstream = one.upstream_of(one.routes[0])
    assert name == "x"
    assert [target.url for target in upstream.targets] == [URL]
    assert (upstream.retries, upstream.circuit_breaker, upstream.health_check) == (None,) * 3
