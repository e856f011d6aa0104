"""One question on its way to an answer, and what it is asked with; the way itself lies in `medqa`.

Not covered: what the steps decide, which is for the rooms below.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from chimed_rag.config import Config
from chimed_rag.query.rewriting import corrected, understood
from chimed_rag.records import Answer, Notice, Query, Sentence, TraceEntry

if TYPE_CHECKING:
    from chimed_rag.safety.answerability import Answerability
    from chimed_rag.safety.audit import AuditLog
    from chimed_rag.safety.calibration import RefusalRule
    from chimed_rag.safety.interactions import Interactions
    from chimed_rag.safety.redaction import Redactor


MOST_ALARMS = 3
"""So many emergency notices are shown, the most urgent; neighbouring rules often speak of one emergency."""


@dataclass
class Asked:
    """A question on its way, and what became of it so far.

    `original` is as it was asked, which only the answer gets back; `said`, the same without identifiers; `text`, what
    is answered: in a conversation the question that stands alone, otherwise the same as `said`.
    """

    original: str
    said: str
    text: str
    redactor: Redactor | None
    steps: list[TraceEntry] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    def traced(self, step: str, began: float, **detail: Any) -> None:
        """One step more, which began at this `perf_counter`."""
        self.steps.append(TraceEntry(step=step, milliseconds=since(began), detail=detail))

    def restored(self, answer: Answer) -> Answer:
        """The answer with the reader's own words in the place of pseudonyms."""
        return answer.model_copy(
            update={
                "question": self.original,
                "text": self._back(answer.text),
                "sentences": tuple(self.restored_sentence(sentence) for sentence in answer.sentences),
                "abstention": answer.abstention
                and answer.abstention.model_copy(update={"text": self._back(answer.abstention.text)}),
            }
        )

    def restored_sentence(self, sentence: Sentence) -> Sentence:
        """The sentence with the reader's own words in the place of pseudonyms."""
        return sentence.model_copy(update={"text": self._back(sentence.text)})

    def _back(self, text: str) -> str:
        return self.redactor.restore(text) if self.redactor is not None else text


def redacted(question: str, config: Config, redactor: Redactor | None = None) -> Asked:
    """The question without its identifiers, if the configuration wants that; a conversation brings its own redactor."""
    text = question.encode("utf-8", "replace").decode()  # half of a surrogate pair is no character anywhere below
    if not config.redaction:
        return Asked(question, text, text, None)
    from chimed_rag.safety.redaction import PSEUDONYM, Redactor

    began, redactor = perf_counter(), redactor or Redactor()
    redaction = redactor.redact(text)
    one = Asked(question, redaction.text, redaction.text, redactor)
    kinds = sorted({found["kind"] for found in PSEUDONYM.finditer(redaction.text)})  # also of a question asked again
    one.traced("redaction", began, kinds=kinds, found=len(redaction.found))
    if kinds:
        text = f"问题中的个人信息（{'、'.join(kinds)}）已隐去，没有用于检索和生成，也不会写入日志。"
        one.notices.append(Notice(kind="redacted", text=text, rule="redaction"))
    return one


def triaged(one: Asked, query: Query) -> list[Notice]:
    """The red flags of the question, and those that it raises once its spelling is mended (凶痛 for 胸痛)."""
    from chimed_rag.safety.triage import triage

    began = perf_counter()
    flags = triage(one.said)
    if one.text != one.said:
        flags = _with_further(flags, triage(one.text))
    if (spelled := corrected(understood(query))) != query.text:  # may raise a flag more, never takes one away
        flags = _with_further(flags, triage(spelled))
    one.traced("triage", began, rules=[flag.rule for flag in flags])
    return flags[:MOST_ALARMS]


def _with_further(flags: list[Notice], others: list[Notice]) -> list[Notice]:
    rules = {flag.rule for flag in flags}
    return [*flags, *(flag for flag in others if flag.rule not in rules)]


def refusal_rule(given: RefusalRule | str | Path | None) -> RefusalRule | None:
    """A rule as it is, or read from its file."""
    if not isinstance(given, str | Path):
        return given
    from chimed_rag.safety.calibration import RefusalRule

    return RefusalRule.load(Path(given))


def answerability(config: Config, own: Path | None) -> Answerability | None:
    """What was learned about which questions the literature answers: what the configuration names, or else its own."""
    named = config.answerability or own
    if named is None or named == "off":
        return None
    from chimed_rag.safety.answerability import Answerability

    return Answerability.load(named)


def interactions(config: Config) -> Interactions | None:
    """The table of interactions that the configuration names, read."""
    if config.interactions is None:
        return None
    from chimed_rag.safety.interactions import Interactions

    return Interactions.from_csv(config.interactions)


def audit_log(config: Config) -> AuditLog | None:
    """The audit log that the configuration names, open."""
    if config.audit is None:
        return None
    from chimed_rag.safety.audit import AuditLog

    return AuditLog(config.audit.folder, retention=config.audit.retention)


def since(began: float) -> float:
    """Milliseconds since a `perf_counter`."""
    return round((perf_counter() - began) * 1000, 3)
