from __future__ import annotations

from pathlib import Path

import pytest

from bench import loads
from bench.__main__ import main, parse, plan_of
from bench.lineup import BY_NAME, PEERS, Found


def test_default_run_is_three_rounds_of_all_loads_and_peers() -> None:
    plan = plan_of(parse([]))

    assert (plan.rounds, plan.seconds, plan.alone) == (3, 2, True)
    assert plan.loads == list(loads.LOADS)
    assert plan.peers == list(PEERS)


def test_quick_run_is_one_short_round_of_fewer_loads() -> None:
    plan = plan_of(parse(["--quick"]))

    assert (plan.rounds, plan.seconds) == (1, 1)
    assert [load.name for load in plan.loads] == [
        "small",
        "varied",
        "chain",
        "cached",
        "down1m",
        "up1m",
        "ws",
        "prediction",
        "thousand",
    ]


def test_chosen_loads_and_peers_leave_out_the_rest() -> None:
    plan = plan_of(parse(["--quick", "--only", "small,down64k", "--peers", "nginx,gateway"]))

    assert [load.name for load in plan.loads] == ["small", "down64k"]
    assert [peer.name for peer in plan.peers] == ["gateway", "nginx"]
    assert not plan.alone


def test_gateway_alone_can_be_measured_without_any_load() -> None:
    plan = plan_of(parse(["--only", "alone"]))

    assert plan.alone
    assert plan.loads == []
    assert plan.peers == [BY_NAME["gateway"]]


def test_load_with_a_configuration_of_its_own_starts_only_those_who_have_one() -> None:
    plan = plan_of(parse(["--only", "chain"]))

    assert [(peer.name, *peer.loads) for peer in plan.peers] == [
        ("gateway", "chain"),
        ("nginx", "chain"),
    ]


def test_no_load_is_taken_twice_by_peers_of_one_name() -> None:
    for load in loads.LOADS:
        names = [peer.name for peer in PEERS if peer.takes(load)]

        assert len(names) == len(set(names)), load.name
        assert {"gateway", load.reference} <= set(names), load.name


@pytest.mark.parametrize(
    "given", [["--only", "smal"], ["--peers", "apache"], ["--rounds", "0"], ["--seconds", "x"]]
)
def test_unknown_name_or_number_is_refused(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(given)

    assert given[1] in capsys.readouterr().err


def test_missing_tools_are_named_with_their_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(Found, "program", lambda self, name: None)

    assert main(["--venv", str(tmp_path)]) == 2

    assert "apt-get install nginx" in capsys.readouterr().out


def test_bare_twin_of_a_peer_runs_the_small_get_only() -> None:
    bare = BY_NAME["envoy-bare"]

    assert [load.name for load in loads.LOADS if bare.takes(load)] == ["small"]


def test_peer_without_websockets_is_left_out_of_that_load() -> None:
    fastapi = BY_NAME["fastapi"]

    assert not fastapi.takes(loads.BY_NAME["ws"])
    assert fastapi.takes(loads.BY_NAME["small"])


def test_peer_that_needs_absent_modules_is_not_found(tmp_path: Path) -> None:
    fastapi = BY_NAME["fastapi"]
    absent = type(fastapi)(
        "absent", fastapi.program, (), "", "", modules=("no_such_module_anywhere",)
    )

    assert Found(tmp_path).peer(absent) is None
