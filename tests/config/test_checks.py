from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.config import checks
from gateway.config.checks import Place


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/api/service1", "api-service1"),
        ("/", "root"),
        ("/~a/b;c", "a-b-c"),
        ("/v1.2/x", "v1.2-x"),
        ("/" + "a" * 80, "a" * 60),
    ],
)
def test_name_from_a_path_is_a_name(path: str, name: str) -> None:
    assert checks.named(checks.name_from(path)) == name


@pytest.mark.parametrize("name", ["", "a b", "a" * 65, "naïve", "a\n", "__none__"])
def test_name_that_metrics_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        checks.named(name)


@pytest.mark.parametrize("path", ["/", "/api", "/api/service1", "/a;b/c=d", "/...", "/.well-known"])
def test_prefix_of_whole_segments_is_taken(path: str) -> None:
    assert checks.match_prefix(path) == path


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("", "begin with"),
        ("api", "begin with"),
        ("/api?x=1", "query"),
        ("/api#top", "fragment"),
        ("/a%20b", "leave out the %"),
        ("/a b", "no path can"),
        ("/\u00e9", "no path can"),
        ("/a\\b", "no path can"),
        ("/a\n", "no path can"),
        ("/a{id}", "no path can"),
        ("/api/*", "no wildcard"),
        ("/a//b", "empty segment"),
        ("//", "empty segment"),
        ("/a/../b", '".."'),
        ("/.", '".."'),
        ("/api/", 'leave out the "/"'),
    ],
)
def test_prefix_that_could_not_match_is_refused(path: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        checks.match_prefix(path)


def test_exact_path_may_end_with_a_slash() -> None:
    assert checks.match_path("/api/") == "/api/"


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("v2", "begin with"),
        ("/v2?x", "query"),
        ("/v 2", "percent-encoded"),
        ("/v%2", "percent-encoded"),
        ("/%2E%2e/x", '".."'),
        ("/a//b", "empty"),
    ],
)
def test_path_that_cannot_be_sent_is_refused(path: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        checks.sent_path(path)


def test_health_path_may_hold_a_query() -> None:
    assert checks.health_path("/health%20y?deep=1&x=%2F") == "/health%20y?deep=1&x=%2F"


@pytest.mark.parametrize("path", ["/health?a b", "/health?x#y", "health"])
def test_health_path_that_cannot_be_sent_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"query|begin"):
        checks.health_path(path)


@pytest.mark.parametrize(
    ("host", "read"),
    [
        ("API.example.com", "api.example.com"),
        ("*.Example.com", "*.example.com"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::0:1]", "[::1]"),
        ("my_service", "my_service"),
    ],
)
def test_host_pattern_is_read_in_lower_case(host: str, read: str) -> None:
    assert checks.host_pattern(host) == read


@pytest.mark.parametrize(
    ("host", "wrong"),
    [
        ("*", "leave hosts out"),
        ("http://a", "scheme"),
        ("a:80", "port"),
        ("a.*.com", "whole labels"),
        ("*.", "valid host name"),
        ("", "valid host name"),
        ("a..b", "valid host name"),
        ("-a", "valid host name"),
        ("a.", "valid host name"),
        ("a" * 64, "valid host name"),
        ("b\u00fccher.example", "xn--"),
        ("1.2.3.400", "IPv4"),
        ("[::zz]", "IPv6"),
    ],
)
def test_host_pattern_that_could_not_match_is_refused(host: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        checks.host_pattern(host)


@pytest.mark.parametrize("method", ["GET", "PROPFIND", "M-SEARCH"])
def test_method_that_is_a_token_is_taken(method: str) -> None:
    assert checks.method(method) == method


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        ("", "1 to 32"),
        ("G ET", "1 to 32"),
        ("A" * 33, "1 to 32"),
        ("get", "upper case"),
        ("CONNECT", "never forwarded"),
        ("trace", "never forwarded"),
    ],
)
def test_method_that_no_request_has_is_refused(method: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        checks.method(method)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "fd00::1", "localhost"])
def test_listen_host_is_an_address_or_a_name(host: str) -> None:
    assert checks.listen_host(host) == host


@pytest.mark.parametrize("host", ["0.0.0.0:80", "[::]", "http://a", "", ":::", "a b"])
def test_listen_host_with_more_than_an_address_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match=r"address only|valid"):
        checks.listen_host(host)


@pytest.mark.parametrize("key", ["client_address", "header:X-User", "cookie:sid"])
def test_hash_key_names_what_is_looked_at(key: str) -> None:
    assert checks.hash_key(key) == key


@pytest.mark.parametrize("key", ["", "ip", "header", "header:", "header: X", "query:a", 1, {}])
def test_hash_key_of_another_kind_is_refused(key: object) -> None:
    with pytest.raises(ValueError, match="expected client_address"):
        checks.hash_key(key)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://a", Place("http", "a", 80)),
        ("HTTPS://A.b/", Place("https", "a.b", 443)),
        ("http://127.0.0.1:8001", Place("http", "127.0.0.1", 8001)),
        ("http://[::1]:8001", Place("http", "::1", 8001)),
        ("http://my_service:1", Place("http", "my_service", 1)),
        ("unix:///run/app.sock", Place("unix", "localhost", 0, "/run/app.sock")),
    ],
)
def test_target_url_is_taken_apart(url: str, place: Place) -> None:
    assert checks.target_place(url) == place


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("", "expected the URL"),
        ("localhost:8001", "expected the URL"),
        ("ftp://a", "expected the URL"),
        ("http://", "expected the URL"),
        ("http://:80", "expected the URL"),
        ("http://a:", "expected the URL"),
        ("http://[::1", "expected the URL"),
        ("http://a b", "space"),
        ("http://a\n", "space"),
        ("http://b\u00fccher", "no URL can hold"),
        ("http://a?x", "query"),
        ("http://a/#x", "fragment"),
        ("http://u:hunter2@a", "password"),
        ("http://a/api", "leave out the path"),
        ("http://a:0", "1 to 65535"),
        ("http://a:65536", "1 to 65535"),
        ("http://a:123456", "expected the URL"),
        ("unix://run/app.sock", "three slashes"),
        ("unix:///", "three slashes"),
        ("unix:///" + "a" * 107, "at most 107"),
    ],
)
def test_target_url_that_leads_nowhere_is_refused(url: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong) as raised:
        checks.target_place(url)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("url", ["redis://a", "rediss://:secret@a:6380/1"])
def test_store_url_of_a_known_scheme_is_taken(url: str) -> None:
    assert checks.store_url(url, ("redis", "rediss")) == url


@pytest.mark.parametrize("url", ["", "a:6379", "mysql://a", "redis://", "redis://a b", "redis:a"])
def test_store_url_of_another_store_is_refused(url: str) -> None:
    with pytest.raises(
        ValueError, match=r"^expected a URL that begins with redis:// or rediss://$"
    ):
        checks.store_url(url, ("redis", "rediss"))


@pytest.mark.parametrize("key", ["changethis", ""])
def test_secret_of_any_kind_is_taken_locally(key: str) -> None:
    assert checks.secret(key, "local") == key


def test_secret_of_32_bytes_is_taken_everywhere() -> None:
    assert checks.secret("\u00e9" * 16, "production") == "\u00e9" * 16


@pytest.mark.parametrize(
    ("key", "wrong"), [("changethis", "known to everybody"), ("x" * 31, "at least 32 bytes")]
)
def test_secret_that_is_weak_is_refused_elsewhere(key: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        checks.secret(key, "staging")


@pytest.mark.parametrize(
    "check", [checks.match_prefix, checks.sent_path, checks.host_pattern, checks.target_place]
)
def test_message_never_repeats_the_value(check: Callable[[str], object]) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        check("hunter2 hunter2/")
    assert "hunter2" not in str(raised.value)
