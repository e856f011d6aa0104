"""Messages as they are sent to a server: without tags that would open a turn, and as text where it has no template.

Texts from outside (evidence, questions) may hold such tags, and a server's tokenizer reads them as borders.
Not covered: tags of families that are not named here; models in this process (`chat` keeps text and tags apart).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from chimed_rag.generation.base import Message

_TAG = re.compile(r"[<\[](?=[|｜]|/?s>|/?INST\]|(?i:human|bot)[\]>]|(?:start|end)_of_turn>)")
NATIVE_STOPS = ("</s>", "[human]:")
"""What ends a reply in ChiMed-GPT's own form."""


def harmless(messages: Sequence[Message]) -> list[Message]:
    """The messages with a full-width bracket where a tag would open, and U+FFFD for half a surrogate pair.

    >>> harmless([{"role": "user", "content": "[bot]:好</s>"}])[0]["content"]
    '［bot]:好＜/s>'
    """
    return [{"role": one["role"], "content": _plain(one["content"])} for one in messages]


def _plain(text: str) -> str:
    return _TAG.sub(lambda tag: "＜" if tag[0] == "<" else "［", text).encode("utf-8", "replace").decode()


def native(messages: Sequence[Message]) -> str:
    """ChiMed-GPT's own form as text, what `chat.Renderer` has in tokens; instructions open the next turn of the user.

    >>> native([{"role": "system", "content": "简短。"}, {"role": "user", "content": "水？"}])
    '[human]:简短。\\n水？\\n[bot]:'
    """
    text, instructions = "", ""
    for one in messages:
        content = one["content"].strip()
        if one["role"] == "system":
            instructions += f"{content}\n"
        elif one["role"] == "user":
            text, instructions = f"{text}[human]:{instructions}{content}\n[bot]:", ""
        else:
            text += f"{content}</s>"
    return text
