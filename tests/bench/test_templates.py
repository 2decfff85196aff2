from __future__ import annotations

import pytest

from bench import templates
from bench.lineup import PEERS, Peer
from bench.stage import HERE


def test_named_places_are_filled_and_the_formats_own_signs_stay() -> None:
    text = 'listen @PORT@; set $uri; "@type": x; {@DIR@}'

    assert templates.fill(text, {"PORT": "80", "DIR": "/d"}) == (
        'listen 80; set $uri; "@type": x; {/d}'
    )


def test_place_without_a_value_is_refused_by_name() -> None:
    with pytest.raises(KeyError, match="ECHO"):
        templates.fill("@ECHO@", {"PORT": "80"})


def test_stripped_text_keeps_only_what_stands_outside_the_marks() -> None:
    text = "a\n  #>\n  log;\n  #<\nb\n#>\nid;\n#<\nc\n"

    assert templates.stripped(text) == "a\nb\nc\n"


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_template_of_a_peer_has_its_marks_in_pairs(peer: Peer) -> None:
    for name, _ in peer.templates:
        lines = [line.strip() for line in (HERE / name).read_text().splitlines()]
        marks = [line for line in lines if line in ("#>", "#<")]

        assert marks == ["#>", "#<"] * (len(marks) // 2), name
