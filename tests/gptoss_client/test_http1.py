"""The HTTP/1 parser: any split of the bytes gives the same response, and invalid bytes are reported as such."""

from itertools import pairwise

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_client.arrivals import body_reads
from gptoss_client.http1 import HEAD_LIMIT, Response, request_bytes

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LOOKS_LIKE_THE_END = b"0\r\n\r\n"

body_bytes = st.binary(min_size=1, max_size=40) | st.just(LOOKS_LIKE_THE_END) | st.just(b"a" + LOOKS_LIKE_THE_END)
extensions = st.sampled_from([b"", b";x", b";x=1", b';name="a b"'])
trailers = st.sampled_from([b"", b"X-Sum: 1\r\n", b"Sum: 0\r\n" * 3])
interim = st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" * 2])


def fed(*reads: bytes, method: str = "POST") -> Response:
    response = Response(method)
    for at, read in enumerate(reads):
        response.feed(None, at, read, 0, len(read))
    return response


def body_of(response: Response) -> bytes:
    return b"".join(response.parts)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted({cut % len(data) for cut in cuts} - {0}), len(data)]
    return [data[begin:end] for begin, end in pairwise(edges)]


@given(st.lists(body_bytes, min_size=1, max_size=6), extensions, trailers, interim, st.lists(st.integers(0, 2000)))
def test_any_split_of_a_chunked_response_gives_the_same_body(events, extension, trailer, before, cuts):
    wire = b"".join(b"%x%s\r\n%s\r\n" % (len(data), extension, data) for data in events)
    wire = before + CHUNKED + wire + b"0" + extension + b"\r\n" + trailer + b"\r\n"
    *but_the_last, last = split(wire, cuts)
    response = fed(*but_the_last)
    assert (response.complete, response.failure) == (False, None)
    assert response.feed(None, len(but_the_last), last, 0, len(last)) is True
    assert (response.status, response.complete, response.reusable, response.failure) == (200, True, True, None)
    assert body_of(response) == b"".join(events)
    timestamps = [read_ns for _, read_ns, *_ in response.reads]
    assert timestamps == sorted(set(timestamps))
    assert response.headers == [(b"Transfer-Encoding", b"chunked")]


@given(st.binary(max_size=60), st.lists(st.integers(0, 200)), st.booleans())
def test_a_counted_body_and_one_that_lasts_until_the_connection_ends(body, cuts, counted):
    head = OK + (b"Content-Length: %d\r\n\r\n" % len(body) if counted else b"\r\n")
    response = fed(*split(head + body, cuts))
    assert response.complete is counted
    response.end()
    assert (response.complete, response.reusable, response.failure) == (True, False, None)
    assert body_of(response) == body


@given(st.binary(max_size=300), st.lists(st.integers(0, 300)))
def test_noise_is_never_a_complete_response_and_raises_nothing(noise, cuts):
    response = fed(*split(noise or b"\0", cuts))
    response.end()
    assert not response.complete
    assert isinstance(response.failure, httpx.TransportError)


def test_a_piece_is_what_one_read_brought_of_the_body():
    response = fed(CHUNKED, b"2\r\nab\r\n2\r\ncd\r\n4\r\nef", b"gh", b"\r\n", b"0\r\n\r\n")
    pieces = [(at, b"".join(response.parts[begin:end])) for at, begin, end in body_reads(response.reads)]
    assert pieces == [(1, b"abcdef"), (2, b"gh")]


@pytest.mark.parametrize("behind", [b"X", OK + b"Content-Length: 2\r\n\r\nno", b"HTTP/1.1 2"])
def test_bytes_behind_the_end_make_the_connection_not_reusable(behind):
    for reads in ([OK + b"Content-Length: 2\r\n\r\nhi" + behind], [OK + b"Content-Length: 2\r\n\r\nhi", behind]):
        response = fed(*reads)
        assert (response.complete, response.reusable, response.failure) == (True, False, None)
        assert (body_of(response), response.status) == (b"hi", 200)


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "Expected HTTP"),
        (b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/2.0"),
        (b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "another protocol"),
        (OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding"),
        (OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n", "Content-Length"),
        (CHUNKED + b"-1\r\n", "chunk size"),
        (CHUNKED + b"f" * 17 + b"\r\n", "overflow"),
        (CHUNKED + b"1\r\nabc", "chunk data"),
        (OK + b"X: " + b"a" * HEAD_LIMIT + b"\r\n\r\n", "longer than 64 KiB"),
        (OK + b"X: y\r\n" * HEAD_LIMIT, "longer than 64 KiB"),
        (b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" * HEAD_LIMIT, "longer than 64 KiB"),
        (CHUNKED + b"0\r\n" + b"X: y\r\n" * HEAD_LIMIT, "longer than 64 KiB"),
    ],
)
@pytest.mark.parametrize("size", [1, 4096, 10**9])
def test_what_http_does_not_allow_is_malformed(wire, message, size):
    response = fed(*(wire[at : at + size] for at in range(0, min(len(wire), 2 * HEAD_LIMIT), size)))
    assert not response.complete
    assert isinstance(response.failure, httpx.RemoteProtocolError)
    assert message in str(response.failure)


@pytest.mark.parametrize(
    ("wire", "where"),
    [
        (b"", "before it responded"),
        (b"HTTP/1.1 20", "in the response head"),
        (CHUNKED + b"5\r\nhel", "in the response body"),
        (OK + b"Content-Length: 5\r\n\r\nhel", "in the response body"),
    ],
)
def test_an_early_end_is_a_cut(wire, where):
    response = fed(*([wire] if wire else []))
    response.end(ConnectionResetError("reset by peer"))
    assert isinstance(response.failure, httpx.ReadError)
    assert where in str(response.failure)
    assert "reset by peer" in str(response.failure)


@pytest.mark.parametrize(
    ("wire", "method", "reusable"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", "POST", True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "POST", True),
        (OK + b"Content-Length: 5\r\n\r\n", "HEAD", False),
        (OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n", "POST", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", "POST", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", "POST", True),
    ],
)
def test_whether_there_is_a_body_and_whether_the_connection_is_kept(wire, method, reusable):
    response = fed(wire, method=method)
    assert (response.complete, response.reusable, body_of(response)) == (True, reusable, b"")


def test_request_bytes():
    request = httpx.Request("POST", "http://h:1/a?b=c", content=b"{}", headers={"X-Y": "z"})
    first, _, rest = request_bytes(request).partition(b"\r\n")
    assert first == b"POST /a?b=c HTTP/1.1"
    assert rest.endswith(b"\r\n\r\n{}") and b"X-Y: z\r\n" in rest and b"Content-Length: 2" in rest


def test_a_header_with_a_line_break_is_refused():
    request = httpx.Request("POST", "http://h/", content=b"{}", headers={"X": "a\r\nY: b"})
    with pytest.raises(httpx.LocalProtocolError):
        request_bytes(request)


@given(st.lists(st.integers(0, 4 << 20), max_size=8), st.sampled_from([CHUNKED, OK + b"\r\n"]))
def test_a_response_longer_than_its_limit_fails_and_keeps_no_more_than_that(cuts, head):
    body = b"200000\r\n" + b"x" * (2 << 20) if head is CHUNKED else b"x" * (2 << 20)
    response = Response(limit_mib=1)
    for at, read in enumerate(split(head + body, cuts)):
        response.feed(None, at, read, 0, len(read))
    response.end()
    assert (str(response.failure), response.complete) == ("the response is longer than 1 MiB", False)
    assert len(body_of(response)) <= 1 << 20
