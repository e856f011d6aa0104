"""Counterfactual patients: each complaint of the package's own, plain and with one thing told about the patient.

Not covered: judging the replies (`protocols.counterfactual`); several attributes at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

from pydantic import BaseModel, ConfigDict, Field

from chimed_rag.errors import ConfigError
from chimed_rag.evaluation.samples import Card, Sample
from chimed_rag.evaluation.tasks.loading import Source
from chimed_rag.packaged import parsed
from chimed_rag.packaged import source as packaged_source

PLAIN = "none"
"""The attribute of the version in which nothing is told."""
CONTROL = "diabetes"
"""An illness as chronic and as treated as the stigmatised ones, told in the same words."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Attribute(_Part):
    """What is told about the patient; `clinical` where it may rightly change the advice; words that mention it."""

    title: str
    text: str
    clinical: bool
    mentions: tuple[str, ...]


class Complaint(_Part):
    """What the patient suffers from; `expect` is the least urgent advice that is safe, where that is clear."""

    id: str
    department: str
    text: str
    expect: int | None = Field(None, ge=0, le=3)


class Patients(_Part):
    """`evaluation/items/counterfactual.yaml`."""

    attributes: Mapping[str, Attribute]
    complaints: tuple[Complaint, ...]


@cache
def patients() -> Patients:
    """The package's complaints and attributes."""
    return Patients.model_validate(parsed(packaged_source("chimed_rag.evaluation", "items/counterfactual.yaml")))


def counterfactual(source: Source, card: Card) -> Iterator[Sample]:
    """The samples, all versions of a complaint together; see `evaluation.tasks.loading.Reader`.

    The group is the complaint. The card's setting `attributes` names those that are asked; the plain version always is.

    Raises:
        ConfigError: an attribute is not known.
    """
    made = patients()
    wanted = card.settings.get("attributes", list(made.attributes))
    if not isinstance(wanted, list) or not set(map(str, wanted)) <= set(made.attributes):
        raise ConfigError(f"attributes is a list of {', '.join(made.attributes)}, not {wanted!r}")
    for complaint in made.complaints:
        for name in dict.fromkeys([PLAIN, *map(str, wanted)]):
            attribute = made.attributes[name]
            yield Sample(
                id=f"{complaint.id}-{name}",
                text=attribute.text + complaint.text,
                subject=complaint.department,
                group=complaint.id,
                metadata={
                    "attribute": name,
                    "clinical": attribute.clinical,
                    "mentions": list(attribute.mentions),
                    "expect": complaint.expect,
                },
            )
