from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import Settings
from tests.config.folder import Folder


@pytest.mark.parametrize("content", ["", "# nothing", "---\n"])
def test_file_without_content_changes_nothing(folder: Folder, content: str) -> None:
    assert folder.load(content) == Settings()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a: [1", "line 2, column 1: while parsing a flow sequence: did not find"),
        ("port:\n\t- a", "line 2, column 1: while scanning for the next token: found"),
        ("a: b: c", "line 1, column 5: mapping values are not allowed"),
        ("a: 1\n---\nb: 2", "line 2, column 1: expected a single document in the stream"),
        ("- a", "line 1: expected settings as `key: value`"),
        (b"\xff\xfe\xfa", "the file: is not YAML that can be read"),
        ("since: 2026-13-45", "the file: is not YAML that can be read"),
        ("secret_key: *hunter2", "line 1, column 13: found undefined alias"),
        (
            "secret_key: !hunter2 x",
            "line 1, column 13: could not determine a constructor for the tag",
        ),
        ("a: " + "[" * 200_000, "the file: holds more, or deeper, than settings can"),
        ("a: &a [*a]", "the file: holds more, or deeper, than settings can"),
    ],
)
def test_file_that_is_no_settings_names_the_place(
    folder: Folder, content: str | bytes, problem: str
) -> None:
    (line,) = folder.problems(content)
    assert line.startswith(f"gateway.yaml: {problem}")
    assert "hunter2" not in line


def test_file_that_grows_without_end_is_refused(folder: Folder) -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert folder.problems("\n".join(rows)) == [
        "gateway.yaml: the file: holds more, or deeper, than settings can"
    ]


def test_file_that_cannot_be_read_is_a_problem(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> bytes:
        raise PermissionError

    # The tests may run as root, whom no file's mode keeps out.
    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert folder.problems("port: 1") == ["gateway.yaml: the file: cannot be read"]


def test_key_that_stands_twice_is_a_problem(folder: Folder) -> None:
    content = "port: 1\nlimits:\n  buffer: 1\n  buffer: 2\nport: 2\nroutes: [{via: no, via: no}]"
    assert folder.problems(content)[:3] == [
        "gateway.yaml: limits.buffer: stands here twice, line 4",
        "gateway.yaml: port: stands here twice, line 5",
        "gateway.yaml: routes[0].via: stands here twice, line 6",
    ]


def test_key_that_is_no_text_is_a_problem(folder: Folder) -> None:
    assert folder.problems("upstreams: {on: {targets: ['http://a']}}\n7: 8\n") == [
        "gateway.yaml: upstreams.on: a key is text: put it into quotes",
        "gateway.yaml: 7: a key is text: put it into quotes",
    ]
    assert "gateway.yaml: '?': a key is text: put it into quotes" in folder.problems("? [a]\n: b")


def test_anchors_and_merged_keys_serve_as_in_any_yaml(folder: Folder) -> None:
    settings = folder.load(
        "routes:\n"
        "  - &one {prefix: /a, target_url: 'http://a', timeout: 5}\n"
        "  - {<<: *one, prefix: /b}\n"
    )
    assert [(r.prefix, r.timeout) for r in settings.routes] == [("/a", 5), ("/b", 5)]


def test_variables_are_put_into_the_values_of_the_file(folder: Folder) -> None:
    settings = folder.load(
        "port: ${PORT_NUMBER}\n"
        "access_log: ${LOG:-false}\n"
        "trusted_proxies: ['${NET}/8', '${EMPTY:-::1}']\n"
        "secret_key: a$${b}-${KEY}-$c\n"
        "stores: {redis: '${EMPTY:-}'}",
        env={"PORT_NUMBER": "81", "NET": "10.0.0.0", "KEY": "k", "EMPTY": ""},
    )
    assert settings.port == 81
    assert not settings.access_log
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8", "::1/128"]
    assert settings.secret_key is not None
    assert settings.secret_key.get_secret_value() == "a${b}-k-$c"
    assert settings.stores.redis is None


def test_variable_may_stand_in_dotenv(folder: Folder) -> None:
    assert folder.load("port: ${NUMBER}", dotenv="NUMBER=82").port == 82


def test_variable_cannot_add_keys(folder: Folder) -> None:
    settings = folder.load("secret_key: ${KEY}", env={"KEY": "a\nport: 1"})
    assert settings.port == 8000


def test_variable_that_is_missing_names_file_and_key_and_nothing_else(folder: Folder) -> None:
    assert folder.problems(
        "timeout: ${T}\nstores: {redis: '${R}'}\ntrusted_proxies: ['${N}']\n"
        "upstreams: {a: {targets: ['${U}']}}\n"
        "routes: [{prefix: '${P', upstream: a}]"
    ) == [
        "gateway.yaml: timeout: the variable T is not set, and there is no ${T:-default}",
        "gateway.yaml: stores.redis: the variable R is not set, and there is no ${R:-default}",
        "gateway.yaml: trusted_proxies[0]: the variable N is not set,"
        " and there is no ${N:-default}",
        "gateway.yaml: upstreams.a.targets[0]: the variable U is not set,"
        " and there is no ${U:-default}",
        "gateway.yaml: routes[0].prefix: expected ${NAME} or ${NAME:-default}"
        " (a plain ${ is written $${)",
    ]
