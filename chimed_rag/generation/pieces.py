"""Tokens become text while they are written: never half a character, never a turn that the model plays for the reader.

The pieces together are what the tokenizer makes of all tokens at once, special ones skipped. One exception: where a
sentencepiece model ends within a character, the whole decoding takes back what was right before it; the pieces do not.
Decoding everything anew at each token was tried: 512 tokens cost 130,000 decoded ones; a window costs about 15 each.
Not covered: which tokens end a reply (`decoding`), sentences (`markers`).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from chimed_rag.generation.wrappings import Until

_HALF = "\ufffd"
_WINDOW = 24
"""So many tokens are decoded together before the window moves on; sentencepiece looks at what stands before."""


class Detokenizer:
    """One tokenizer's way back from tokens, for many threads.

    Args:
        tokenizer: of transformers; a copy is used, for a fast one fails if another thread changes how it makes tokens.
        end: text that ends a reply where the model writes it; "" for none.
    """

    def __init__(self, tokenizer: Any, end: str = "") -> None:
        self._tokenizer, self.end = copy.deepcopy(tokenizer), end
        # Only a token with the last character of `end` can complete it, so the others need no look.
        self._ending = {number for token, number in tokenizer.get_vocab().items() if end and end[-1] in token}

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some tokens, special ones skipped."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def ends(self, ids: Sequence[int]) -> bool:
        """Whether the last of these tokens completes `end`."""
        return bool(ids) and ids[-1] in self._ending and self.end in self.decode(ids[-len(self.end) :])

    def whole(self, ids: Sequence[int]) -> str:
        """The text of a reply, as its pieces together have it."""
        text = self.decode(ids)
        if _HALF in text:  # the rare case in which the pieces may differ from the whole
            pieces = Pieces(self)
            return "".join([*map(pieces.feed, ids), pieces.rest()])
        return text.partition(self.end)[0] if self.end else text


class Pieces:
    """The text of one reply, token by token."""

    def __init__(self, tokens: Detokenizer) -> None:
        self._tokens = tokens
        self._ids: list[int] = []  # the window: from here on tokens are decoded together
        self._whole = 0  # so many tokens of the window end with a whole character
        self._given = 0  # so many characters of the window's text were taken from it
        self._until = Until([tokens.end])

    def feed(self, token: int) -> str:
        """What can be given after this token; often nothing."""
        self._ids.append(token)
        text = self._tokens.decode(self._ids)
        is_whole = not text.endswith(_HALF)
        new = self._take(text if is_whole else text.rstrip(_HALF))
        if is_whole:
            if len(self._ids) >= _WINDOW and self._whole:
                self._ids = self._ids[self._whole :]
                self._given = len(self._tokens.decode(self._ids))
            self._whole = len(self._ids)
        return self._until.feed(new)

    def rest(self) -> str:
        """What was held back, when no more tokens come."""
        return self._until.feed(self._take(self._tokens.decode(self._ids))) + self._until.rest()

    def _take(self, text: str) -> str:
        new = text[self._given :]
        self._given = max(self._given, len(text))
        return new
