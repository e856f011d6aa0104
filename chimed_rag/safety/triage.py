"""Red flags: does a question describe an emergency that cannot wait for an answer?

What is covered: the 25 emergencies of `red_flags.yaml`, by word patterns in simplified Chinese, colloquial and
clinical. A word counts only where it is alive: not negated (没有胸痛), not history (十年前中风过) and not a wish to
know (怎么预防中风); some rules also excuse what is long-standing (胸痛两年了) or under treatment in hospital. A sign of
urgency in the same clause (突然, 刚才, 现在, 又) brings it back to life, unless it is negated.
What is not covered: traditional characters, pinyin, typing errors and other languages; emergencies told in words
that no pattern knows; what earlier turns of a conversation said. Silence here never means that there is no emergency.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import resources
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from chimed_rag.errors import ConfigError
from chimed_rag.records import Notice
from chimed_rag.text import fold

Excuse = Literal["negation", "history", "care", "knowledge", "chronic"]

MAX_CHARACTERS = 4000
"""Of a longer question the first and the last half of this many characters are read, so that the time stays bounded."""

_SPACE = re.compile(r"[ \t\r\f\v\u00a0\u200b-\u200d\ufeff]+")
_CLAUSE = re.compile(r"[^,，。.！!？?；;：:~～…\n]+(?:(?<=\d)\.(?=\d)[^,，。.！!？?；;：:~～…\n]+)*")
_MENTION = re.compile(r"<(\w+)>")


class _Pattern(BaseModel):
    """Word groups that must all be alive, in one clause or anywhere; `unless` says that it is something else."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    groups: tuple[re.Pattern[str], ...]
    one_clause: bool = False
    unless: re.Pattern[str] | None = None


class RedFlag(BaseModel):
    """One emergency: how it is told, what to do now, and sentences that must and must not raise it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z_]+$")
    name: str
    what_to_do: str
    excuses: frozenset[Excuse] = frozenset({"negation", "history", "knowledge"})
    patterns: tuple[_Pattern, ...] = Field(min_length=1)
    triggers: tuple[str, ...] = Field(min_length=3)
    near_misses: tuple[str, ...] = Field(min_length=2)


class _Shared(BaseModel):
    """The expressions that excuse a finding, and those that bring it back."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    negated_before: re.Pattern[str]
    negated_after: re.Pattern[str]
    acute: re.Pattern[str]
    sudden: re.Pattern[str]
    history: re.Pattern[str]
    history_after: re.Pattern[str]
    dead: re.Pattern[str]
    care: re.Pattern[str]
    knowledge: re.Pattern[str]
    definition: re.Pattern[str]
    hypothetical_before: re.Pattern[str]
    chronic: re.Pattern[str]
    personal: re.Pattern[str]


class RedFlags(BaseModel):
    """A whole file of rules, compiled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shared: _Shared
    rules: tuple[RedFlag, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ids_differ(self) -> RedFlags:
        ids = [rule.id for rule in self.rules]
        if len(set(ids)) != len(ids):
            raise ValueError("two rules have the same id")
        return self


class _Reading:
    """A question, cut into clauses; answers whether a word group is alive in it."""

    def __init__(self, question: str, shared: _Shared) -> None:
        if len(question) > MAX_CHARACTERS:
            question = question[: MAX_CHARACTERS // 2] + "\n" + question[-MAX_CHARACTERS // 2 :]
        self.text = _SPACE.sub("", fold(question))
        self.clauses = _CLAUSE.findall(self.text)
        self._shared = shared
        nobody = not shared.acute.search(self.text) and not shared.personal.search(self.text)
        self._wants_to_know = nobody and bool(shared.knowledge.search(self.text) or shared.definition.search(self.text))
        self._in_care = bool(shared.care.search(self.text))
        self._long = bool(shared.chronic.search(self.text)) and not shared.sudden.search(self.text)

    def holds(self, pattern: _Pattern, excuses: frozenset[Excuse]) -> bool:
        """Whether every group is alive: anywhere in the question, or all in one clause."""
        if not all(group.search(self.text) for group in pattern.groups):
            return False
        if pattern.unless and pattern.unless.search(self.text):
            return False
        if pattern.one_clause:
            return any(
                all(self._alive_in(clause, group, excuses) for group in pattern.groups) for clause in self.clauses
            )
        return all(any(self._alive_in(clause, group, excuses) for clause in self.clauses) for group in pattern.groups)

    def _alive_in(self, clause: str, group: re.Pattern[str], excuses: frozenset[Excuse]) -> bool:
        return any(self._alive(clause, *found.span(), excuses) for found in group.finditer(clause))

    def _alive(self, clause: str, begin: int, end: int, excuses: frozenset[Excuse]) -> bool:
        shared = self._shared
        before, after = clause[:begin], clause[end:]
        if "negation" in excuses and (shared.negated_before.search(before) or shared.negated_after.match(after)):
            return False
        if "knowledge" in excuses:
            if self._wants_to_know or shared.hypothetical_before.search(before):
                return False
            if shared.knowledge.search(clause) and not shared.acute.search(clause):
                return False
        if "history" in excuses and shared.dead.search(clause):
            return False
        if shared.acute.search(clause):
            return True
        if "history" in excuses and (shared.history.search(clause) or shared.history_after.match(after)):
            return False
        if "care" in excuses and self._in_care:
            return False
        return not ("chronic" in excuses and self._long)


def read_red_flags(source: str) -> RedFlags:
    """Rules from the text of a YAML file in the form of `red_flags.yaml`.

    Raises:
        ConfigError: not YAML, an unknown or missing key, or an expression that does not compile.
    """
    try:
        raw = yaml.load(source, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe loaders
        words: dict[str, str] = {}
        for name, expression in raw["words"].items():
            words[name] = _spell_out(expression, words)
        shared = {name: re.compile(_spell_out(text, words)) for name, text in raw["shared"].items()}
        rules = [rule | {"patterns": [_pattern(p, words) for p in rule["patterns"]]} for rule in raw["rules"]]
        return RedFlags.model_validate({"shared": shared, "rules": rules})
    except (yaml.YAMLError, re.error, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(f"the red flags cannot be read: {error}") from error


def _spell_out(expression: str, words: dict[str, str]) -> str:
    return _MENTION.sub(lambda found: f"(?:{words[found[1]]})", expression)


def _pattern(raw: str | dict[str, Any], words: dict[str, str]) -> _Pattern:
    """A plain expression, or `clause: [...]` (all in one clause) or `all: [...]` (anywhere), with `unless: ...`."""
    entry: dict[str, Any] = {"clause": [raw]} if isinstance(raw, str) else dict(raw)
    unless = entry.pop("unless", None)
    ((scope, groups),) = entry.items()
    if scope not in ("clause", "all"):
        raise ConfigError(f"the red flags cannot be read: a pattern has 'clause' or 'all', not {scope!r}")
    return _Pattern(
        groups=tuple(re.compile(_spell_out(group, words)) for group in groups),
        one_clause=scope == "clause",
        unless=re.compile(_spell_out(unless, words)) if unless else None,
    )


@lru_cache(maxsize=1)
def _book() -> RedFlags:
    return read_red_flags(resources.files("chimed_rag.safety").joinpath("red_flags.yaml").read_text("utf-8"))


def red_flags() -> tuple[RedFlag, ...]:
    """The shipped rules, in the order in which their notices are given."""
    return _book().rules


def triage(question: str) -> list[Notice]:
    """One `emergency` notice for each red flag that the question raises, most urgent first; usually none."""
    book = _book()
    reading = _Reading(question, book.shared)
    return [
        Notice(kind="emergency", text=rule.what_to_do, rule=rule.id)
        for rule in book.rules
        if any(reading.holds(pattern, rule.excuses) for pattern in rule.patterns)
    ]
