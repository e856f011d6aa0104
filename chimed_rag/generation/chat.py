"""Messages become tokens: one renderer for serving, sampling, scoring and training.

"native" is ChiMed-GPT's own form, `[human]:question\\n[bot]:reply</s>`, turns one after the other. It follows the code
that the model was trained with (IDEA-CCNL/Fengshenbang-LM, finetune_ziya_with_hf.py at e62b6ee): each turn is stripped
and made tokens by itself, and no <s> stands at the start. The published snippet for inference lets the tokenizer put
one there; the model has not seen it so. "template" is the tokenizer's own chat template.

What messages say is not trusted: text in them that looks like a turn or a special token is written with a full-width
sign (［human]:, ＜/s>), and is no turn and no special token any more. (`sanitize_control_tokens` of transformers 5.23
does less: it knows no turns of plain text.)

Not covered: what the messages say (`prompts`); tools; tokenizers that fold full-width signs (NFKC).
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from threading import Lock
from typing import Any, Literal, NamedTuple

from chimed_rag.errors import GeneratorError, InputError
from chimed_rag.generation.base import Message

Style = Literal["native", "template"]
ROLES = ("system", "user", "assistant")
_PROBE = "§x§"
_NATIVE = ("[human]", "[Human]", "[HUMAN]", "[bot]", "[Bot]", "[BOT]", "<human>", "<bot>")
_BRACKETED = re.compile(r"<[^<>\s]+>|\[[^\[\]\s]+\]")
_BLANKS = "▁Ġ "
"""A blank at the beginning of a token, as vocabularies write it."""
_TURN_WORD = re.compile(r"\b[A-Z][A-Za-z]*:")
_log = logging.getLogger(__name__)


class Rendered(NamedTuple):
    """A conversation to learn from; `mask` is True for what the model writes: replies and their stop tokens."""

    ids: list[int]
    mask: list[bool]


class Renderer:
    """Renders conversations for one tokenizer; may be used from many threads at once, where a tokenizer may not.

    Args:
        tokenizer: of transformers.
        style: None takes the chat template where there is one, and the native form otherwise.
        stop_ids: further tokens that end a reply, as `eos_token_id` of a generation_config says them.

    Raises:
        GeneratorError: nothing would end a reply, or the chat template is missing or cannot be used.
    """

    def __init__(
        self, tokenizer: Any, style: Style | None = None, *, stop_ids: Sequence[int] | int | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.style: Style = style or ("template" if tokenizer.chat_template else "native")
        self._lock = Lock()
        self._ways: dict[str, tuple[tuple[int, ...], ...]] = {}
        self._name = str(getattr(tokenizer, "name_or_path", "")) or "this model"
        if self.style == "template" and not tokenizer.chat_template:
            raise GeneratorError(f"{self._name} has no chat template; use the native form")
        if style is None and self.style == "native" and not self._looks_native():
            _log.warning("%s has no chat template; it is asked in ChiMed-GPT's form, [human]: and [bot]:", self._name)
        said = [stop_ids] if isinstance(stop_ids, int) else list(stop_ids or ())
        own = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
        self.stop_ids: tuple[int, ...] = tuple(dict.fromkeys([*own, *self._stop_of_template(), *said]))
        """The tokens that end a reply, the tokenizer's own first."""
        if not self.stop_ids or (self.style == "native" and not own):
            raise GeneratorError(f"{self._name} has no token that ends a text (eos_token); its replies would never end")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of everything that decides how messages are rendered, but for the vocabulary."""
        form = self.tokenizer.chat_template if self.style == "template" else "[human]:{}\n[bot]:{}"
        return hashlib.sha256(json.dumps([self.style, form, self.stop_ids]).encode()).hexdigest()

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The tokens after which the model writes its reply; the last message is the user's.

        Raises:
            InputError: no conversation: empty, an unknown role, a wrong beginning or end, an empty question.
            GeneratorError: the chat template refuses it.
        """
        turns = self._turns(messages, last="user")
        if self.style == "native":
            return [token for turn in turns for token in self._native(turn)]
        return self._encode(self._text(turns, asks=True))

    def training(self, messages: Sequence[Message], *, last_only: bool = False) -> Rendered:
        """The tokens of a conversation, and which of them the model writes; the last message is the assistant's.

        It begins with the tokens of `prompt(messages[:-1])`.

        Args:
            messages: a conversation.
            last_only: learn from the last reply alone.

        Raises:
            InputError: as `prompt`.
            GeneratorError: as `prompt`; or the template writes former turns otherwise once others follow (Qwen3's
                leaves out their thoughts), so that what is learned would not be what is served.
        """
        turns = self._turns(messages, last="assistant")
        replies = [place for place, turn in enumerate(turns) if turn["role"] == "assistant"]
        if last_only:
            replies = replies[-1:]
        if self.style == "template":
            return self._template_training(turns, replies)
        pieces = [self._native(turn) for turn in turns]
        mask = [place in replies for place, piece in enumerate(pieces) for _ in piece]
        return Rendered([token for piece in pieces for token in piece], mask)

    def reply(self, text: str) -> list[int]:
        """The tokens of a reply as the model writes it, without those that end it.

        Raises:
            GeneratorError, InputError: as `training`.
        """
        one = self.training([_message("user", "x"), _message("assistant", text)])
        ids = [token for token, written in zip(one.ids, one.mask, strict=True) if written]
        while ids and ids[-1] in self.stop_ids:
            ids.pop()
        return ids

    def ways(self, text: str) -> tuple[tuple[int, ...], ...]:
        """The ways in which a model may write a reply: `reply`; a single token also with and without a blank before it.

        Vocabularies hold most letters twice, as "A" and "▁A" (SentencePiece) or "ĠA" (byte pairs), and a tokenizer
        gives one of them; which one a model writes behind its template depends on how it was trained.
        """
        if text not in self._ways:
            ids = tuple(self.reply(text))
            twins = self._twins(ids[0]) if len(ids) == 1 else []
            self._ways[text] = tuple(dict.fromkeys([ids, *((one,) for one in twins)]))
        return self._ways[text]

    def _twins(self, token: int) -> list[int]:
        """The tokens that differ from this one by a blank at the beginning alone, itself included."""
        with self._lock:
            bare = self.tokenizer.convert_ids_to_tokens(token).lstrip(_BLANKS)
            known: dict[str, int] = self.tokenizer.get_vocab()
        return [known[one] for one in (bare, *(blank + bare for blank in _BLANKS)) if bare and one in known]

    def plain(self, text: str) -> list[int]:
        """The tokens of a text that is no conversation; with the token that begins a text where the tokenizer puts it.

        Special tokens that the text spells out are read as plain signs.
        """
        ids, begin = self._encode(text, plain=True), self.tokenizer.bos_token_id
        return [int(begin), *ids] if self._begins else ids

    @cached_property
    def _begins(self) -> bool:
        """Whether the tokenizer by itself puts <s> before a text."""
        with self._lock:
            ids: list[int] = self.tokenizer("x")["input_ids"]
        return bool(ids) and ids[0] == self.tokenizer.bos_token_id

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, special ones left out."""
        with self._lock:
            text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text

    # -- both forms -------------------------------------------------------------------------------------------------

    def _turns(self, messages: Sequence[Message], last: Literal["user", "assistant"]) -> list[Message]:
        """User and assistant by turns, after one system turn at most; instructions elsewhere go to the next user."""
        turns: list[Message] = []
        instructions: list[str] = []
        for one in messages:
            role, text = one["role"], self._harmless(one["content"]).strip()
            if role not in ROLES:
                raise InputError(f"unknown role {role!r}; there are: {', '.join(ROLES)}")
            if role == "system" and (not self._has_system or (turns and turns[-1]["role"] != "system")):
                instructions.append(text)
                continue
            if role == "user":
                if not text:
                    raise InputError("a message of the user is empty")
                text, instructions = "\n".join([*instructions, text]), []
            if turns and turns[-1]["role"] == role:
                turns[-1] = {"role": role, "content": f"{turns[-1]['content']}\n{text}"}
            else:
                turns.append({"role": role, "content": text})
        spoken = [turn["role"] for turn in turns if turn["role"] != "system"]
        if not spoken or spoken[0] != "user":
            raise InputError("a conversation begins with a message of the user")
        if spoken[-1] != last or instructions:
            raise InputError(f"the last message has to be the {last}'s")
        return turns

    @cached_property
    def _markers(self) -> re.Pattern[str]:
        """Whatever in a text would be read as a turn or as a special token."""
        added = self.tokenizer.added_tokens_decoder.values()
        found = {one.content for one in added if one.special or _BRACKETED.fullmatch(one.content)}
        if self.style == "native":
            found.update(_NATIVE)
        else:  # the template's own words, from two exchanges without content
            exchange = [_message("user", _PROBE), _message("assistant", _PROBE)]
            form = self._text(exchange * 2, asks=False) + self._text(exchange[:1], asks=True)
            found.update(_BRACKETED.findall(form), _TURN_WORD.findall(form))
        longest_first = sorted((one for one in found if one.strip()), key=lambda one: (-len(one), one))
        return re.compile("|".join(map(re.escape, longest_first)))

    def _harmless(self, text: str) -> str:
        return self._markers.sub(lambda found: _widened(found[0]), text)

    def _encode(self, text: str, *, plain: bool = False) -> list[int]:
        with self._lock:  # a tokenizer keeps the options of a call in itself
            ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=plain)["input_ids"]
        return ids

    # -- the native form --------------------------------------------------------------------------------------------

    def _native(self, turn: Message) -> list[int]:
        if turn["role"] == "user":
            return self._encode(f"[human]:{turn['content']}\n[bot]:", plain=True)
        return [*self._encode(turn["content"], plain=True), self.stop_ids[0]]

    def _looks_native(self) -> bool:
        """By its name, or by the tokens that Ziya's vocabulary has for turns."""
        return bool(re.search("ziya|chimed", self._name, re.IGNORECASE)) or "<human>" in self.tokenizer.get_vocab()

    # -- chat templates ---------------------------------------------------------------------------------------------

    @cached_property
    def _has_system(self) -> bool:
        """Whether the form has a place for instructions; some templates refuse them, some leave them out unsaid."""
        if self.style == "native":
            return False
        try:
            return _PROBE in self._text([_message("system", _PROBE), _message("user", "x")], asks=True)
        except GeneratorError:
            return False

    def _stop_of_template(self) -> Iterable[int]:
        """The special token that the template writes behind a reply."""
        if self.style == "template":
            text = self._text([_message("user", "x"), _message("assistant", _PROBE)], asks=False)
            behind = self._encode(text.rpartition(_PROBE)[2])
            yield from [token for token in behind if token in self.tokenizer.added_tokens_decoder][:1]

    def _text(self, turns: Sequence[Message], *, asks: bool) -> str:
        try:
            text: str = self.tokenizer.apply_chat_template(
                list(turns), tokenize=False, add_generation_prompt=asks, enable_thinking=False
            )
        except Exception as error:  # a template raises whatever it likes
            raise GeneratorError(f"the chat template of {self._name} refuses this conversation: {error}") from error
        return text

    def _template_training(self, turns: Sequence[Message], replies: Sequence[int]) -> Rendered:
        """Each reply is what the text grows by between asking for it and having it.

        The `{% generation %}` blocks that some templates have are not asked: they would mark replies also where the
        template writes them otherwise than it serves them.
        """
        whole = self._encode(self._text(turns, asks=False))
        mask = [False] * len(whole)
        for place in replies:
            begin = self._encode(self._text(turns[:place], asks=True))
            end = self._encode(self._text(turns[: place + 1], asks=False))
            while end and end[-1] not in self.stop_ids:  # a line break after it is not written by the model
                end.pop()
            if len(end) <= len(begin) or end[: len(begin)] != begin or whole[: len(end)] != end:
                raise GeneratorError(
                    f"the chat template of {self._name} writes turn {place + 1} of {len(turns)} otherwise when it asks "
                    "for it, or once others follow; learn from the last reply alone (last_only), or change the template"
                )
            mask[len(begin) : len(end)] = [True] * (len(end) - len(begin))
        return Rendered(whole, mask)


def _message(role: Literal["system", "user", "assistant"], content: str) -> Message:
    return {"role": role, "content": content}


def _widened(marker: str) -> str:
    """The marker with its first ASCII sign at full width; with a blank after its first character if it has none."""
    for place, sign in enumerate(marker):
        if "!" <= sign <= "~" and not sign.isalnum():
            return f"{marker[:place]}{chr(ord(sign) + 0xFEE0)}{marker[place + 1 :]}"
    return f"{marker[0]} {marker[1:]}"
