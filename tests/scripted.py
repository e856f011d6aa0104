"""A language model that says what a test wrote down, in pieces, and fails or waits where the test wants it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from threading import Event

from chimed_rag.config import Generation
from chimed_rag.errors import GeneratorError
from chimed_rag.generation.base import Message
from chimed_rag.generation.language_model import Completion, LanguageModel

Script = Callable[[Sequence[Message]], Iterable[str | Exception]]


class ScriptedModel(LanguageModel):
    """Writes the pieces that `script` gives for a prompt; an exception among them is raised in its place."""

    name = "scripted"
    context_tokens = 4096

    def __init__(self, script: Script | str, settings: Generation | None = None) -> None:
        super().__init__(settings)
        self._script: Script = (lambda messages: [script]) if isinstance(script, str) else script
        self.prompts: list[list[Message]] = []
        self.closed = 0
        """How many streams ended, by themselves or because the reader left."""

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return sum(len(message["content"]) for message in messages)

    def stream(
        self, messages: Sequence[Message], *, settings: Generation | None = None, cancel: Event | None = None
    ) -> Generator[str, None, Completion]:
        self.prompts.append(list(messages))
        written = ""
        try:
            for piece in self._script(messages):
                if cancel is not None and cancel.is_set():
                    return Completion(written, "cancelled")
                if isinstance(piece, Exception):
                    raise piece
                written += piece
                yield piece
        finally:
            self.closed += 1
        return Completion(written)

    def complete_many(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        settings: Generation | None = None,
        cancel: Event | None = None,
    ) -> list[Completion | GeneratorError]:
        return [self._whole(one, cancel) for one in conversations]

    def _whole(self, messages: Sequence[Message], cancel: Event | None) -> Completion | GeneratorError:
        pieces = self.stream(messages, cancel=cancel)
        try:
            while True:
                next(pieces)
        except StopIteration as end:
            done: Completion = end.value
            return done
        except GeneratorError as error:
            return error
