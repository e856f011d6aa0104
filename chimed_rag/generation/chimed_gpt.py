"""ChiMed-GPT, or any causal language model of transformers, in this process: a folder or a hub name becomes replies.

Whatever many threads ask at once is written together (`batching`); a reply is streamed, cancelled and timed by the
same look at each token (`decoding`). Greedy text is that of transformers' own `generate`, alone or in a batch (exactly
in float32 on a CPU; in bfloat16 a near tie may fall otherwise in a batch of another size).
Not covered: several GPUs, and a cache in pages that lets a question into a running batch at no cost (serve by vLLM for
both, see `endpoint`).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from chimed_rag.config import Generation
from chimed_rag.errors import GeneratorError
from chimed_rag.generation.base import Message
from chimed_rag.generation.batching import Batcher
from chimed_rag.generation.chat import Renderer, Style
from chimed_rag.generation.decoding import TransformersDecoder
from chimed_rag.generation.language_model import Completion, LanguageModel, Probabilities
from chimed_rag.generation.likelihood import Likelihood, Question, of_reply, of_text
from chimed_rag.generation.memory import Quantization
from chimed_rag.generation.pieces import Detokenizer, Pieces
from chimed_rag.generation.request import Request
from chimed_rag.generation.weights import Loaded, load

MOST_CONTEXT = 4096
"""What a model with a longer context gets, unless the settings ask for more: memory grows with it."""
_NEXT_TURN = "[human]:"
"""A native model that goes on to play the reader has said what it had to say."""


class ChiMedGPT(LanguageModel):
    """A causal language model of transformers; one object serves many threads.

    Args:
        model: its folder, or its name on the hub ("owner/name" or "owner/name@revision").
        settings: how it writes unless a call says otherwise.
        style: how messages are rendered; None takes the model's chat template, or ChiMed-GPT's own form without one.
        device: "cpu", "cuda", "cuda:1"; None takes a GPU if there is one.
        dtype: "bfloat16", "float16" or "float32"; None takes bfloat16 on a GPU and float32 on a CPU.
        quantization: "8bit" or "4bit", by bitsandbytes, on a GPU.
        max_batch: so many replies are written together at most; memory may allow fewer.
        local_files_only: do not ask the hub, use what was downloaded before.
        static: keep keys and values in one block, so that steps can be compiled; None does so on a GPU.

    Raises:
        GeneratorError: the model cannot be loaded; says why and what to do.
        MissingExtraError: torch or transformers is not installed.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        settings: Generation | None = None,
        style: Style | None = None,
        device: str | None = None,
        dtype: str | None = None,
        quantization: Quantization | None = None,
        max_batch: int = 32,
        local_files_only: bool = False,
        static: bool | None = None,
    ) -> None:
        super().__init__(settings)
        loaded = load(
            model,
            device=device,
            dtype=dtype,
            quantization=quantization,
            context=self.settings.context_tokens,
            local_files_only=local_files_only,
        )
        self._take(loaded, style, max_batch, static)

    @classmethod
    def from_parts(
        cls,
        model: Any,
        tokenizer: Any,
        *,
        name: str,
        settings: Generation | None = None,
        style: Style | None = None,
        max_batch: int = 32,
        static: bool | None = None,
    ) -> ChiMedGPT:
        """Of a model and a tokenizer that are in memory; the model's `generation_config` is replaced.

        Args:
            model: of transformers, on its device.
            tokenizer: its tokenizer.
            name: what to call it; `ChiMedGPT.name` puts "chimed-gpt:" before it.
            settings: as for the class.
            style: as for the class.
            max_batch: as for the class.
            static: as for the class.
        """
        made = cls.__new__(cls)
        LanguageModel.__init__(made, settings)
        facts = {"dtype": str(model.dtype).removeprefix("torch."), "device": str(model.device)}
        made._take(Loaded(model.eval(), tokenizer, name, facts), style, max_batch, static)
        return made

    def _take(self, loaded: Loaded, style: Style | None, max_batch: int, static: bool | None) -> None:
        from transformers import GenerationConfig

        model, tokenizer = loaded.model, loaded.tokenizer
        self.name = f"chimed-gpt:{loaded.name}"
        self._facts, self._config = loaded.facts, model.config.get_text_config()
        self._vocabulary = int(model.get_input_embeddings().num_embeddings)
        self._renderer = Renderer(tokenizer, style, stop_ids=model.generation_config.eos_token_id)
        self._text = Detokenizer(tokenizer, _NEXT_TURN if self._renderer.style == "native" else "")
        self._stops = stops = self._renderer.stop_ids
        pad = stops[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        # What it recommends (temperature, penalties) is not asked for: `Generation` says how to write, and it alone.
        model.generation_config = GenerationConfig(eos_token_id=list(stops), pad_token_id=pad)
        decoder = TransformersDecoder(
            model,
            stop_ids=stops,
            pad_id=pad,
            ends=self._text.ends,
            static=model.device.type == "cuda" if static is None else static,
        )
        most = decoder.most_tokens(max_batch * self.context_tokens)
        self._batcher = Batcher(decoder, max_batch, most)
        self._likelihood = Likelihood(model, pad_id=pad, most_rows=max_batch, most_tokens=most)
        # The thread knows the batcher, not this object: when this is forgotten, the thread ends and the memory is free.
        # At the end of the process too: a thread that wakes while Python is taken down would abort it.
        weakref.finalize(self, _end, self._batcher)

    # -- what it is -------------------------------------------------------------------------------------------------

    @property
    def context_tokens(self) -> int:
        """What the settings ask, or `MOST_CONTEXT`; never more than the model was made for."""
        most = getattr(self._config, "max_position_embeddings", None) or MOST_CONTEXT
        return min(self.settings.context_tokens or MOST_CONTEXT, most)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """The tokens of a prompt, exactly."""
        return len(self._render(messages))

    def describe(self) -> dict[str, str]:
        """Model, prompt, commit or hash (of config.json and the index of the weights), dtype and device."""
        return super().describe() | self._facts

    def close(self) -> None:
        """Ends what is being written (cancelled) and what waits (an error); then the thread ends."""
        _end(self._batcher)

    # -- writing ----------------------------------------------------------------------------------------------------

    def complete_many(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        settings: Generation | Sequence[Generation] | None = None,
        cancel: Event | None = None,
    ) -> list[Completion | GeneratorError]:
        """One completion for each conversation, in order; one that failed is its error, and the others stand."""
        asked: list[Request | GeneratorError] = []
        for messages, how in zip(conversations, self._each(settings, len(conversations)), strict=True):
            try:
                asked.append(self._request(messages, how, cancel, listens=False))
            except GeneratorError as error:
                asked.append(error)
        requests = [one for one in asked if isinstance(one, Request)]
        try:
            # Rows of like length share a batch: less padding. The longest first: want of memory shows at once.
            self._batcher.submit(sorted(requests, key=lambda request: -request.size))
            for request in requests:
                request.done.wait()
        finally:
            for request in requests:  # an interrupted caller wants none of them
                request.abandon()
        return [self._completion(one) if isinstance(one, Request) else one for one in asked]

    def stream(
        self, messages: Sequence[Message], *, settings: Generation | None = None, cancel: Event | None = None
    ) -> Generator[str, None, Completion]:
        """The text in pieces, as it is written; the generator returns the whole.

        Raises:
            GeneratorError: the prompt does not fit, or the model failed.
        """
        request = self._request(messages, settings, cancel, listens=True)
        assert request.heard is not None
        pieces, given = Pieces(self._text), []
        try:
            self._batcher.submit([request])
            while (tokens := request.heard.get()) is not None:
                if piece := "".join(map(pieces.feed, tokens)):
                    given.append(piece)
                    yield piece
            if request.error is not None:
                raise request.error
            if piece := pieces.rest():
                given.append(piece)
                yield piece
        finally:
            request.abandon()
        assert request.finish is not None
        return Completion("".join(given), request.finish, len(request.prompt), len(request.ids))

    # -- telling how probable a reply is ----------------------------------------------------------------------------

    def option_logprobs(
        self,
        conversations: Sequence[Sequence[Message]],
        options: Sequence[Sequence[str]],
        *,
        cancel: Event | None = None,
    ) -> list[Probabilities]:
        """As every language model; an option's tokens are those that the tokenizer gives a reply (`Renderer.ways`)."""
        pairs = zip(conversations, options, strict=True)
        return self._likely([partial(of_reply, self._renderer, _clean(one), each) for one, each in pairs], cancel)

    def continuation_logprobs(
        self, texts: Sequence[str], options: Sequence[Sequence[str]], *, cancel: Event | None = None
    ) -> list[Probabilities]:
        """As every language model; a text begins with <s> where the tokenizer puts it there (`Renderer.plain`)."""
        pairs = zip(texts, options, strict=True)
        return self._likely([partial(of_text, self._renderer, one, each) for one, each in pairs], cancel)

    def _likely(self, makers: Sequence[Callable[[], Question]], cancel: Event | None) -> list[Probabilities]:
        """What the model says to each question; one that cannot be made is its error."""
        errors: dict[int, GeneratorError] = {}
        asked: dict[int, Question] = {}
        for place, make in enumerate(makers):
            try:
                asked[place] = question = make()
                self._fitting(question.prompt, question.size)
            except GeneratorError as error:
                errors[place] = error
                asked.pop(place, None)
        told = zip(asked, self._likelihood.ask(list(asked.values()), cancel), strict=True)
        done: dict[int, Probabilities] = {**errors, **dict(told)}
        return [done[place] for place in range(len(makers))]

    def _render(self, messages: Sequence[Message]) -> list[int]:
        return self._renderer.prompt(_clean(messages))

    def _request(
        self, messages: Sequence[Message], settings: Generation | None, cancel: Event | None, *, listens: bool
    ) -> Request:
        settings, prompt = settings or self.settings, self._render(messages)
        self._fitting(prompt, len(prompt) + 1)
        room = self.context_tokens - len(prompt)
        return Request(prompt, settings, min(settings.max_new_tokens, room), cancel=cancel, listens=listens)

    def _fitting(self, prompt: Sequence[int], size: int) -> None:
        """Refuses a prompt that the model cannot read; with the least of a reply it has so many tokens."""
        if size > self.context_tokens:
            raise GeneratorError(
                f"the prompt has {len(prompt):,} tokens; the context of {self.context_tokens:,} leaves none for a reply"
            )
        if (highest := max(prompt)) >= self._vocabulary:
            raise GeneratorError(
                f"the tokenizer of {self.name} gave token {highest:,}, and its weights know {self._vocabulary:,}: they "
                "do not belong together; copy the model again from where it came from"
            )

    def _completion(self, request: Request) -> Completion | GeneratorError:
        if request.error is not None:
            return request.error
        assert request.finish is not None
        ids = request.ids[:-1] if request.ids and request.ids[-1] in self._stops else request.ids
        return Completion(self._text.whole(ids), request.finish, len(request.prompt), len(request.ids))


def _clean(messages: Sequence[Message]) -> list[Message]:
    from chimed_rag.encoders.base import well_formed

    return [{**one, "content": well_formed([one["content"]])[0]} for one in messages]


def _end(batcher: Batcher) -> None:
    batcher.close()
    batcher.join(10)
