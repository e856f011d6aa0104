"""What goes over the wire to an OpenAI-style server: requests, repeated where that helps; replies piece by piece.

Covered: server-sent events of /chat/completions and /completions; another attempt while no byte of a reply has come;
what servers say when they refuse. The key is read from the environment for each request and kept nowhere.
Not covered: what is asked and what becomes of the answer (`endpoint`), redirects (they would carry the key elsewhere).
"""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from contextlib import aclosing
from functools import cached_property
from typing import Any, Literal, NamedTuple, cast

import httpx
from httpx_sse import EventSource, SSEError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_exponential, wait_random

from chimed_rag.errors import GeneratorError, InputError
from chimed_rag.generation.refusals import AgainError, RefusedError, UnreachableError, refusal, told_by
from chimed_rag.generation.reply import Piece, WithoutThoughts, read_event

_BACKOFF = wait_exponential(multiplier=0.5, max=8.0) + wait_random(0, 0.5)
_HEADERS = {"Content-Type": "application/json", "Accept": "text/event-stream, application/json"}
_MOST_OF_A_REFUSAL = 65_536  # bytes


class Ended(NamedTuple):
    """How a reply ended; counts in tokens where the server tells."""

    finish: Literal["stop", "length"]
    prompt_tokens: int | None = None
    new_tokens: int | None = None


class Wire:
    """One server.

    Args:
        url: with the path that /models and /chat/completions follow, "http://llm:8000/v1".
        api_key_env: the environment variable that holds the key.
        attempts: at most so many for a request.
        connect_seconds: to reach the server.
        stall_seconds: without a single byte.
        connections: that are kept open.

    Raises:
        InputError: the address cannot be used; a key in it is not repeated.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key_env: str,
        attempts: int,
        connect_seconds: float,
        stall_seconds: float,
        connections: int,
    ) -> None:
        self.url = _checked(url)
        self.root = self.url.removesuffix("/v1")
        """Where servers have what OpenAI's protocol does not know (/tokenize)."""
        self._key, self._attempts, self._stall_seconds = _Key(api_key_env), attempts, stall_seconds
        self._asks_usage = True
        self._limits = httpx.Limits(max_connections=None, max_keepalive_connections=connections)
        self._timeout = httpx.Timeout(stall_seconds, connect=connect_seconds, pool=None)

    @cached_property
    def _client(self) -> httpx.AsyncClient:  # made when first needed: reading the certificates takes a while
        return httpx.AsyncClient(auth=self._key, timeout=self._timeout, limits=self._limits, follow_redirects=False)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def ask(self, method: str, url: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON that the server answers.

        Raises:
            GeneratorError: as `reply`, or it is no JSON.
        """
        response = await self._open(method, url, body)
        try:
            return json.loads(await response.aread())
        except (httpx.HTTPError, ValueError) as error:
            raise GeneratorError(f"{url} answers with what is no JSON ({type(error).__name__})") from None
        finally:
            await response.aclose()

    async def reply(self, path: str, body: Mapping[str, Any], give: Callable[[str], None]) -> Ended:
        """Asks for a reply and gives its pieces as they come.

        Raises:
            UnreachableError, AgainError: every attempt failed. RefusedError, TooLongError: the server will not.
            GeneratorError: it stalled, broke off or sent what cannot be read; the pieces before that were given.
        """
        usage = {"stream_options": {"include_usage": True}} if self._asks_usage else {}
        try:
            response = await self._open("POST", self.url + path, {**body, "stream": True, **usage})
        except RefusedError as error:
            if not usage or error.status not in (400, 422):
                raise
            response = await self._open("POST", self.url + path, {**body, "stream": True})  # older servers
            self._asks_usage = False
        try:
            return await self._read(response, give)
        finally:
            await response.aclose()

    async def _read(self, response: httpx.Response, give: Callable[[str], None]) -> Ended:
        said, last, thoughts = 0, Piece(), WithoutThoughts()
        try:
            # EventSource asks a response for its headers and its text, nothing else.
            source = EventSource(cast("httpx.Response", _StrictText(response)))
            async with aclosing(source.aiter_sse()) as events:
                async for event in events:
                    piece = read_event(event.event, event.data)
                    last = last.followed_by(piece)
                    if text := thoughts.feed(piece.text):
                        said += len(text)
                        give(text)
                    if piece.is_last:
                        break
        except UnicodeDecodeError:
            trouble = "sent what is not UTF-8"
        except SSEError:
            trouble = f"answers with {response.headers.get('content-type', 'no type')!r}, not with an event stream"
        except httpx.ReadTimeout:
            trouble = f"sent nothing for {self._stall_seconds:g} s"
        except httpx.HTTPError as error:
            trouble = f"broke off ({type(error).__name__})"
        except ValueError as error:
            trouble = self._key.hidden(str(error))
        else:
            trouble = "broke off before its end"
        if last.finish is None:
            raise GeneratorError(f"{self.url} {trouble}, after {said} characters of a reply")
        if rest := thoughts.rest():
            give(rest)
        return Ended(last.finish, last.prompt_tokens, last.new_tokens)

    async def _open(self, method: str, url: str, body: Mapping[str, Any] | None) -> httpx.Response:
        """An open response with status 200; the caller closes it."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(AgainError), stop=stop_after_attempt(self._attempts), wait=_wait, reraise=True
        )
        try:
            return await retrying(self._open_once, method, url, body)
        except AgainError as error:
            error.args = (f"{error} (attempts: {self._attempts})",)
            raise

    async def _open_once(self, method: str, url: str, body: Mapping[str, Any] | None) -> httpx.Response:
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        request = self._client.build_request(method, url, content=content, headers=_HEADERS)
        try:
            response = await self._client.send(request, stream=True)
        except httpx.ReadTimeout:
            raise GeneratorError(f"{url} sent nothing for {self._stall_seconds:g} s") from None
        except (httpx.NetworkError, httpx.ConnectTimeout, httpx.RemoteProtocolError) as error:
            message = f"{url} does not answer ({self._key.hidden(str(error)) or type(error).__name__})"
            raise UnreachableError(f"{message}; start the server (vllm serve MODEL) or mend the address") from None
        except httpx.HTTPError as error:
            raise GeneratorError(f"{url}: {self._key.hidden(str(error)) or type(error).__name__}") from None
        status = response.status_code
        if status == httpx.codes.OK:
            return response
        try:
            told = self._key.hidden(told_by(await _body(response)))
        finally:
            await response.aclose()
        if status in (401, 403):  # its words may hold parts of the key
            state = "a key that it does not accept" if self._key.read() else "no key"
            raise RefusedError(
                f"{url} answers {status}: the environment variable {self._key.variable} holds {state}", status
            )
        raise refusal(url, status, told, response.headers.get("retry-after", ""))


class _Key(httpx.Auth):
    """Puts the key into a request; knows only where it is."""

    def __init__(self, variable: str) -> None:
        self.variable = variable

    def read(self) -> str:
        return os.environ.get(self.variable, "").strip()

    def hidden(self, text: str) -> str:
        """A server's words on one line, shortened, and without the key, which some servers repeat."""
        text = " ".join(text.split())
        return (text.replace(key, "***") if (key := self.read()) else text)[:300]

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if key := self.read():
            if not (key.isascii() and key.isprintable()):  # h11 would repeat it in its error
                raise GeneratorError(f"the environment variable {self.variable} holds what no header can carry")
            request.headers["Authorization"] = f"Bearer {key}"
        yield request


class _StrictText:
    """The text of a response for `EventSource`; raises where httpx would silently put U+FFFD."""

    def __init__(self, response: httpx.Response) -> None:
        self.headers = response.headers
        self._response = response

    async def aiter_text(self) -> AsyncIterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            async for data in self._response.aiter_bytes():
                yield decoder.decode(data)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            yield error.object[: error.start].decode()
            raise


def _checked(url: str) -> str:
    try:
        parsed = httpx.URL(url.strip().rstrip("/"))
    except (httpx.InvalidURL, TypeError):
        raise InputError("the address of a language model server reads http://HOST:PORT/v1") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InputError("the address of a language model server begins with http:// or https:// and names a host")
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise InputError(
            f"the address of the server at {parsed.host} holds more than host, port and path; a key belongs into the "
            "environment variable that api_key_env names"
        )
    return str(parsed)


async def _body(response: httpx.Response) -> bytes:
    """The beginning of a refusal."""
    body = b""
    try:
        async for data in response.aiter_bytes():
            body += data
            if len(body) > _MOST_OF_A_REFUSAL:
                break
    except httpx.HTTPError:
        pass
    return body


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return max(_BACKOFF(state), error.wait if isinstance(error, AgainError) else 0.0)
