"""What a language model is told, in versioned template files; the same for answering, evaluation and training.

A template is a YAML file: `user`, and where wanted `system`, `evidence` (what stands around the passages; nothing where
there are none), `passage` (how one is written), `stop` (what a reply never holds: a hint for those who cut it off) and
`description`. {question}, {text}, {evidence}, {options}, {types}, {history} and {subject} are filled in once, so that
braces in what is filled in stay what they are. A line that holds one of them alone is left out where it is empty. The
templates of the package lie in `templates/NAME.VERSION.yaml`; a version that was published is never changed.

A passage is written on one line, its square brackets made round, so that it cannot look like the number of the next
passage or like the question. Not covered: how messages become a model's tokens (`chat`), what of the evidence fits
(`budget`), orders to the model inside a passage (`safety.injection` masks them before), and what the model replies
(`markers`, `replies`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from chimed_rag.config import read_yaml
from chimed_rag.errors import ConfigError, UnknownNameError
from chimed_rag.generation.base import Message
from chimed_rag.packaged import parsed, source
from chimed_rag.records import Evidence

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_FIELDS = frozenset(("question", "text", "evidence", "options", "types", "history", "subject"))
_OF_PASSAGE = frozenset(("number", "heading", "text"))
_SQUARE = str.maketrans("[]［］【】〔〕", "()（）（）（）")
_HASHES = re.compile(r"^#{1,6}[ \t]+", re.MULTILINE)


@dataclass(frozen=True)
class Prompt:
    """A template of messages.

    Args:
        name: bears its version ("citation@1"), or is the file name of the user's own.
        user: what the user's message says.
        system: what a system message before it says; None leaves it out.
        evidence: what stands around the passages, which are put in for {passages}.
        passage: one passage: {number}, {heading} (title and headings, or nothing) and {text}.
        stop: texts at which a reply has ended.
        source: the whole file.
    """

    name: str
    user: str
    system: str | None = None
    evidence: str = "{passages}"
    passage: str = "[{number}] {heading}{text}"
    stop: tuple[str, ...] = ()
    source: str = ""

    @property
    def sha256(self) -> str:
        """Of the whole file, in hexadecimal."""
        return hashlib.sha256((self.source or self.user).encode()).hexdigest()

    @property
    def fields(self) -> frozenset[str]:
        """What `messages` has to be given; evidence may be left out."""
        return frozenset(_PLACEHOLDER.findall(f"{self.system}{self.user}")) - {"evidence"}

    def messages(
        self, *, evidence: Sequence[Evidence] = (), turns: Sequence[Message] = (), **fields: str
    ) -> list[Message]:
        """The template filled in.

        Args:
            evidence: passages, in order; a template without {evidence} leaves them out.
            turns: what was said before, between the system message and the template's user message.
            fields: exactly those that the template has (`fields`).

        Raises:
            TypeError: a field is missing or not known to the template.
        """
        if fields.keys() != self.fields:
            raise TypeError(f"prompt {self.name} takes {sorted(self.fields)}, not {sorted(fields)}")
        passages = "\n".join(self.written(one) for one in evidence)
        values = {**fields, "evidence": _filled(self.evidence, {"passages": passages}) if evidence else ""}
        told: list[Message] = [{"role": "user", "content": _filled(self.user, values)}]
        before: list[Message] = [{"role": "system", "content": _filled(self.system, values)}] if self.system else []
        return [*before, *turns, *told]

    def written(self, passage: Evidence) -> str:
        """A passage as the model reads it, on one line."""
        places = list(dict.fromkeys(filter(None, map(_on_one_line, (passage.title, *passage.headings)))))
        text = _on_one_line(passage.text)
        if len(places) > 1:
            text = text.removeprefix(f"{places[-1]} ")  # a section's text often opens with its heading
        heading = f"{' > '.join(places)}：" if places else ""
        return _filled(self.passage, {"number": str(passage.number), "heading": heading, "text": text})


def _on_one_line(text: str) -> str:
    return " ".join(_HASHES.sub("", text).split()).translate(_SQUARE)


def _filled(template: str, values: Mapping[str, str]) -> str:
    """The template with its placeholders replaced, all at once; a line of one empty placeholder goes."""
    lines = template.split("\n")
    kept = [line for line in lines if not ((alone := _PLACEHOLDER.fullmatch(line)) and not values[alone[1]])]
    return _PLACEHOLDER.sub(lambda found: values[found[1]], "\n".join(kept))


def lettered(options: Mapping[str, str]) -> str:
    """Options as the prompts for choices want them, one a line.

    >>> lettered({"A": "肝", "B": "肾"})
    'A. 肝\\nB. 肾'
    """
    return "\n".join(f"{letter}. {option}" for letter, option in options.items())


# --- files ------------------------------------------------------------------------------------------------------


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    user: str
    system: str | None = None
    evidence: str = Prompt.evidence
    passage: str = Prompt.passage
    stop: tuple[str, ...] = ()
    description: str = ""

    @field_validator("user")
    @classmethod
    def _asks(cls, user: str) -> str:
        if not {"question", "text"} & set(_known(user, _FIELDS)):
            raise ValueError("has no {question}, nor {text}")
        return user

    @field_validator("system")
    @classmethod
    def _of_system(cls, system: str | None) -> str | None:
        _known(system or "", _FIELDS - {"evidence"})
        return system

    @field_validator("evidence")
    @classmethod
    def _of_evidence(cls, around: str) -> str:
        if "passages" not in _known(around, frozenset(("passages",))):
            raise ValueError("has no {passages}")
        return around

    @field_validator("passage")
    @classmethod
    def _of_passage(cls, passage: str) -> str:
        if not {"number", "text"} <= set(_known(passage, _OF_PASSAGE)) or "\n" in passage:
            raise ValueError("must be one line with {number} and {text}")
        return passage


def _known(template: str, names: frozenset[str]) -> list[str]:
    found = _PLACEHOLDER.findall(template)
    for name in found:
        if name not in names:
            raise ValueError(f"{{{name}}} is not known; there are: {', '.join(f'{{{n}}}' for n in sorted(names))}")
    return found


def load_prompt(name: str) -> Prompt:
    """A prompt by name (its newest version), by name and version ("citation@1"), or from a YAML file of the user's own.

    Raises:
        ConfigError: the file cannot be read, or a key or placeholder of it is not known, not valid or missing.
        UnknownNameError: there is no prompt of that name or version; says which there are.
    """
    if name.endswith((".yaml", ".yml")):
        data = read_yaml(name)
        return _prompt(Path(name).name, name, data, Path(name).read_text("utf-8"))
    return _packaged(name)


@cache
def _packaged(name: str) -> Prompt:
    called, _, version = name.partition("@")
    versions = _versions().get(called, ())
    if not versions or (version and version not in map(str, versions)):
        raise UnknownNameError(
            f"no prompt is called {name!r}; there are: {', '.join(prompt_names())}, and YAML files of your own"
        )
    chosen = version or str(versions[-1])
    file = f"templates/{called}.{chosen}.yaml"
    text = source("chimed_rag.generation", file)
    return _prompt(f"{called}@{chosen}", file, parsed(text), text)


def prompt_names() -> list[str]:
    """The prompts of the package, each with all its versions."""
    return [f"{name}@{version}" for name, versions in _versions().items() for version in versions]


@cache
def _versions() -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for file in sorted(one.name for one in resources.files("chimed_rag.generation").joinpath("templates").iterdir()):
        name, version, _ = file.split(".")
        found[name] = sorted((*found.get(name, ()), int(version)))
    return found


def _prompt(name: str, file: str, data: object, text: str) -> Prompt:
    try:
        read = _File.model_validate(data)
    except ValidationError as error:
        # An unknown key first: a misspelt one also leaves a needed one missing.
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        key = ".".join(map(str, first["loc"])) or "the file"
        known = f"; there are: {', '.join(_File.model_fields)}" if first["type"] == "extra_forbidden" else ""
        raise ConfigError(f"{file}: {key}: {first['msg'].removeprefix('Value error, ')}{known}") from None
    return Prompt(name, read.user.rstrip("\n"), read.system, read.evidence, read.passage, read.stop, text)
