"""Red flags: does a question describe an emergency that cannot wait for an answer?

What is covered: the emergencies of `red_flags/*.yaml`, by word patterns in simplified Chinese, colloquial and
clinical. A word counts only where it is alive: not negated (没有胸痛), not history (十年前中风过) and not a wish to
know (怎么预防中风); some rules also excuse what is long-standing (胸痛两年了) or under treatment in hospital. A sign of
urgency in the same clause (突然, 刚才, 现在, 又) brings it back to life, unless it is negated.
A fixed sum of weights (`red_flags_score`) says how urgent the whole sounds. Where it sounds calm, most rules stay
silent (`CALM`); where no rule is raised but it sounds alarming, a general one is (`red_flags/90_danger.yaml`), whose
notice names no illness.
Tried and left: signs that may lie anywhere in a long story (twice the false alarms; now within eight clauses), and
habit words anywhere in a clause (经常 … excused a child with blue lips; now they stand just before the word).
What is not covered: traditional characters, pinyin, typing errors and other languages; emergencies told in words
that no pattern knows; what earlier turns of a conversation said. Silence here never means that there is no emergency.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from importlib import resources
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chimed_rag.errors import ConfigError
from chimed_rag.packaged import parsed
from chimed_rag.records import Notice
from chimed_rag.safety.expressions import Needles, alternatives, needles, pieces, required, spell_out
from chimed_rag.safety.red_flags_score import is_alarming, score
from chimed_rag.text import fold

Excuse = Literal["negation", "history", "care", "knowledge", "chronic"]

MAX_CHARACTERS = 4000
"""Of a longer question the first and the last half of this many characters are read, so that the time stays bounded."""

CALM = -4.0
"""Below this score a question raises no rule that excuses history. Of 918 real questions with the words of a rule,
judged by their text alone and scored by weights that had not seen them, .91 of 149 emergencies stay, .71 of 269 that
should be seen soon, .47 of 500 that are neither (`tools.red_flags_weights`). Higher up more written emergencies would
be raised at the same rate of alarms, and fewer real ones: at -3, .79 of these."""

_LONG = 300
"""Characters above which a question is weighed sentence by sentence before it counts as calm; few are longer."""
_REACH = 48
"""How many characters before a word may deny it; the expressions of `shared` reach no further."""
_NEAR = 8
"""Within how many clauses in a row the groups of a pattern must lie; what is further apart seldom is one story."""
_SPACE = re.compile(r"[ \t\r\f\v\u00a0\u200b-\u200d\ufeff]+")
_CLAUSE = re.compile(r"[^,，。.！!？?；;：:~～…\n]+(?:(?<=\d)\.(?=\d)[^,，。.！!？?；;：:~～…\n]+)*")
_SENTENCE = re.compile(r"[^。！!？?\n]+")
_SHARED = {
    *("negated_before", "negated_after", "acute", "sudden", "history", "history_after", "dead", "care", "knowledge"),
    *("definition", "lecture", "hypothetical_before", "chronic", "habit", "personal"),
}


class RedFlag(BaseModel):
    """One emergency: how it is told, what to do now, and sentences that must and must not raise it.

    A `general` rule is asked last, only where nothing else is raised and the question sounds alarming.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z_]+$")
    name: str
    what_to_do: str
    excuses: frozenset[Excuse] = frozenset({"negation", "history", "knowledge"})
    general: bool = False
    triggers: tuple[str, ...] = Field(min_length=4)
    near_misses: tuple[str, ...] = Field(min_length=3)


class _Expression:
    """A regular expression, compiled when it is needed."""

    def __init__(self, source: str) -> None:
        self.source = source

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        return re.compile(self.source)


class _Alternative(_Expression):
    """One of the alternatives of a group."""

    @cached_property
    def required(self) -> list[frozenset[str]]:
        """Of each of these every match has a character; finding them takes a tenth of compiling."""
        return required(self.source)

    def may_match(self, clause: _Clause) -> bool:
        """Whether a text has what every match contains."""
        for chars in self.required:  # noqa: SIM110 - a generator takes twice as long
            if chars.isdisjoint(clause.pieces):
                return False
        return True


class _Group(_Expression):
    """An expression taken apart: of its alternatives only those are compiled that a text may have, since long ones take
    many milliseconds and a question needs little of them."""

    def __init__(self, source: str, found: Needles, apart: Callable[[], Sequence[_Alternative]]) -> None:
        super().__init__(source)
        self.needles = found
        self._apart = apart

    @cached_property
    def alternatives(self) -> Sequence[_Alternative]:
        """All of them, in order; the group alone where a match may be empty, for all one knows."""
        return [_Alternative(self.source)] if self.needles is None else self._apart()

    def commonness(self) -> tuple[int, int]:
        """Low for what seldom occurs, which is better looked for first."""
        return (-min(map(len, self.needles)), len(self.needles)) if self.needles else (0, 0)

    def may_match(self, clause: _Clause) -> bool:
        """Whether a text has what every match contains; nothing is compiled."""
        return self.needles is None or not self.needles.isdisjoint(clause.pieces)

    def stands_in(self, clause: _Clause) -> bool:
        """Whether the expression matches anywhere."""
        return any(one.compiled.search(clause.text) for one in self._likely(clause))

    def spans(self, clause: _Clause) -> Iterator[tuple[int, int]]:
        """Where the expression matches in a clause, as `finditer` finds it: the first place counts, there the first of
        the alternatives, and the next match begins where that one ends."""
        likely = self._likely(clause)
        if len(likely) == 1:
            yield from (found.span() for found in likely[0].compiled.finditer(clause.text))
            return
        end = 0
        while found := [match for one in likely if (match := one.compiled.search(clause.text, end))]:
            first = min(found, key=re.Match.start)
            yield first.span()
            end = first.end()

    @cached_property
    def _with(self) -> dict[str, list[int]]:
        """The numbers of the alternatives by the rarest characters that they require; "" for those without."""
        found: dict[str, list[int]] = defaultdict(list)
        for number, one in enumerate(self.alternatives):
            for char in min(one.required, key=len, default=("",)):
                found[char].append(number)
        return found

    def _likely(self, clause: _Clause) -> list[_Alternative]:
        """The alternatives that may match, in order."""
        chars = (*(self._with.keys() & clause.pieces), "")
        numbers = {number for char in chars for number in self._with.get(char, ())}
        return [one for number in sorted(numbers) if (one := self.alternatives[number]).may_match(clause)]


class _Pattern:
    """Groups that must all be alive, in one clause or anywhere; `unless` says that it is something else."""

    def __init__(self, groups: Iterable[_Group], one_clause: bool, unless: _Group | None) -> None:
        self.groups = sorted(groups, key=_Group.commonness)
        self.distinct = frozenset(self.groups)
        self.one_clause = one_clause
        self.unless = unless


class RedFlags:
    """All rules: read once, compiled as they are needed."""

    def __init__(self, sources: Iterable[str], known: Mapping[str, Needles] | None = None) -> None:
        self._known = known or {}
        files = [parsed(text) for text in sources]
        self._words: dict[str, str] = {}
        self._needles: dict[str, Needles] = {}
        self.groups: dict[str, _Group] = {}
        self._short: dict[str, str] = {}
        self._apart: dict[str, list[_Alternative]] = {}
        for name, expression in (item for file in files for item in file.get("words", {}).items()):
            if name in self._words:
                raise ValueError(f"the word '{name}' is defined twice")
            self._short[f"<{name}>"] = expression
            self._words[name] = spell_out(expression, self._words)
            self._needles[name] = self._found(expression, self._words[name])
        shared = {name: self._group(text) for file in files for name, text in file.get("shared", {}).items()}
        if set(shared) != _SHARED:
            raise ValueError(f"'shared' has to define exactly: {', '.join(sorted(_SHARED))}")
        self.shared = shared
        rules = [rule for file in files for rule in file.get("rules", ())]
        self._patterns = [[self._pattern(raw) for raw in rule.pop("patterns")] for rule in rules]
        self.rules = tuple(RedFlag.model_validate(rule) for rule in rules)
        if not self.rules or not all(self._patterns):
            raise ValueError("there is no rule, or a rule without a pattern")
        if len({rule.id for rule in self.rules}) != len(self.rules):
            raise ValueError("two rules have the same id")
        self._by_needle: dict[str, list[_Group]] = defaultdict(list)
        self._unknown = [group for group in self.groups.values() if group.needles is None]
        for group in self.groups.values():
            for needle in group.needles or ():
                self._by_needle[needle].append(group)

    def raised(self, question: str, *, quick: bool = True) -> list[RedFlag]:
        """The rules that a question raises, in their order.

        Args:
            question: as it was typed; of a long one, beginning and end are read (`MAX_CHARACTERS`).
            quick: leave out, before anything is matched, what cannot match; the result is the same.
        """
        reading = _Reading(question, self.shared)
        found = list(self._matching(reading, quick=quick, general=False, spare=quick))
        if not quick:
            found = [rule for rule in found if not ("history" in rule.excuses and reading.sounds_calm)]
        if found or not is_alarming(reading.score):
            return found
        return list(self._matching(reading, quick=quick, general=True))

    def particular(self, question: str) -> list[RedFlag]:
        """The rules whose words stand in a question, general ones aside, however calm it sounds."""
        return list(self._matching(_Reading(question, self.shared), quick=True, general=False))

    def _matching(self, reading: _Reading, *, quick: bool, general: bool, spare: bool = False) -> Iterator[RedFlag]:
        """The rules whose words are alive; if `spare`, without those that excuse history where it sounds calm."""
        possible = set(self._unknown if quick else self.groups.values())
        for piece in reading.pieces if quick else ():
            possible.update(self._by_needle.get(piece, ()))
        for rule, patterns in zip(self.rules, self._patterns, strict=True):
            if rule.general != general:
                continue
            likely = [pattern for pattern in patterns if pattern.distinct <= possible]
            if quick:
                likely = [pattern for pattern in likely if reading.may_hold(pattern)]
            if not likely or (spare and "history" in rule.excuses and reading.sounds_calm):
                continue
            if any(reading.holds(pattern, rule.excuses) for pattern in likely):
                yield rule

    def expressions(self) -> list[str]:
        """Every expression as `re` takes it; they are otherwise compiled only when they are needed."""
        return list(self.groups)

    def _group(self, expression: str) -> _Group:
        source = spell_out(expression, self._words)
        if source not in self.groups:
            found = self._found(expression, source)
            self.groups[source] = _Group(source, found, lambda: self._alternatives(expression))
        return self.groups[source]

    def _alternatives(self, expression: str) -> list[_Alternative]:
        """The alternatives of an expression, and those of words that are alternatives; groups share them."""
        if expression not in self._apart:
            parts = alternatives(expression)
            if parts == [expression] and expression not in self._short:
                self._apart[expression] = [_Alternative(spell_out(expression, self._words))]
            else:
                words = [self._alternatives(self._short.get(part, part)) for part in parts]
                self._apart[expression] = [one for word in words for one in word]
        return self._apart[expression]

    def _found(self, expression: str, source: str) -> Needles:
        key = digest(source)
        return self._known[key] if key in self._known else needles(expression, self._needles)

    def needles(self) -> dict[str, Needles]:
        """The needles of all expressions, by `digest`: what `red_flags/needles.json` holds, since they take long."""
        groups = {digest(source): group.needles for source, group in self.groups.items()}
        return groups | {digest(source): self._needles[name] for name, source in self._words.items()}

    def _pattern(self, raw: str | dict[str, Any]) -> _Pattern:
        """A plain expression, or `clause: [...]` (all in one clause) or `all: [...]` (anywhere), with `unless: ...`."""
        entry: dict[str, Any] = {"clause": [raw]} if isinstance(raw, str) else dict(raw)
        unless = entry.pop("unless", None)
        ((scope, groups),) = entry.items()
        if scope not in ("clause", "all"):
            raise ValueError(f"a pattern has 'clause' or 'all', not {scope!r}")
        return _Pattern(map(self._group, groups), scope == "clause", self._group(unless) if unless else None)


class _Clause:
    """A stretch between two punctuation marks, and what in it may excuse a word."""

    def __init__(self, text: str, shared: dict[str, _Group]) -> None:
        self.text = text
        self.pieces = pieces(text)
        self._shared = shared
        self._known: dict[str, bool] = {}

    def tells(self, name: str) -> bool:
        if name not in self._known:
            self._known[name] = self._shared[name].stands_in(self)
        return self._known[name]


class _Reading:
    """A question, cut into clauses; answers in which of them a word group is alive."""

    def __init__(self, question: str, shared: dict[str, _Group]) -> None:
        if len(question) > MAX_CHARACTERS:
            question = question[: MAX_CHARACTERS // 2] + "\n" + question[-MAX_CHARACTERS // 2 :]
        self.text = _SPACE.sub("", fold(question))
        self._shared = shared
        self._clauses = [_Clause(clause, shared) for clause in _CLAUSE.findall(self.text)]
        self._whole = _Clause(self.text, shared)
        self.pieces = self._whole.pieces
        self._alive_in: dict[tuple[_Group, frozenset[Excuse]], frozenset[int]] = {}
        self._likely_in: dict[_Group, frozenset[int]] = {}

    @cached_property
    def score(self) -> float:
        """How much it sounds like an emergency (`red_flags_score`)."""
        return score(self.text)

    @cached_property
    def sounds_calm(self) -> bool:
        """Whether it, or each sentence of a long one, stays below `CALM`: much talk does not hide an emergency."""
        if len(self.text) <= _LONG:
            return self.score < CALM
        return all(score(part) < CALM for part in _SENTENCE.findall(self.text))

    @cached_property
    def _wants_to_know(self) -> bool:
        tells = self._whole.tells
        if tells("personal"):
            return False
        return tells("lecture") or (not tells("acute") and (tells("knowledge") or tells("definition")))

    def holds(self, pattern: _Pattern, excuses: frozenset[Excuse]) -> bool:
        """Whether every group is alive: all in one clause, or in clauses that are near each other."""
        alive = []
        for group in pattern.groups:
            alive.append(self._alive(group, excuses))
            if not alive[-1]:
                return False
        unless = pattern.unless
        return _together(pattern, alive) and not (
            unless and unless.may_match(self._whole) and unless.stands_in(self._whole)
        )

    def may_hold(self, pattern: _Pattern) -> bool:
        """Whether the needles of every group lie as near each other as the groups must; nothing is compiled."""
        return _together(pattern, [self._likely(group) for group in pattern.groups])

    def _likely(self, group: _Group) -> frozenset[int]:
        """The numbers of the clauses that have a needle of a group."""
        if group not in self._likely_in:
            self._likely_in[group] = frozenset(
                number for number, clause in enumerate(self._clauses) if group.may_match(clause)
            )
        return self._likely_in[group]

    def _alive(self, group: _Group, excuses: frozenset[Excuse]) -> frozenset[int]:
        """The numbers of the clauses in which a group is alive."""
        if (group, excuses) not in self._alive_in:
            self._alive_in[group, excuses] = frozenset(
                number
                for number in self._likely(group)
                if any(
                    self._counts(self._clauses[number], *span, excuses) for span in group.spans(self._clauses[number])
                )
            )
        return self._alive_in[group, excuses]

    def _counts(self, clause: _Clause, begin: int, end: int, excuses: frozenset[Excuse]) -> bool:
        """Whether nothing excuses one match."""
        shared, before, text = self._shared, clause.text[max(0, begin - _REACH) : begin], clause.text
        if "negation" in excuses and (
            shared["negated_before"].compiled.search(before) or shared["negated_after"].compiled.match(text, end)
        ):
            return False
        if "knowledge" in excuses:
            if self._wants_to_know or shared["hypothetical_before"].compiled.search(before):
                return False
            if clause.tells("knowledge") and not clause.tells("acute"):
                return False
        if "history" in excuses and clause.tells("dead"):
            return False
        if "chronic" in excuses and shared["habit"].compiled.search(before) and not clause.tells("sudden"):
            return False
        if clause.tells("acute"):
            return True
        if "history" in excuses and (clause.tells("history") or shared["history_after"].compiled.match(text, end)):
            return False
        if "care" in excuses and self._whole.tells("care"):
            return False
        return not ("chronic" in excuses and self._whole.tells("chronic") and not self._whole.tells("sudden"))


def _together(pattern: _Pattern, found: Sequence[frozenset[int]]) -> bool:
    """Whether all groups, given the clauses of each, lie in one clause or near each other."""
    if pattern.one_clause:
        return bool(frozenset.intersection(*found))
    return any(
        all(any(first <= clause < first + _NEAR for clause in clauses) for clauses in found)
        for first in frozenset().union(*found)
    )


def digest(source: str) -> str:
    """Under what the needles of an expression are kept; they depend on nothing else."""
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()[:12]


def read_red_flags(*sources: str, known: Mapping[str, Needles] | None = None) -> RedFlags:
    """Rules from the texts of YAML files in the form of `red_flags/*.yaml`; words may be used after their definition.

    Args:
        sources: the texts.
        known: needles that were found before, by `digest`; what is missing is found anew.

    Raises:
        ConfigError: not YAML, an unknown or missing key, a word that is not defined, or a rule without sentences.
    """
    try:
        return RedFlags(sources, known)
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError, ValidationError) as error:
        raise ConfigError(f"the red flags cannot be read: {error}") from error


@lru_cache(maxsize=1)
def book() -> RedFlags:
    """The shipped rules; their files are read in the order of their names."""
    folder = resources.files("chimed_rag.safety").joinpath("red_flags")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    kept = json.loads(folder.joinpath("needles.json").read_text("utf-8"))
    known = {key: None if text is None else frozenset(text.split()) for key, text in kept.items()}
    return read_red_flags(*(file.read_text("utf-8") for file in files), known=known)


def red_flags() -> tuple[RedFlag, ...]:
    """The shipped rules, in the order in which their notices are given."""
    return book().rules


def triage(question: str) -> list[Notice]:
    """One `emergency` notice for each red flag that the question raises, most urgent first; usually none."""
    return [Notice(kind="emergency", text=rule.what_to_do, rule=rule.id) for rule in book().raised(question)]
