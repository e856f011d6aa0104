"""Notices that go with an answer.

What is covered: the emergency notices that triage raised, the notice that an answer rests on the starter literature,
and the disclaimer that goes with every answer, in this order.
What is not covered: deciding whether something is an emergency (`safety.triage`), whether the evidence suffices,
or whether a sentence is supported by it. A notice informs the reader; it makes no answer safe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from chimed_rag.errors import InputError
from chimed_rag.records import Notice

Audience = Literal["patient", "doctor"]

DISCLAIMERS: Mapping[str, str] = MappingProxyType(
    {
        "patient": (
            "本回答摘自所选文献，仅供参考，不能代替医生的诊断和处方，也不能作为自行用药或停药的依据。"
            "身体不适或病情变化时，请及时就医。"
        ),
        "doctor": (
            "本回答摘自所选文献，仅供专业人员参考，不能代替临床诊断、处方和本机构的诊疗规范。"
            "采用前请核对原文，并结合患者的具体情况判断。"
        ),
    }
)
"""The disclaimer, by audience."""

STARTER = "本回答来自内置演示文献。演示文献为演示本软件而写，未经临床医生审核，内容不全，不可用于实际诊疗。"
"""The notice that goes with evidence from the starter literature."""


def notices(
    question: str,
    *,
    starter: bool,
    audience: Audience = "patient",
    triage_notices: Sequence[Notice] = (),
) -> tuple[Notice, ...]:
    """What the reader must know about an answer: emergencies first, then `starter`, and always the disclaimer.

    Args:
        question: the reader's question; no rule of this version reads it.
        starter: whether any of the evidence comes from the starter literature.
        audience: who reads the answer.
        triage_notices: what `safety.triage` raised for the question, in its order.

    Raises:
        InputError: no such audience.
    """
    if audience not in DISCLAIMERS:
        raise InputError(f"no audience is called {audience!r}; there are: {', '.join(DISCLAIMERS)}")
    found = list(triage_notices)
    if starter:
        found.append(Notice(kind="starter", text=STARTER, rule="starter_literature"))
    found.append(Notice(kind="disclaimer", text=DISCLAIMERS[audience], rule=f"disclaimer_{audience}"))
    return tuple(found)
