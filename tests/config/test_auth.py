"""Who may: what the settings take, and what they refuse."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from gateway.config.auth import Auth
from gateway.config.loader import load
from tests.config.folder import Folder

TOKEN = "a-token-of-enough-letters"
ROUTE = "routes: [{prefix: /a, target_url: 'http://a', auth: %s}]\n"


@pytest.mark.parametrize(
    ("written", "tokens"),
    [
        (None, ()),
        ("", ()),
        (TOKEN, (TOKEN,)),
        (f"{TOKEN}, {TOKEN}2,", (TOKEN, f"{TOKEN}2")),
        ([TOKEN, f"{TOKEN}2"], (TOKEN, f"{TOKEN}2")),
    ],
)
def test_token_is_one_or_several(written: object, tokens: tuple[str, ...]) -> None:
    assert Auth.model_validate({"token": written}).tokens == tokens


def test_token_of_the_environment_is_read_by_both_names(folder: Folder) -> None:
    for name in ("API_TOKEN", "GATEWAY_AUTH__TOKEN"):
        settings = load(None, {name: TOKEN}, {}, folder.path)
        assert settings.auth.token == SecretStr(TOKEN)


@pytest.mark.parametrize("token", ["short", "sixteen letters and spaces", "\N{SNOWMAN}" * 16])
def test_weak_token_is_refused_and_not_repeated(folder: Folder, token: str) -> None:
    problems = folder.problems(f"auth: {{token: '{token}'}}")
    assert problems == ["gateway.yaml: auth.token: expected 16 visible ASCII characters or more"]


@pytest.mark.parametrize(
    ("way", "lacking"),
    [
        ("token", "needs auth.token (or API_TOKEN)"),
        ("jwt", "needs auth.jwt or auth.login"),
        ("token, scopes: [a]", "has scopes, which only api_key and jwt (or any) can have"),
        ("none, scopes: [a]", "has scopes, which only api_key and jwt (or any) can have"),
    ],
)
def test_route_that_nobody_could_use_is_refused(folder: Folder, way: str, lacking: str) -> None:
    assert folder.problems(ROUTE % way) == [f"gateway.yaml: routes[0].auth: {lacking}"]


@pytest.mark.parametrize("way", ["api_key", "any", "api_key, scopes: [a, b]"])
def test_route_that_somebody_can_use_is_taken(folder: Folder, way: str) -> None:
    assert folder.load(ROUTE % way).routes[0].auth == way.partition(",")[0]


def test_signing_in_needs_a_key_that_signs(folder: Folder) -> None:
    assert folder.problems("auth: {login: true}") == [
        "gateway.yaml: auth: login: needs secret_key, which signs the tokens"
    ]
