"""Ask a server one question beside a load, with a deadline, a limit of bytes, and an answer that is safe to use."""

import asyncio
import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from gptoss_client import JsonValue, connect_reason, hide_key, one_line, parse_json, request_headers, tls_context

QUESTION_TIMEOUT_S = 5.0  # from the question to the last byte of the answer
ANSWER_LIMIT_BYTES = 8 << 20  # of an answer, decompressed
_INFLATED = {"gzip": 31, "x-gzip": 31, "deflate": 47}  # window bits by coding: gzip, or either header


class NoAnswer(Exception):
    """A server gave no answer that can be read; the message is why, in one line.

    `connected` is False where no connection could be opened.
    """

    def __init__(self, reason: str, *, connected: bool = True) -> None:
        super().__init__(reason)
        self.connected = connected


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a question: HTTP status and version, two headers, and the body as text without the API key."""

    status: int = 0
    http_version: str = ""
    server: str = ""
    content_type: str = ""
    text: str = ""

    @property
    def body(self) -> dict[str, JsonValue]:
        """Return the JSON object of the body; an empty one if there is none that can be read."""
        try:
            found = parse_json(self.text)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def question_client(
    url: str, *, keep_alive: bool = False, http2: bool = False, verify: ssl.SSLContext | bool | None = None
) -> httpx.AsyncClient:
    """Return an HTTP client for questions to a server; it sends the API key and follows no redirect.

    `verify` is a `tls_context` that was made before. Raises UsageError as `tls_context` and `request_headers`.
    """
    return httpx.AsyncClient(
        base_url=url,
        headers=request_headers(keep_alive=keep_alive),
        http2=http2,
        timeout=None,  # `ask` has a deadline
        trust_env=False,
        verify=tls_context(url) if verify is None else verify,
    )


async def ask(
    http: httpx.AsyncClient,
    path: str,
    body: Mapping[str, JsonValue] | None = None,
    *,
    timeout_s: float = QUESTION_TIMEOUT_S,
) -> Answer:
    """GET a path, or POST a JSON body to it. Raises NoAnswer."""
    try:
        async with (
            asyncio.timeout(timeout_s),
            http.stream("GET" if body is None else "POST", path, json=body) as response,
        ):
            data = await _read(response)
    except TimeoutError:
        raise NoAnswer(f"no whole answer within {timeout_s:g} s") from None
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise NoAnswer(connect_reason(error), connected=False) from None
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, zlib.error, ValueError) as error:
        raise NoAnswer(one_line(str(error)) or type(error).__name__) from None
    return Answer(
        response.status_code,
        response.http_version,
        one_line(response.headers.get("server", "")),
        one_line(response.headers.get("content-type", "")),
        hide_key(data.decode("utf-8", "backslashreplace")),
    )


async def _read(response: httpx.Response) -> bytes:
    """Return the decompressed body. Raises NoAnswer if it is too long or has another coding than gzip and deflate."""
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", "", *_INFLATED):
        raise NoAnswer(f"it has the Content-Encoding {one_line(coding, 40)}, but identity was requested")
    inflate = zlib.decompressobj(_INFLATED[coding]) if coding in _INFLATED else None
    data = bytearray()
    async for part in response.aiter_raw():
        data += part if inflate is None else inflate.decompress(part, ANSWER_LIMIT_BYTES + 1 - len(data))
        if len(data) > ANSWER_LIMIT_BYTES:
            raise NoAnswer(f"the answer is longer than {ANSWER_LIMIT_BYTES >> 20} MiB")
    return bytes(data)
