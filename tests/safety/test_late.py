"""What an expression is said to need is proved of it, from its tree; and a plain question compiles next to nothing."""

import importlib
import re
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

import pytest

from chimed_rag.safety import (
    addresses,
    conflicts,
    conflicts_reading,
    identifiers,
    incompatibility,
    injection,
    injection_view,
    personal_names,
    policy,
    prescription,
    redaction,
)
from chimed_rag.safety.late import Late

sre: Any = importlib.import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")

MODULES = (
    *(addresses, conflicts, conflicts_reading, identifiers, incompatibility, injection, injection_view, personal_names),
    *(policy, prescription),
)


def _in(values: Iterable[object]) -> Iterator[Late]:
    for value in values:
        if isinstance(value, Late):
            yield value
        elif isinstance(value, tuple):
            yield from _in(value)
        elif isinstance(value, dict):
            yield from _in(value.values())


def _all() -> list[tuple[str, Late]]:
    def of(module: ModuleType) -> list[object]:
        return [value for name, value in vars(module).items() if name.startswith("_")]

    found: dict[int, tuple[str, Late]] = {}
    for module in MODULES:
        lists = (identifiers._labels(),) if module is identifiers else ()
        lists += (module._lists(),) if hasattr(module, "_lists") else ()
        lists += (module.rules(),) if module is injection else ()
        lists += (module._book(),) if module is prescription else ()
        for late in _in([*of(module), *lists]):
            found.setdefault(id(late), (f"{module.__name__.rpartition('.')[2]}: {late.source[:40]}", late))
    return list(found.values())


ALL = _all()


def holds(tree: Any, needs: tuple[str, ...], ignore_case: bool) -> bool:
    """Whether every match of a parsed expression contains one of the needs."""
    run = ""
    for op, value in tree:
        name = str(op)
        if name == "LITERAL":
            char = chr(value)
            run += char
            cases = {char.lower(), char.upper()} if ignore_case else {char}
            if cases <= set(needs) or (not ignore_case and any(need in run for need in needs)):
                return True
            continue
        run = ""
        if name == "IN":
            if all(str(kind) == "LITERAL" and chr(code) in needs for kind, code in value) and not ignore_case:
                return True
        elif name == "BRANCH":
            if all(holds(one, needs, ignore_case) for one in value[1]):
                return True
        elif name == "SUBPATTERN":
            if holds(value[3], needs, ignore_case or bool(value[1] & re.IGNORECASE)):
                return True
        elif name in ("MAX_REPEAT", "MIN_REPEAT"):
            if value[0] > 0 and holds(value[2], needs, ignore_case):
                return True
        elif name == "ASSERT" and holds(value[1], needs, ignore_case):
            return True
    return False


def digits(tree: Any) -> int:
    """How many digits every match of a parsed expression contains at least."""
    count = 0
    for op, value in tree:
        name = str(op)
        if name == "LITERAL":
            count += chr(value).isdigit()
        elif name == "IN":
            count += all(
                (str(kind) == "CATEGORY" and str(code) == "CATEGORY_DIGIT")
                or (str(kind) == "LITERAL" and chr(code).isdigit())
                or (str(kind) == "RANGE" and all(chr(one).isdigit() for one in range(code[0], code[1] + 1)))
                for kind, code in value
            )
        elif name == "BRANCH":
            count += min(map(digits, value[1]))
        elif name == "SUBPATTERN":
            count += digits(value[3])
        elif name in ("MAX_REPEAT", "MIN_REPEAT"):
            count += value[0] * digits(value[2])
    return count


@pytest.mark.parametrize("late", [late for _, late in ALL if late.needs], ids=[name for name, one in ALL if one.needs])
def test_every_match_contains_what_the_expression_needs(late: Late) -> None:
    assert holds(sre.parse(late.source, late.flags), late.needs, False)


@pytest.mark.parametrize("source", ["甲|乙", "甲?乙", "[甲乙]", "(?!甲)乙", "(?:甲)*", "(?i:x)"])
def test_the_proof_fails_where_a_match_may_lack_it(source: str) -> None:
    assert not holds(sre.parse(source), ("甲", "x"), False)


@pytest.mark.parametrize(
    ("kind", "least", "late"), [(row[0], row[1], row[2]) for row in (*identifiers._CARDS, *identifiers._NUMBERS)]
)
def test_every_number_holds_as_many_digits_as_its_row_says(kind: str, least: int, late: Late) -> None:
    assert digits(sre.parse(late.source)) >= least, kind


@pytest.mark.parametrize("late", [late for _, late in ALL], ids=[name for name, _ in ALL])
def test_every_expression_can_be_compiled(late: Late) -> None:
    assert late.compiled.pattern == late.source


def test_a_plain_question_compiles_no_expression_of_identifiers() -> None:
    mine = [late for name, late in ALL if name.split(":")[0] in ("addresses", "identifiers", "personal_names")]
    for late in mine:
        vars(late).pop("compiled", None)
    assert redaction.Redactor().redact("布洛芬一天最多吃几次？").found == ()
    assert [late.source for late in mine if "compiled" in vars(late)] == []
    assert redaction.Redactor().redact("我叫张伟，手机13812345678").text == "我叫〔姓名1〕，手机〔手机1〕"


def test_methods_are_those_of_the_compiled_expression() -> None:
    late = Late("a(b)?", "a")
    compiled = re.compile("a(b)?")
    for text in ("", "xyz", "ab a", "cab", "a"):
        assert [one.span() for one in late.finditer(text)] == [one.span() for one in compiled.finditer(text)]
        for mine, theirs in (
            (late.search(text), compiled.search(text)),
            (late.match(text), compiled.match(text)),
            (late.fullmatch(text), compiled.fullmatch(text)),
        ):
            assert (mine and mine.span()) == (theirs and theirs.span())
        assert late.sub("-", text) == compiled.sub("-", text)
    assert late.search("ab", 1) is None
    assert [one.start() for one in late.finditer("aaa", 1, 2)] == [1]
    assert Late("ab?", "a").findall("ab xa") == ["ab", "a"]
