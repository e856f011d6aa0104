"""What a generator is: a question and numbered evidence become a draft; and what a message to a language model is.

Not covered: checking the draft (`safety.citations`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from typing_extensions import TypedDict, TypeIs  # pydantic needs TypedDict of this kind before Python 3.12

from chimed_rag.query.question import TermWeight
from chimed_rag.records import Draft, Evidence

if TYPE_CHECKING:
    from chimed_rag.generation.language_model import LanguageModel

__all__ = ["Generator", "Message", "TermWeight", "is_language_model"]


class Message(TypedDict):
    """One turn, in the form that OpenAI's protocol and the chat templates of transformers share."""

    role: Literal["system", "user", "assistant"]
    content: str


@runtime_checkable
class Generator(Protocol):
    """Writes the sentences of an answer and says which passage each rests on; nobody has checked them yet."""

    name: str

    def generate(self, question: str, evidence: Sequence[Evidence], *, term_weight: TermWeight | None = None) -> Draft:
        """The draft of an answer; without evidence, a draft without sentences.

        Args:
            question: as asked or rewritten.
            evidence: numbered passages, best first.
            term_weight: inverse document frequency of an index term in the whole index, for those who need it.
        """
        ...


def is_language_model(generator: object) -> TypeIs[LanguageModel]:
    """Whether a generator writes of its own; asked without importing what only those need."""
    module = sys.modules.get("chimed_rag.generation.language_model")  # whoever made one has imported it
    return module is not None and isinstance(generator, module.LanguageModel)
