"""What becomes of an upstream's good answer: its lines pass, byte for byte and in order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest

from tests.e2e.policy import CONTROL, comes_down, sent_up, told, until_gone, values
from tests.e2e.stage import GET, OK, field, stage


def answer_of(*lines: bytes, status: bytes = b"200 OK") -> bytes:
    first = b"HTTP/1.1 " + status
    return b"\r\n".join((first, *lines, b"Content-Length: 2", b"", b"ok"))


async def lines_of(*lines: bytes) -> list[bytes]:
    """Those of an answer's lines that pass, without the gateway's."""
    async with stage() as scene:
        told_so = (await comes_down(scene, answer_of(*lines)))[2]
        assert told_so.body == b"ok"
        first, *rest = told_so.head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        assert first == b"HTTP/1.1 200 OK"
        ours = (b"X-Request-ID: ", b"Date: ", b"Server: gateway", b"Content-Length: 2")
        return [line for line in rest if not line.startswith(ours)]


@pytest.mark.parametrize(
    "lines",
    [
        [b"Set-Cookie: a=b; Path=/", b"Set-Cookie: c=d, e", b"set-cookie: a=b; Path=/"],
        [b"x-lower: a", b"X-UPPER: B", b"A: 1", b"B: 2", b"A: 3", b"a: 4"],
        [b"A:", b"B: ", b"C:x", b"D:  x  ", b"E:\tx\ty\t"],
        [b"A: \x80\xff", b"B: \xc3\xa4", b'Content-Disposition: attachment; filename="\xe9"'],
        [b"Via: 1.0 a", b"Via: 1.1 b", b"Vary: a", b"Vary: b", b"Age: 1", b"Warning: 199 - a"],
        [b'ETag: "a"', b"Last-Modified: b", b"Cache-Control: no-store", b"Expires: 0"],
        [b"Content-Encoding: gzip", b"Content-Type: a/b; c", b"Content-Type: d/e"],
        [b"Location: http://127.0.0.1:1/%2F?a#b", b"Refresh: 0"],
        [b"WWW-Authenticate: Basic", b"WWW-Authenticate: Bearer", b"Allow: GET"],
        [b"X-Forwarded-For: a", b"Forwarded: b", b"X-Real-IP: c", b"Host: d", b"Cookie: e"],
        [b"Access-Control-Allow-Origin: *", b"Strict-Transport-Security: max-age=1"],
        [b"X-Powered-By: a", b"X-Accelerate: b", b"X-Accel: c", b"traceparent: d", b"Expect: e"],
        [b"A: " + b"b" * 60000],
        [b"A: b"] * 199,
    ],
)
async def test_other_lines_come_down_as_they_came(lines: list[bytes]) -> None:
    assert await lines_of(*lines) == lines


@pytest.mark.parametrize(
    "line",
    [
        b"Keep-Alive: timeout=5", b"Proxy-Connection: keep-alive", b"Upgrade: h2c", b"TE: trailers",
        b"Connection: keep-alive", b"connection: close", b"Connection: TE", b"Trailer: A",
        b"X-Accel-Redirect: /secret", b"x-accel-buffering: no", b"X-ACCEL-EXPIRES: 0",
        b"X-Accel-Limit-Rate: 1", b"X-Accel-Anything: a",
    ],
)  # fmt: skip
async def test_hop_by_hop_lines_stop_here(line: bytes) -> None:
    assert await lines_of(b"A: b", line, b"C: d") == [b"A: b", b"C: d"]


@pytest.mark.parametrize(
    "names", [b"X-Named", b"close, x-NAMED", b"X-Named,keep-alive", b",, X-Named ,"]
)
async def test_what_connection_names_stops_here(names: bytes) -> None:
    lines = [b"X-Named: 1", b"X-Other: 2", b"Connection: " + names, b"x-named: 3"]
    assert await lines_of(*lines) == [b"X-Other: 2"]


async def test_connection_cannot_name_the_length_away() -> None:
    async with stage() as scene:
        answer = (await comes_down(scene, answer_of(b"Connection: Content-Length")))[2]
        assert field(answer.head, b"content-length") == b"2"
        assert answer.body == b"ok"


@pytest.mark.parametrize(
    "status",
    [
        b"200 OK", b"200 ", b"200", b"200 Very \t Fine", b"200 \xc3\xa4\xff", b"299 a", b"404 No",
        b"500 Oh", b"502 Theirs", b"418 I'm a teapot", b"599 x", b"600 y", b"999 z", b"426 Up",
        b"407 P", b"401 U", b"503 S",
    ],
)  # fmt: skip
async def test_a_status_line_comes_down_as_it_came(status: bytes) -> None:
    async with stage() as scene:
        answer = (await comes_down(scene, answer_of(status=status)))[2]
        assert answer.head.startswith(b"HTTP/1.1 " + status + b"\r\n")
        assert answer.body == b"ok"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_passes_as_it_is(status: int) -> None:
    async with stage() as scene:
        location = b"Location: http://10.0.0.1:8001/inner?a#b"
        passed = answer_of(location, status=b"%d Go" % status)
        _, _, answer = await comes_down(scene, passed)
        assert answer.status == status
        assert location in answer.head.split(b"\r\n")
        assert len(scene.upstream.connections) == 1


async def test_date_and_server_are_the_upstreams() -> None:
    async with stage() as scene:
        lines = (b"Server: theirs/1", b"Date: Sun, 06 Nov 1994 08:49:37 GMT")
        answer = (await comes_down(scene, answer_of(*lines)))[2]
        assert values(answer.head, b"server") == [b"theirs/1"]
        assert values(answer.head, b"date") == [b"Sun, 06 Nov 1994 08:49:37 GMT"]


async def test_date_and_server_are_ours_where_it_sent_none() -> None:
    async with stage() as scene:
        answer = (await comes_down(scene, OK))[2]
        assert values(answer.head, b"server") == [b"gateway"]
        [date] = values(answer.head, b"date")
        assert abs(datetime.now(UTC) - parsedate_to_datetime(date.decode())) < timedelta(minutes=1)


async def test_date_and_server_stand_once() -> None:
    async with stage() as scene:
        lines = (b"Server: a", b"DATE: b", b"server: c", b"date: d")
        answer = (await comes_down(scene, answer_of(*lines)))[2]
        assert values(answer.head, b"server") == [b"a"]
        assert values(answer.head, b"date") == [b"b"]


async def test_the_upstreams_name_for_the_request_gives_way() -> None:
    async with stage() as scene:
        lines = (b"X-Request-ID: a", b"x-request-id: b")
        answer = (await comes_down(scene, answer_of(*lines)))[2]
        [name] = values(answer.head, b"x-request-id")
        assert name not in (b"a", b"b")


async def test_the_lines_of_an_interim_answer_are_sorted_the_same() -> None:
    async with stage() as scene:
        client, target, _ = await sent_up(scene, GET)
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nlink: </b>\r\n"
        await target.send(hints + b"Keep-Alive: a\r\nX-Accel-A: b\r\n\r\n" + OK)
        assert await client.head() == hints + b"\r\n"
        assert (await told(client)).status == 200


@pytest.mark.parametrize("status", [100, 102, 103, 104, 199])
async def test_interim_answers_are_passed_on_to_1_1_only(status: int) -> None:
    interim = b"HTTP/1.1 %d Soon\r\nA: b\r\n\r\n" % status
    async with stage() as scene:
        client, target, _ = await sent_up(scene, GET)
        await target.send(interim + interim)
        assert await client.head() == interim
        assert await client.head() == interim
        await target.send(OK)
        assert (await told(client)).status == 200
        old = await scene.client()
        await old.send(b"GET /api/x HTTP/1.0\r\n\r\n")
        await target.head()
        await target.send(interim + OK)
        assert (await told(old)).status == 200


@pytest.mark.parametrize(
    ("asked", "announced", "come"),
    [
        (b"TE: trailers\r\n", b"", [b"X-Sum: 7", b"x-sum: 8"]),
        (b"", b"Trailer: X-Sum\r\n", [b"X-Sum: 7", b"x-sum: 8"]),
        (b"", b"", []),
        (b"TE: gzip\r\n", b"", []),
    ],
)
async def test_trailers_come_down_to_who_wants_them(
    asked: bytes, announced: bytes, come: list[bytes]
) -> None:
    async with stage() as scene:
        client, target, _ = await sent_up(
            scene, b"GET /api/x HTTP/1.1\r\nHost: a\r\n" + asked + b"\r\n"
        )
        head = b"HTTP/1.1 200 OK\r\n" + announced + b"Transfer-Encoding: chunked\r\n\r\n"
        trailers = b"X-Sum: 7\r\nx-sum: 8\r\nContent-Length: 9\r\nX-Accel-A: b\r\n"
        await target.send(head + b"2\r\nok\r\n0\r\n" + trailers + b"\r\n")
        assert values(await client.head(), b"transfer-encoding") == [b"chunked"]
        assert await client.until(b"0\r\n") == b"2\r\nok\r\n0\r\n"
        passed = b"".join(line + b"\r\n" for line in [*come, b""])
        assert await client.exactly(len(passed)) == passed
        await client.send(CONTROL)
        assert (await target.head()).startswith(b"GET /api/control ")  # both connections go on


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (b"HEAD", answer_of()),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        (b"GET", answer_of(status=b"204 No Content")),
        (b"GET", answer_of(status=b"304 Not Modified")),
    ],
)
async def test_a_body_where_none_may_be_is_not_passed_on(asked: bytes, answer: bytes) -> None:
    async with stage() as scene:
        client, target, _ = await sent_up(scene, CONTROL.replace(b"GET", asked, 1))
        await target.send(answer)
        await client.head()
        assert await until_gone(target) == b""
        await client.send(CONTROL)
        another = await scene.upstream.accept()
        await another.head()
        await another.send(OK)
        assert (await told(client)).head.startswith(b"HTTP/1.1 200 OK\r\n")  # no body between
