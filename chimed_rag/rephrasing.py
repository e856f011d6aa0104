"""A language model puts a follow-up so that it stands alone; what it wrote is checked by rule before it is used.

What is checked: one line of at most 200 characters; no drug, disease, test, number or pseudonym that was not said
before; none lost that the follow-up itself says. What is not checked: negation, and whether the model understood; where
the rule of `condensing` finds a question whole, no model is asked at all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chimed_rag.condensing import Condensed, condense, topics
from chimed_rag.entities.mentions import mentions
from chimed_rag.errors import GeneratorError
from chimed_rag.query.followup import groups
from chimed_rag.text import fold

if TYPE_CHECKING:
    from chimed_rag.generation.language_model import LanguageModel

LONGEST = 200
NEW_TOKENS = 160
ANSWER = 200
"""Of an earlier answer the model reads so many characters."""
_NUMBER = re.compile(r"\d+(?:\.\d+)?|[一二两三四五六七八九十百半]{1,4}(?=[岁天次片粒周月年毫克小时])|〔[^〔〕]{1,12}〕")
_PLAIN = frozenset({"part", "act"})


def rephrased(
    question: str, history: Sequence[str], answers: Sequence[str], model: LanguageModel
) -> tuple[Condensed, str]:
    """The question standing alone, and how it came about: "rule", "model", or why the rule stands in for the model."""
    by_rule = condense(question, history, answers)
    if not history or (by_rule.kind == "stands_alone" and topics(question)):
        return by_rule, "rule"
    try:
        written = _written(question, history, answers, model)
    except GeneratorError as error:
        return by_rule, f"rule: the model failed ({error})"
    if wrong := fault(written, question, (*history, *answers)):
        return by_rule, f"rule: {wrong}"
    if written == question:
        return Condensed(question), "model"
    return Condensed(written, "rewritten", ("question: by the model",)), "model"


def _written(question: str, history: Sequence[str], answers: Sequence[str], model: LanguageModel) -> str:
    """What the model makes of it, told of as many of the newest turns as fit a third of its context."""
    from chimed_rag.generation.prompts import load_prompt

    prompt = load_prompt("condense")
    lines = [
        f"问：{_line(asked)}" + (f" 答：{_line(answer)[:ANSWER]}" if answer else "")
        for asked, answer in zip(history, (*[""] * (len(history) - len(answers)), *answers), strict=True)
    ]
    while True:
        messages = prompt.messages(history="\n".join(lines), question=_line(question))
        if not lines or model.count_tokens(messages) <= model.context_tokens // 3:
            break
        lines.pop(0)
    settings = model.settings.model_copy(update={"max_new_tokens": NEW_TOKENS, "temperature": 0.0})
    return model.complete(messages, settings=settings).text.strip()


def _line(text: str) -> str:
    return " ".join(text.split())


def fault(written: str, question: str, said: Sequence[str]) -> str:
    """Why what a model wrote is not used; empty if it may be."""
    if not written:
        return "the model wrote nothing"
    if "\n" in written or len(written) > LONGEST:
        return f"the model wrote more than one line of {LONGEST} characters"
    known = "\n".join((*said, question))
    if new := _names(written) - _names(known):
        return f"the model brought in {sorted(new)[0]}"
    if new := _numbers(written) - _numbers(known):
        return f"the model brought in {sorted(new)[0]}"
    lost = (_names(question) - _names(written)) | (_numbers(question) - _numbers(written))
    lost |= {one for one in (question[start:end] for start, end in groups(question)) if one not in written}
    return f"the model left out {sorted(lost)[0]}" if lost else ""


def _names(text: str) -> set[str]:
    return {one.canonical for one in mentions(text) if one.kind not in _PLAIN}


def _numbers(text: str) -> set[str]:
    return set(_NUMBER.findall(fold(text)))
