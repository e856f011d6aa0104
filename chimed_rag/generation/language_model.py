"""What every language model of this room is: messages become text; and a question with evidence becomes a draft.

A model writes, a prompt (`prompts`) says what, `budget` what fits, `markers` reads the reply back into sentences.
Not covered: how the text comes about (`chimed_gpt`, `endpoint`), and whether it is true (`safety.citations`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from contextlib import closing
from functools import cached_property
from threading import Event
from typing import Literal, NamedTuple

from chimed_rag.config import Generation
from chimed_rag.errors import GeneratorError, InputError
from chimed_rag.generation.base import Message, TermWeight
from chimed_rag.generation.budget import fit
from chimed_rag.generation.markers import DraftReader
from chimed_rag.generation.prompts import Prompt, load_prompt
from chimed_rag.generation.wrappings import Until
from chimed_rag.records import Draft, DraftSentence, Evidence

Finish = Literal["stop", "length", "time", "cancelled"]
"""Why a reply ended: by itself, at its limit of tokens or of time, or because nobody wants it any more."""


class Completion(NamedTuple):
    """What a model wrote. Counts are in tokens, None where a server does not tell."""

    text: str
    finish: Finish = "stop"
    prompt_tokens: int | None = None
    new_tokens: int | None = None


class NoProbabilitiesError(GeneratorError):
    """This model does not tell how probable a reply is."""


Probabilities = dict[str, float] | GeneratorError
"""Option to the natural logarithm of its probability, of all that could be said; or why there are none."""


class LanguageModel(ABC):
    """A model that writes; one object may be used from many threads at once.

    Args:
        settings: how it writes unless a call says otherwise.
    """

    name: str
    """What `Answer.generator` says: the kind and the model, as "chimed-gpt:ChiMed-GPT-1.0"."""

    def __init__(self, settings: Generation | None = None) -> None:
        self.settings = settings or Generation()

    # -- messages to text -------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def context_tokens(self) -> int:
        """So many tokens prompt and reply may have together."""

    @abstractmethod
    def count_tokens(self, messages: Sequence[Message]) -> int:
        """The tokens of a prompt; never fewer than the model will read."""

    @abstractmethod
    def complete_many(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        settings: Generation | Sequence[Generation] | None = None,
        cancel: Event | None = None,
    ) -> list[Completion | GeneratorError]:
        """One completion for each conversation, in order; one that failed is its error, and the others stand.

        Args:
            conversations: each ends with the user's turn.
            settings: for all, or one for each, as where each draws by a seed of its own.
            cancel: stops all of them.
        """

    @abstractmethod
    def stream(
        self, messages: Sequence[Message], *, settings: Generation | None = None, cancel: Event | None = None
    ) -> Generator[str, None, Completion]:
        """The text in pieces, as it is written; the generator returns the whole.

        The pieces together are the text that `complete` gives. Closing the generator, or setting `cancel`, stops the
        model.

        Raises:
            GeneratorError: it could not begin, or failed on the way; the pieces before that were given.
        """

    def complete(
        self, messages: Sequence[Message], *, settings: Generation | None = None, cancel: Event | None = None
    ) -> Completion:
        """One completion.

        Raises:
            GeneratorError: the prompt does not fit, or the model failed.
        """
        [done] = self.complete_many([messages], settings=settings, cancel=cancel)
        if isinstance(done, GeneratorError):
            raise done
        return done

    def option_logprobs(
        self,
        conversations: Sequence[Sequence[Message]],
        options: Sequence[Sequence[str]],
        *,
        cancel: Event | None = None,
    ) -> list[Probabilities]:
        """How probable each option is as the beginning of the reply, for each conversation, in order.

        The probability is one of all that the model could write, so what the options leave of 1 is that of other
        replies. An option of several tokens has the product of theirs. One that is a single token counts with and
        without a blank before it, as readers of replies do: both probabilities are added.

        Args:
            conversations: each ends with the user's turn.
            options: for each conversation, texts that a reply may begin with, such as ("A", "B").
            cancel: stops all of them; those that are not done are errors.

        Returns:
            for each conversation a value in nats for each option, or an error: `NoProbabilitiesError` where the model
            does not tell. A server tells the most probable tokens alone; what is not among them is left out.
        """
        return [self._no_probabilities()] * len(conversations)

    def continuation_logprobs(
        self, texts: Sequence[str], options: Sequence[Sequence[str]], *, cancel: Event | None = None
    ) -> list[Probabilities]:
        """`option_logprobs` behind plain texts, without any chat template, as lm-evaluation-harness asks.

        Each option is exactly the tokens by which text and option together are longer than the text; blanks at the end
        of a text belong to the option. A single form counts, not both with a blank and without.
        """
        return [self._no_probabilities()] * len(texts)

    def _no_probabilities(self) -> NoProbabilitiesError:
        return NoProbabilitiesError(f"{self.name} gives no probabilities")

    def _each(self, settings: Generation | Sequence[Generation] | None, count: int) -> Sequence[Generation]:
        """The settings of each of so many conversations.

        Raises:
            InputError: they are not so many.
        """
        if settings is None or isinstance(settings, Generation):
            return [settings or self.settings] * count
        if len(settings) != count:
            raise InputError(f"there are {count} conversations, and settings for {len(settings)}")
        return settings

    def describe(self) -> dict[str, str]:
        """What a trace and an audit log need to know: the model with its revision or hash, and the prompt with its."""
        return {"model": self.name, "prompt": self.prompt.name, "prompt_sha256": self.prompt.sha256}

    def close(self) -> None:  # noqa: B027 - not every model holds something
        """Gives back what it holds (connections, memory); it is not used after that."""

    # -- evidence to drafts -----------------------------------------------------------------------------------------

    @cached_property
    def prompt(self) -> Prompt:
        """What it is told when it answers from evidence."""
        return load_prompt(self.settings.prompt)

    def generate(
        self,
        question: str,
        evidence: Sequence[Evidence],
        *,
        term_weight: TermWeight | None = None,
        cancel: Event | None = None,
    ) -> Draft:
        """The draft of an answer from the evidence that fits; without evidence, a draft without sentences.

        Raises:
            GeneratorError: the question alone does not fit, or the model failed.
        """
        [draft] = self.generate_many([(question, evidence)], cancel=cancel)
        if isinstance(draft, GeneratorError):
            raise draft
        return draft

    def generate_many(
        self, asked: Sequence[tuple[str, Sequence[Evidence]]], *, cancel: Event | None = None
    ) -> list[Draft | GeneratorError]:
        """`generate` for many questions in one batch; one that failed is its error, and the others stand."""
        done: list[Draft | GeneratorError] = [Draft(generator=self.name)] * len(asked)
        conversations: dict[int, list[Message]] = {}
        for place, (question, evidence) in enumerate(asked):
            if evidence:
                try:
                    conversations[place] = self._messages(question, evidence)
                except GeneratorError as error:
                    done[place] = error
        completions = self.complete_many(list(conversations.values()), cancel=cancel) if conversations else []
        for place, completion in zip(conversations, completions, strict=True):
            done[place] = self._draft(completion) if isinstance(completion, Completion) else completion
        return done

    def write(
        self, question: str, evidence: Sequence[Evidence], *, cancel: Event | None = None
    ) -> Generator[DraftSentence, None, Draft]:
        """The sentences of `generate`'s draft, each as soon as it and its marks are written; returns the draft.

        Raises:
            GeneratorError: as `stream`; the sentences before that were given.
        """
        reader, until, sentences = DraftReader(), Until(self.prompt.stop), []
        pieces = self.stream(self._messages(question, evidence), cancel=cancel) if evidence else _nothing()
        finish: Finish = "stop"
        with closing(pieces):
            while not until.is_over:
                try:
                    piece = next(pieces)
                except StopIteration as end:
                    finish = end.value.finish
                    break
                read = reader.feed(until.feed(piece))
                sentences += read
                yield from read
        rest = reader.feed(until.rest()) + reader.rest(is_whole=finish == "stop")
        yield from rest
        return Draft(generator=self.name, sentences=(*sentences, *rest), finish=finish)

    def _messages(self, question: str, evidence: Sequence[Evidence]) -> list[Message]:
        """What the model is told: instructions and question whole, of the evidence what fits beside a reply."""
        room = self.context_tokens - self._reply_tokens
        return fit(self.prompt, question, evidence, self.count_tokens, room).messages

    @property
    def _reply_tokens(self) -> int:
        """A small context leaves no more than a third of it for the reply."""
        return min(self.settings.max_new_tokens, self.context_tokens // 3)

    def _draft(self, completion: Completion) -> Draft:
        reader, until = DraftReader(), Until(self.prompt.stop)
        text = until.feed(completion.text) + until.rest()
        finish: Finish = "stop" if until.is_over else completion.finish
        sentences = reader.feed(text) + reader.rest(is_whole=finish == "stop")
        return Draft(generator=self.name, sentences=tuple(sentences), finish=finish)


def _nothing() -> Generator[str, None, Completion]:
    return Completion("")
    yield


def log_sum(logarithms: Sequence[float]) -> float:
    """The logarithm of a sum of probabilities, of their logarithms; none sum to 0, whose logarithm is -infinity.

    >>> round(log_sum([math.log(0.25), math.log(0.5)]), 6) == round(math.log(0.75), 6)
    True
    """
    highest = max(logarithms, default=-math.inf)
    if highest == -math.inf:
        return highest
    return highest + math.log(math.fsum(math.exp(one - highest) for one in logarithms))
