from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import ConfigError, Settings, load
from gateway.units import Rate

ROUTE = 'routes: [{prefix: /a, target_url: "http://127.0.0.1:1", rate_limit: %s}]\n'


def settings(folder: Path, text: str, **environ: str) -> Settings:
    (folder / "gateway.yaml").write_text(text)
    return load(None, environ, {}, folder)


def problem(folder: Path, text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as refused:
        settings(folder, text, **environ)
    return "\n".join(map(str, refused.value.problems))


@pytest.mark.parametrize(
    ("written", "rate", "by", "mode"),
    [
        ("60/minute", Rate(60, 60.0, 60), "ip", "enforce"),
        ("{rate: 60/minute, burst: 5, by: key}", Rate(60, 60.0, 5), "key", "enforce"),
        ("{rate: 1/s, burst: 100, mode: observe}", Rate(1, 1.0, 100), "ip", "observe"),
        ("{by: tier}", None, "tier", "enforce"),
        ("{rate: 7/day, by: tier}", Rate(7, 86400.0), "tier", "enforce"),
    ],
)
def test_limit_of_a_route(
    tmp_path: Path, written: str, rate: Rate | None, by: str, mode: str
) -> None:
    limit = settings(tmp_path, ROUTE % written).routes[0].rate_limit
    assert limit is not None
    assert (limit.own, limit.by, limit.mode) == (rate, by, mode)


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("{}", "routes[0].rate_limit: needs a rate"),
        ("{by: key}", "routes[0].rate_limit.by: needs a rate; only by: tier has its own"),
        ("{by: tier, burst: 3}", "routes[0].rate_limit.burst: needs a rate"),
        ("{rate: 1/day, burst: 99999}", "burst: is more than the rate gives in 100 years"),
        ("{rate: 1/day, burst: 0}", "burst: has to be more than 0"),
        ("{rate: often, burst: 3}", "rate_limit.rate: expected a rate such as 10/second"),
        ("unlimited", "rate_limit: expected a rate such as 10/second"),
        ("60", "routes[0].rate_limit: expected a mapping"),
        ("{rate: 1/s, by: address}", "routes[0].rate_limit.by"),
    ],
)
def test_limit_that_makes_no_sense_is_refused(tmp_path: Path, written: str, complaint: str) -> None:
    assert complaint in problem(tmp_path, ROUTE % written)


def test_tiers_are_those_that_everybody_expects(tmp_path: Path) -> None:
    assert settings(tmp_path, "{}").tiers == {
        "anonymous": Rate(10, 3600.0),
        "free": Rate(100, 3600.0),
        "pro": Rate(1000, 3600.0),
        "enterprise": None,
    }


def test_tier_that_is_changed_or_added_leaves_the_others(tmp_path: Path) -> None:
    tiers = settings(
        tmp_path,
        "tiers: {free: 5/minute, gold: Unlimited}",
        GATEWAY_TIERS__PRO="7/second",
    ).tiers
    assert tiers["free"] == Rate(5, 60.0)
    assert tiers["pro"] == Rate(7, 1.0)
    assert tiers["gold"] is None
    assert tiers["anonymous"] == Rate(10, 3600.0)


@pytest.mark.parametrize("written", ["{free: 5}", "{free: none}", "{free: }", "{__x: 5/s}"])
def test_tier_without_a_rate_is_refused(tmp_path: Path, written: str) -> None:
    assert "tiers" in problem(tmp_path, f"tiers: {written}")


def test_tiers_are_a_mapping(tmp_path: Path) -> None:
    assert "tiers: expected a mapping" in problem(tmp_path, "tiers: [free]")
    wrong = problem(tmp_path, "{}", GATEWAY_TIERS__PRO="often")
    assert "GATEWAY_TIERS__PRO: expected a rate" in wrong
    assert "or unlimited" in wrong


def test_networks_that_announce_are_networks(tmp_path: Path) -> None:
    (network,) = settings(tmp_path, "proxy_protocol: [10.0.0.0/8]").proxy_protocol
    assert str(network) == "10.0.0.0/8"
    assert "proxy_protocol[0]" in problem(tmp_path, "proxy_protocol: [balancer]")
