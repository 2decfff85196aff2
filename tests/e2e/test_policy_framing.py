"""Where a request's body ends must be certain: whatever two readers could take differently is
refused, and what stands behind it is neither answered nor sent up.

The inputs are those of the published suites against request smuggling: CL.TE, TE.CL, TE.TE,
CL.0, and chunks that readers measure differently.
"""

from __future__ import annotations

import pytest

from tests.e2e.policy import (
    CONTROL,
    SMUGGLED,
    check_error,
    end,
    own,
    refused,
    sent_up,
    told,
    turned_down,
    until_gone,
)
from tests.e2e.stage import OK, stage

POST = b"POST /api/x HTTP/1.1\r\nHost: a\r\n"
LENGTH = b"Content-Length: 5\r\n"
CODED = b"Transfer-Encoding: chunked\r\n"


# --------------------------------------------------------------------------- two ways to frame


@pytest.mark.parametrize(
    "lines",
    [
        LENGTH + CODED,
        CODED + LENGTH,
        b"Content-Length: 0\r\n" + CODED,
        LENGTH + b"transfer-encoding: CHUNKED\r\n",
        LENGTH + b"Transfer-Encoding: xchunked\r\n",
        LENGTH + b"Transfer-Encoding: identity\r\n",
        LENGTH + b"Transfer-Encoding:\r\n",
        LENGTH + b"Transfer-Encoding: cow\r\n" + CODED,
        LENGTH + b"A: b\r\n" * 5 + CODED,
        LENGTH + b"Connection: Transfer-Encoding\r\n" + CODED,
        b"Connection: Content-Length\r\n" + LENGTH + CODED,
    ],
)
async def test_a_length_and_a_coding_are_refused(lines: bytes) -> None:
    async with stage() as scene:
        await refused(scene, POST + lines + b"\r\n0\r\n\r\n", 400)


@pytest.mark.parametrize(
    "lines",
    [
        LENGTH + LENGTH,
        LENGTH + b"content-length: 6\r\n",
        LENGTH + b"A: b\r\n" + LENGTH,
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: 5,6\r\n",
        b"Content-Length: 5,\r\n",
    ],
)
async def test_two_lengths_are_refused(lines: bytes) -> None:
    async with stage() as scene:
        await refused(scene, POST + lines + b"\r\nhello", 400)


@pytest.mark.parametrize(
    "value",
    [
        b"", b"+5", b"-5", b"-0", b"0x5", b"5h", b"5.0", b"5e0", b"1_0", b"5 5", b"5 ;", b"05a",
        b"\x0b5", b"5\x00", b"\xb2", b"\xd9\xa5", b'"5"', b"5;a=b", b"NaN",
        b"9" * 19, b"9" * 40, b"18446744073709551621", b"4294967301" * 3, b"0" * 30 + b"5",
    ],
)  # fmt: skip
async def test_a_length_that_is_no_number_is_refused(value: bytes) -> None:
    async with stage() as scene:
        await refused(scene, POST + b"Content-Length: " + value + b"\r\n\r\nhello", 400)


@pytest.mark.parametrize("value", [b"5", b" 5", b"\t5 \t", b"00005"])
async def test_a_length_of_digits_goes_up_as_it_stands(value: bytes) -> None:
    async with stage() as scene:
        data = POST + b"Content-Length:" + value + b"\r\n\r\nhello" + SMUGGLED
        client, target, head = await sent_up(scene, data)
        assert own(head) == POST + b"Content-Length:" + value + b"\r\n"
        assert await target.exactly(5) == b"hello"
        await target.send(OK)
        assert (await told(client)).status == 200
        assert (await target.head()).startswith(b"GET /api/smuggled ")  # a request, and behind it


# ---------------------------------------------------------------------------- transfer codings


@pytest.mark.parametrize(
    "value",
    [
        b" gzip, chunked", b" chunked, gzip", b" chunked, chunked", b" xchunked", b" chunkedx",
        b" chunk", b" chu nked", b" identity", b" identity, chunked", b" gzip", b" chunked,",
        b" ,chunked", b" chunked;q=1", b" chunked; a", b' "chunked"', b" 'chunked'", b" cow",
        b" chunked\t", b"\tchunked", b"  chunked ", b" ", b"", b" \xa0chunked", b" chun\xe9ked",
        b" chunked\xff", b" true", b" 1",
    ],
)  # fmt: skip
async def test_a_coding_that_is_not_chunked_alone_is_not_implemented(value: bytes) -> None:
    async with stage() as scene:
        coding = b"Transfer-Encoding:" + value + b"\r\n"
        await refused(scene, POST + coding + b"\r\n0\r\n\r\n", 501)


@pytest.mark.parametrize(
    "lines",
    [
        CODED + CODED,
        CODED + b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: cow\r\n" + CODED,
        b"Transfer-Encoding:\r\n" + CODED,
        CODED + b"A: b\r\ntransfer-encoding: chunked\r\n",
    ],
)
async def test_two_codings_are_not_implemented(lines: bytes) -> None:
    async with stage() as scene:
        await refused(scene, POST + lines + b"\r\n0\r\n\r\n", 501)


@pytest.mark.parametrize(
    "line",
    [
        b"Transfer-Encoding : chunked", b"Transfer-Encoding\t: chunked", b" " + CODED[:-2],
        b"\tTransfer-Encoding: chunked", b"Transfer-Encoding: \x0bchunked",
        b"Transfer-Encoding: \x0cchunked", b"Transfer-Encoding: chunked\x00",
        b"Transfer-Encoding: chunked\x01", b"Transfer-Encoding: chunked\x7f",
        b"Transfer-Encoding:\r\n chunked", b"Transfer-Encoding: chun\r\n ked",
        b"Transfer-Encoding\r\n: chunked", b"Transfer-Encoding:\rchunked",
        b"Transfer-Encoding: chunked\r", b"A: b\rTransfer-Encoding: chunked",
        b"A: b\nTransfer-Encoding: chunked", b"A: b\n\rTransfer-Encoding: chunked",
        b"\x00Transfer-Encoding: chunked", b"Transfer-Encoding\x00: chunked",
        b"Transfer-Encoding\x0b: chunked", b"\xffTransfer-Encoding: chunked",
        b"Transfer Encoding: chunked", b"Transfer-Encoding", b"Transfer-Encoding; chunked",
        b": chunked", b"X: X[\nTransfer-Encoding: chunked]",
    ],
)  # fmt: skip
@pytest.mark.parametrize("length", [LENGTH, b""], ids=["length", "alone"])
async def test_a_coding_in_a_broken_line_is_refused(line: bytes, length: bytes) -> None:
    async with stage() as scene:
        await refused(scene, POST + length + line + b"\r\n\r\n0\r\n\r\n", 400)


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b"CHUNKED"])
async def test_chunked_in_any_case_goes_up_as_one_coding(coding: bytes) -> None:
    async with stage() as scene:
        data = POST + b"tRANSFER-eNCODING: " + coding + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        _, target, head = await sent_up(scene, data)
        assert own(head) == POST + CODED
        assert await target.exactly(15) == b"5\r\nhello\r\n0\r\n\r\n"


@pytest.mark.parametrize("value", [b"chunked", b"gzip, chunked", b"identity"])
async def test_a_coding_in_1_0_is_refused(value: bytes) -> None:
    async with stage() as scene:
        line = b"POST /api/x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n"
        data = line + b"Transfer-Encoding: " + value + b"\r\n\r\n0\r\n\r\n"
        await refused(scene, data, 400)


async def test_a_coding_that_connection_names_still_frames() -> None:
    async with stage() as scene:
        data = POST + b"Connection: transfer-encoding\r\n" + CODED + b"\r\n0\r\n\r\n"
        _, target, head = await sent_up(scene, data)
        assert own(head) == POST + CODED
        assert await target.exactly(5) == b"0\r\n\r\n"


# --------------------------------------------------------------------------- lines that are none


@pytest.mark.parametrize(
    "lines",
    [
        b"A : b\r\n", b"A\t: b\r\n", b" A: b\r\n", b"\tA: b\r\n", b"A: b\r\n c\r\n",
        b"A: b\r\n\tc\r\n", b"A: b\r\n \r\n", b"A: b\rc\r\n", b"A: b\r\r\n", b"\rA: b\r\n",
        b"A: b\nC: d\r\n", b"A: b\n\r\n", b"A: \x00\r\n", b"A: b\x00c\r\n", b"A: \x08\r\n",
        b"A: \x7f\r\n", b"A: \x1b[0m\r\n", b"A\x00: b\r\n", b"A\x01: b\r\n", b"A\x7f: b\r\n",
        b"\x80: b\r\n", b"\xc3\xa4: b\r\n", b": b\r\n", b"A\r\n", b"A b\r\n", b"A(: b\r\n",
        b"A@b: c\r\n", b'"A": b\r\n', b"A/b: c\r\n", b"A[0]: c\r\n", b"{A}: c\r\n", b"A,B: c\r\n",
        b"Content-Length : 5\r\nContent-Length: 0\r\n", b"GET /api/smuggled HTTP/1.1\r\nB: c\r\n",
    ],
)  # fmt: skip
async def test_a_line_that_is_no_field_is_refused(lines: bytes) -> None:
    async with stage() as scene:
        await refused(scene, POST + lines + b"\r\n", 400)


@pytest.mark.parametrize(
    "data",
    [
        b"GET /api/x HTTP/1.1\nHost: a\n\n",
        b"GET /api/x HTTP/1.1\r\nHost: a\n\n",
        b"GET /api/x HTTP/1.1\r\nHost: a\r\n\n",
        b"GET /api/x HTTP/1.1\nHost: a\r\n\r\n",
        b"GET /api/x HTTP/1.1\rHost: a\r\r",
        b"GET /api/x HTTP/1.1\r\nHost: a\r\rGET /api/smuggled HTTP/1.1\r\n\r\n",
        b"\nGET /api/x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\rGET /api/x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\0GET /api/x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\xef\xbb\xbfGET /api/x HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
async def test_other_line_ends_are_refused(data: bytes) -> None:
    async with stage() as scene:
        await refused(scene, data, 400)


async def test_empty_lines_before_a_request_are_no_part_of_it() -> None:
    async with stage() as scene:
        _, _, head = await sent_up(scene, b"\r\n\r\nGET /api/x HTTP/1.1\r\nHost: a\r\n\r\n")
        assert own(head) == b"GET /api/x HTTP/1.1\r\nHost: a\r\n"


# -------------------------------------------------------------------------------------- chunks


@pytest.mark.parametrize(
    "chunks",
    [
        b"+5\r\nhello\r\n0\r\n\r\n", b"-1\r\nhello\r\n0\r\n\r\n", b"-0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n", b"0X0\r\n\r\n", b"5h\r\nhello\r\n0\r\n\r\n",
        b"g\r\n", b"\r\nhello\r\n", b";a=b\r\nhello\r\n", b" 5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n", b"\t5\r\nhello\r\n", b"5\t\r\nhello\r\n", b"5 5\r\nhello\r\n",
        b"5_0\r\nhello\r\n", b"5.\r\nhello\r\n", b"5,5\r\nhello\r\n", b"\x005\r\nhello\r\n",
        b"5\x00\r\nhello\r\n", b"\xd9\xa5\r\nhello\r\n", b"'5'\r\nhello\r\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",  # 5, when the 65th bit is lost
        b"100000005" * 2 + b"\r\nhello\r\n", b"F" * 16 + b"\r\n", b"f" * 4000, b"0" * 4000 + b"5",
        b"fffffffffffffffffffff\r\n", b"8000000000000000\r\n",
        b"5\nhello\r\n0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n", b"5\rhello\r\n0\r\n\r\n",
        b"5\r\rhello\r\n", b"5\r\nhello0\r\n\r\n", b"5\r\nhello\r0\r\n\r\n",
        b"5\r\nhello\r\r\n0\r\n\r\n", b"5\r\nhellohello\r\n0\r\n\r\n", b"5\r\nhello\r\n\r\n0\r\n",
        b"5;\nhello\r\n0\r\n\r\n", b"5;a\nb\r\nhello\r\n", b"5;a=b\r;c\r\nhello\r\n",
        b"5;a\x00\r\nhello\r\n", b"5;a\x01b\r\nhello\r\n", b'5;a="\n"\r\nhello\r\n',
        b"5 a\r\nhello\r\n", b"5:a\r\nhello\r\n", b"5=a\r\nhello\r\n",
        b"0\n\r\n", b"0\r\n\n", b"0\r\nA: b\n\r\n", b"0\r\nA : b\r\n\r\n", b"0\r\n A: b\r\n\r\n",
        b"0\r\nA: b\r\n c\r\n\r\n", b"0\r\nA\r\n\r\n", b"0\r\nA: b\x00\r\n\r\n",
        b"0\r\nA: b\rB: c\r\n\r\n", b"0\r\nGET /api/smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)  # fmt: skip
async def test_broken_chunks_are_refused_and_abort_what_went_up(chunks: bytes) -> None:
    async with stage() as scene:
        client, target, _ = await sent_up(scene, POST + CODED + b"\r\n5\r\nfirst\r\n")
        assert await target.exactly(10) == b"5\r\nfirst\r\n"
        await client.send(chunks + SMUGGLED)
        answer = await told(client)
        check_error(answer, 400)
        assert answer.closes
        await end(client)
        gone_up = await until_gone(target)
        assert b"0\r\n\r\n" not in gone_up  # to the upstream, too, this is no whole request
        assert b"smuggled" not in gone_up
        assert len(scene.upstream.connections) == 1


async def test_broken_chunks_behind_their_own_head_never_make_a_whole_request() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(POST + CODED + b"\r\n0x0\r\n\r\n" + SMUGGLED)
        check_error(await told(client), 400)
        await end(client)
        await (await scene.client()).send(b"GET /api/control HTTP/1.1\r\nHost: a\r\n\r\n")
        target = await scene.upstream.accept()
        seen = await target.head()
        while not seen.startswith(b"GET /api/control "):  # a head without its body may be there
            assert await until_gone(target) == b""
            target = await scene.upstream.accept()
            seen = await target.head()


@pytest.mark.parametrize("size", [0, 1, 255, 256])
async def test_a_chunk_extension_is_taken_and_dropped(size: int) -> None:
    async with stage() as scene:
        extension = b";" + b"x" * (size - 1) if size else b""
        chunks = b"5%b\r\nhello\r\n0%b\r\n\r\n" % (extension, extension)
        client, target, head = await sent_up(scene, POST + CODED + b"\r\n" + chunks + SMUGGLED)
        assert own(head) == POST + CODED
        assert await target.exactly(15) == b"5\r\nhello\r\n0\r\n\r\n"
        await target.send(OK)
        assert (await told(client)).status == 200
        assert (await target.head()).startswith(b"GET /api/smuggled ")


@pytest.mark.parametrize("chunk", [b"5;%b\r\nhello\r\n", b"0;%b\r\n\r\n", b"5;%b"])
async def test_a_longer_chunk_extension_is_refused(chunk: bytes) -> None:
    async with stage(limits={"chunk_extension": 20}) as scene:
        client, target, _ = await sent_up(scene, POST + CODED + b"\r\n")
        await client.send(chunk % (b"x" * 60))
        answer = await told(client)
        check_error(answer, 400)
        await end(client)
        assert await until_gone(target) == b""


async def test_request_trailers_are_read_and_dropped() -> None:
    async with stage() as scene:
        trailers = b"0\r\nX-Sum: 7\r\nContent-Length: 9\r\nHost: b\r\nAuthorization: c\r\n\r\n"
        data = POST + b"Trailer: X-Sum\r\n" + CODED + b"\r\n" + trailers + SMUGGLED
        client, target, head = await sent_up(scene, data)
        assert own(head) == POST + CODED
        assert await target.exactly(5) == b"0\r\n\r\n"
        await target.send(OK)
        assert (await told(client)).status == 200
        assert (await target.head()).startswith(b"GET /api/smuggled ")


async def test_endless_request_trailers_are_refused() -> None:
    async with stage() as scene:
        client, target, _ = await sent_up(scene, POST + CODED + b"\r\n0\r\n")
        await client.send(b"A: %b\r\n" % (b"b" * 4000) * 9)
        check_error(await told(client), 400)
        await end(client)
        assert await until_gone(target) == b""


# ---------------------------------------------------------------- a body that nobody waited for


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /nothing HTTP/1.1\r\nHost: a\r\n", 404),
        (b"TRACE /api/x HTTP/1.1\r\nHost: a\r\n", 405),
        (b"POST /api/%2e%2e/x HTTP/1.1\r\nHost: a\r\n", 400),
    ],
)
async def test_the_body_of_what_is_turned_down_is_no_request(head: bytes, status: int) -> None:
    async with stage() as scene:
        length = b"Content-Length: %d\r\n\r\n" % len(SMUGGLED)
        await turned_down(scene, head + length + SMUGGLED, status)


async def test_the_body_of_a_get_is_no_request() -> None:
    async with stage() as scene:
        data = b"GET /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n" % len(SMUGGLED)
        client, target, head = await sent_up(scene, data + b"\r\n" + SMUGGLED)
        assert own(head) == data
        assert await target.exactly(len(SMUGGLED)) == SMUGGLED
        await target.send(OK)
        assert (await told(client)).status == 200
        await client.send(CONTROL)
        assert (await target.head()).startswith(b"GET /api/control ")


async def test_a_body_without_a_length_is_the_next_request() -> None:
    async with stage() as scene:
        client, target, head = await sent_up(scene, POST + b"\r\n" + SMUGGLED)
        assert own(head) == POST
        await target.send(OK)
        assert (await told(client)).status == 200
        assert (await target.head()).startswith(b"GET /api/smuggled ")
