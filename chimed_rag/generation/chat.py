"""Messages become tokens: one renderer for serving, sampling, scoring and training.

"native" is ChiMed-GPT's own form, `[human]:question\\n[bot]:reply</s>`, turns one after the other, without <s>, as the
code it was trained with has it (IDEA-CCNL/Fengshenbang-LM, branch dev_bio); "template" is the tokenizer's own.
Not covered: what the messages say (`prompts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from chimed_rag.generation.base import Message

Style = Literal["native", "template"]


class Renderer:
    """Renders conversations for one tokenizer.

    Args:
        tokenizer: of transformers.
        style: None takes the chat template where there is one, and the native form otherwise.
    """

    def __init__(self, tokenizer: Any, style: Style | None = None) -> None:
        self.tokenizer = tokenizer
        self.style: Style = style or ("template" if tokenizer.chat_template else "native")
        self.stop_ids: tuple[int, ...] = (tokenizer.eos_token_id,)

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The tokens after which the model writes its reply."""
        if self.style == "template":
            ids: list[int] = self.tokenizer.apply_chat_template(
                list(messages), add_generation_prompt=True, tokenize=True, return_dict=False
            )
            return ids
        system = "".join(f"{one['content']}\n" for one in messages if one["role"] == "system")
        text = ""
        for one in messages:
            if one["role"] == "user":
                text, system = f"{text}[human]:{system}{one['content']}\n[bot]:", ""
            elif one["role"] == "assistant":
                text += f"{one['content']}{self.tokenizer.eos_token}"
        native: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return native
