"""A language model behind a server that speaks OpenAI's protocol: vLLM, SGLang, llama.cpp, `transformers serve`.

Not covered: starting a server; tools, images and several choices of a reply; a server that cannot stream, or that
silently cuts a prompt that is too long (Ollama does).
Everything is streamed, also what is wanted whole: a stall shows, and what came before a limit of time is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Sequence
from concurrent.futures import CancelledError, wait
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any, Literal, TypeVar

from chimed_rag.config import Generation
from chimed_rag.errors import GeneratorError, InputError
from chimed_rag.generation.background import Background
from chimed_rag.generation.base import Message
from chimed_rag.generation.language_model import Completion, LanguageModel, Probabilities
from chimed_rag.generation.refusals import RefusedError, TooLongError
from chimed_rag.generation.sent import NATIVE_STOPS, harmless, native
from chimed_rag.generation.served import Count, Served, estimate_tokens
from chimed_rag.generation.top_tokens import among, first_tokens
from chimed_rag.generation.wire import Ended, Wire
from chimed_rag.records import Draft, DraftSentence, Evidence

T = TypeVar("T")
_POLL_SECONDS = 0.05  # how often a call looks whether it was cancelled


class EndpointGenerator(LanguageModel):
    """Writes through a server; making one asks the server nothing.

    Args:
        url: "http://llm:8000/v1". Proxies are those of the environment, as httpx reads them.
        model: as GET /models lists it; None takes the only one there.
        api_key_env: the environment variable that holds the key, if the server wants one. It is read for each
            request and shows up nowhere else.
        settings: how it writes unless a call says otherwise.
        api: "chat" leaves the template to the server; "completions" sends ChiMed-GPT's own prompt form as text, for
            servers that have no template for it.
        concurrency: at most so many requests at once, whatever the number of threads.
        attempts: so many in all while nothing of a reply has come and the server cannot be reached or is busy.
        connect_seconds: to reach the server.
        stall_seconds: without a single byte; then it is an error.

    Raises:
        InputError: an argument cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        api_key_env: str = "CHIMED_API_KEY",
        settings: Generation | None = None,
        api: Literal["chat", "completions"] = "chat",
        concurrency: int = 16,
        attempts: int = 4,
        connect_seconds: float = 5.0,
        stall_seconds: float = 60.0,
    ) -> None:
        super().__init__(settings)
        if api not in ("chat", "completions"):
            raise InputError(f"api is 'chat' or 'completions', not {api!r}")
        if min(concurrency, attempts) < 1 or min(connect_seconds, stall_seconds) <= 0:
            raise InputError("concurrency, attempts, connect_seconds and stall_seconds are positive")
        self._wire = Wire(
            url,
            api_key_env=api_key_env,
            attempts=attempts,
            connect_seconds=connect_seconds,
            stall_seconds=stall_seconds,
            connections=concurrency,
        )
        self._api = api
        self._served = Served(self._wire, model, self.settings.context_tokens)
        self._background = Background(self._wire.close)
        self._slots = asyncio.Semaphore(concurrency)
        self.name = f"endpoint:{model or self._wire.url.split('//')[1]}"

    def __repr__(self) -> str:
        return f"EndpointGenerator({self._wire.url!r}, model={self._served.name!r}, api={self._api!r})"

    @property
    def model(self) -> str:
        """The model that answers; the first call asks the server which it has.

        Raises:
            GeneratorError: the server cannot be reached, or has none or several; lists them.
        """
        return self._do(self._find_model)

    def require_reachable(self) -> None:
        """Asks the server for its list of models.

        Raises:
            GeneratorError: it cannot be reached, wants another key, or has no such list.
        """
        self._do(self._served.models)

    @property
    def context_tokens(self) -> int:
        """As the settings say, else as the server's list of models says, else 4,096."""
        return self._do(self._served.context)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """The tokens of a prompt: the server's count, or an upper estimate (`served.estimate_tokens`)."""
        return self._do(lambda: self._count(harmless(messages))).tokens

    def complete_many(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        settings: Generation | Sequence[Generation] | None = None,
        cancel: Event | None = None,
    ) -> list[Completion | GeneratorError]:
        """One completion for each conversation, all asked for at once as far as `concurrency` allows."""
        said: list[list[str]] = [[] for _ in conversations]
        done = self._all(
            [
                self._complete(messages, how, pieces.append)
                for messages, how, pieces in zip(
                    conversations, self._each(settings, len(conversations)), said, strict=True
                )
            ],
            cancel,
        )
        return [
            Completion("".join(pieces), "cancelled") if one is None else one
            for one, pieces in zip(done, said, strict=True)
        ]

    def option_logprobs(
        self,
        conversations: Sequence[Sequence[Message]],
        options: Sequence[Sequence[str]],
        *,
        cancel: Event | None = None,
    ) -> list[Probabilities]:
        """As every language model, of what a server tells: the first token's most probable values (`top_tokens`)."""

        path = "/chat/completions" if self._api == "chat" else "/completions"
        asked = [
            self._first_tokens(path, partial(self._prompt, harmless(one)), each)
            for one, each in zip(conversations, options, strict=True)
        ]
        return self._told(asked, cancel)

    def continuation_logprobs(
        self, texts: Sequence[str], options: Sequence[Sequence[str]], *, cancel: Event | None = None
    ) -> list[Probabilities]:
        """As every language model, through /completions; whether a token <s> comes first is for the server to say."""

        async def prompt(text: str) -> dict[str, Any]:
            return {"model": await self._find_model(), "prompt": text.rstrip().encode("utf-8", "replace").decode()}

        pairs = zip(texts, options, strict=True)
        return self._told(
            [self._first_tokens("/completions", partial(prompt, one), each) for one, each in pairs], cancel
        )

    def _told(self, asked: Sequence[Coroutine[Any, Any, Probabilities]], cancel: Event | None) -> list[Probabilities]:
        done = self._all(asked, cancel)
        return [GeneratorError("cancelled before it was told") if one is None else one for one in done]

    def _all(self, work: Sequence[Coroutine[Any, Any, T]], cancel: Event | None) -> list[T | None]:
        """What all of it gives, at once as far as `concurrency` allows; None where it was cancelled before its end."""
        futures = [self._background.begin(one) for one in work]
        try:
            waiting = set(futures)
            while waiting and not (cancel and cancel.is_set()):
                waiting = wait(waiting, timeout=None if cancel is None else _POLL_SECONDS).not_done
            return [future.result() if future.done() else None for future in futures]
        except CancelledError:
            raise self._closed() from None
        finally:
            for future in futures:
                future.cancel()

    def stream(
        self, messages: Sequence[Message], *, settings: Generation | None = None, cancel: Event | None = None
    ) -> Generator[str, None, Completion]:
        """The text in pieces, as the server sends it; closing the generator closes the connection."""
        arriving: SimpleQueue[str | None] = SimpleQueue()
        future = self._background.begin(self._complete(messages, settings or self.settings, arriving.put))
        future.add_done_callback(lambda _: arriving.put(None))
        said: list[str] = []
        try:
            while True:
                if cancel and cancel.is_set():
                    return Completion("".join(said), "cancelled")
                try:
                    piece = arriving.get(timeout=None if cancel is None else _POLL_SECONDS)
                except Empty:
                    continue
                if piece is None:
                    break
                said.append(piece)
                yield piece
            done = future.result()
        except CancelledError:
            raise self._closed() from None
        finally:
            future.cancel()
        if isinstance(done, GeneratorError):
            raise done
        return done

    def generate_many(
        self, asked: Sequence[tuple[str, Sequence[Evidence]]], *, cancel: Event | None = None
    ) -> list[Draft | GeneratorError]:
        """As every language model; what the server finds too long is asked once more with half the context."""
        done = super().generate_many(asked, cancel=cancel)
        again = {place: error for place, error in enumerate(done) if isinstance(error, TooLongError)}
        for error in again.values():
            self._served.halve_context(error)
        drafts = super().generate_many([asked[place] for place in again], cancel=cancel)
        for place, draft in zip(again, drafts, strict=True):
            done[place] = draft
        return done

    def write(
        self, question: str, evidence: Sequence[Evidence], *, cancel: Event | None = None
    ) -> Generator[DraftSentence, None, Draft]:
        """As every language model; what the server finds too long is asked once more with half the context."""
        try:
            return (yield from super().write(question, evidence, cancel=cancel))
        except TooLongError as error:  # a refusal comes before the first sentence
            self._served.halve_context(error)
        return (yield from super().write(question, evidence, cancel=cancel))

    def describe(self) -> dict[str, str]:
        """The model, the server's address, and the prompt."""
        return {**super().describe(), "url": self._wire.url}

    def close(self) -> None:
        """Breaks off what is being written and closes the connections."""
        self._background.close()

    def _do(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async def safely() -> T | GeneratorError:
            try:
                return await work()
            except GeneratorError as error:
                return _alone(error)

        try:
            done = self._background.begin(safely()).result()
        except CancelledError:
            raise self._closed() from None
        if isinstance(done, GeneratorError):
            raise done
        return done

    def _closed(self) -> GeneratorError:
        return GeneratorError(f"{self.name} was closed while it worked")

    # -- in the background ------------------------------------------------------------------------------------------

    async def _complete(
        self, messages: Sequence[Message], settings: Generation, give: Callable[[str], None]
    ) -> Completion | GeneratorError:
        """Never raises what a server can cause; time counts from the moment it is this request's turn."""
        said: list[str] = []

        def hear(piece: str) -> None:
            said.append(piece)
            give(piece)

        try:
            async with self._slots:
                ended = await asyncio.wait_for(self._ask(harmless(messages), settings, hear), settings.seconds)
        except asyncio.TimeoutError:
            return Completion("".join(said), "time")
        except GeneratorError as error:
            return _alone(error)
        return Completion("".join(said), *ended)

    async def _ask(self, messages: list[Message], settings: Generation, hear: Callable[[str], None]) -> Ended:
        context = await self._served.context()
        context = min(context, settings.context_tokens or context)
        body = {
            **await self._prompt(messages),
            "max_tokens": await self._reply_room(messages, settings.max_new_tokens, context),
            "temperature": settings.temperature,
        }
        if settings.temperature:
            body |= {"top_p": settings.top_p, "seed": settings.seed}
        if settings.repetition_penalty != 1:
            body["repetition_penalty"] = settings.repetition_penalty
        if self._api == "completions":
            body["stop"] = list(NATIVE_STOPS)
        try:
            return await self._wire.reply("/chat/completions" if self._api == "chat" else "/completions", body, hear)
        except TooLongError as error:
            error.context = context
            raise
        except RefusedError as error:
            raise await self._explained(error) from None

    async def _first_tokens(
        self, path: str, prompt: Callable[[], Coroutine[Any, Any, dict[str, Any]]], options: Sequence[str]
    ) -> Probabilities:
        """Never raises what a server can cause, as `_complete`."""
        try:
            async with self._slots:
                return among(await first_tokens(self._wire, path, await prompt()), options)
        except GeneratorError as error:
            return _alone(error)

    async def _prompt(self, messages: Sequence[Message]) -> dict[str, Any]:
        text = {"messages": list(messages)} if self._api == "chat" else {"prompt": native(messages)}
        return {"model": await self._find_model(), **text}

    async def _reply_room(self, messages: Sequence[Message], wanted: int, context: int) -> int:
        """The tokens that are left for the reply; an estimate leaves a third at least, and the server decides."""
        if estimate_tokens(messages) + wanted <= context:
            return wanted
        tokens, is_exact = await self._count(messages)
        if is_exact and tokens >= context:
            raise GeneratorError(f"the prompt has {tokens} tokens, {self.name} has a context of {context}")
        return min(wanted, context - tokens if is_exact else max(context - tokens, context // 3))

    async def _count(self, messages: Sequence[Message]) -> Count:
        return await self._served.count(await self._prompt(messages), messages)

    async def _find_model(self) -> str:
        model = await self._served.model()
        self.name = f"endpoint:{model}"
        return model

    async def _explained(self, error: RefusedError) -> GeneratorError:
        """A model that is not there: the error lists those that are."""
        try:
            names = [one["id"] for one in await self._served.models()] if error.status == 404 else []
        except GeneratorError:
            names = []
        if not names or self._served.name in names:
            return error
        return GeneratorError(f"{error}; it has no model {self._served.name!r}, but {', '.join(names[:20])}")


def _alone(error: GeneratorError) -> GeneratorError:
    """Without what led to it: that holds the request, and the request holds the key."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
