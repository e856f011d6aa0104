"""What an evaluation hands round: a card, a sample, what a system said to it, and what that is worth.

All are frozen records with JSON both ways; a field that a kind of task does not use stays empty. Not covered: reading
files (`readers`), asking (`systems`), judging (`protocols`), and the numbers of a whole run (`result`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue, model_validator

from chimed_rag.generation.base import Message
from chimed_rag.records import Answer, Metadata, Record

Kind = Literal["extraction", "choice", "open_qa", "dialogue", "attitude", "counterfactual", "grounding"]

Outcome = Literal["correct", "wrong", "scored", "invalid", "error"]
"""How a sample ends, exactly one of: right or wrong where that can be said; scored where a measure says how good;
invalid where the reply cannot be read as an answer; error where the system failed or took too long. All count in n."""


class Card(Record):
    """What a task is and where it comes from; `evaluation/cards/NAME.yaml`.

    Attributes:
        reader: "module:function", makes samples of the official files (`readers`).
        files: names or patterns looked for in a folder, the first that is there wins, with or without `.gz`; `*` in one
            stands for anything within a name, `{split}` for the splits that `split` names and `{subject}` for the
            `subjects` of the settings, or for anything where there are none (`tasks.sources.find_files`).
        hub: "organisation/name" of the set on a hub, with `hub_config` and `hub_split`; empty where there is none.
        protocols: the protocols it may be scored by, the first by default.
        main_metric: the metric that a table of many tasks shows.
        contamination: what is known of models having seen it.
        settings: what the reader wants to know besides, such as subjects or names of entity types.
    """

    name: str
    title: str
    kind: Kind
    reader: str
    source: str
    url: str = ""
    revision: str = ""
    licence: str
    split: str
    main_metric: str
    contamination: str
    files: tuple[str, ...] = ()
    hub: str = ""
    hub_config: str = ""
    hub_split: str = ""
    protocols: tuple[str, ...] = ("strict-v1",)
    settings: dict[str, JsonValue] = Field(default_factory=dict)


class Entity(Record):
    """A named thing: its words and type, and its place (characters, half-open) where that is known."""

    text: str
    type: str
    start: int | None = None
    end: int | None = None

    @model_validator(mode="after")
    def _place(self) -> Entity:
        if (self.start is None) != (self.end is None):
            raise ValueError("an entity has both a start and an end, or neither")
        return self


class Sample(Record):
    """One question of a task.

    Attributes:
        id: unique within the task.
        text: what is asked: a question's stem, a text to mark, a patient's last turn, a statement to agree with.
        turns: what was said before it, patient (user) and doctor (assistant).
        options: letter to text, in order.
        multiple: several letters may be right.
        subject: the subject's name, where the task has subjects.
        answer: the right letters, in the order of the options.
        references: right texts; any may be met.
        entities: what is to be found.
        passages: texts that hold the answer, for systems that are shown it.
        group: what samples belong together (a dialogue, a patient, a template, an item): intervals resample groups.
            Empty: the sample is its own group.
        metadata: whatever else the task knows: year, type of question, subscale, key, variant.
    """

    id: str = Field(min_length=1)
    text: str
    turns: tuple[Message, ...] = ()
    options: dict[str, str] = Field(default_factory=dict)
    multiple: bool = False
    subject: str = ""
    answer: str = ""
    references: tuple[str, ...] = ()
    entities: tuple[Entity, ...] = ()
    passages: tuple[str, ...] = ()
    group: str = ""
    metadata: Metadata = Field(default_factory=dict)


class Prediction(Record):
    """What a system said to a sample, before anybody judged it; a line of `predictions.jsonl`.

    Attributes:
        id: the sample's.
        text: the reply as it came, nothing cut.
        logprobs: option letter to the natural logarithm of its probability as the next token, of all that could follow;
            what the letters leave over is the mass of other replies. None where the system does not tell.
        entities: where the system marks spans itself; None where the reply is text to be read.
        answer: where the system was `MedQA`, its whole answer, with sentences, citations and abstention.
        passages: texts of the passages that the system was shown, best first.
        confidence: how sure the system is, larger is surer; None where it does not tell.
        finish: why the reply ended ("stop", "length", "time"), where known.
        error: what went wrong, in one line that begins with the kind of error; empty where nothing did.
        seconds: from asking to the whole reply (of a batch, its share).
    """

    id: str = Field(min_length=1)
    text: str = ""
    logprobs: dict[str, float] | None = None
    entities: tuple[Entity, ...] | None = None
    answer: Answer | None = None
    passages: tuple[str, ...] = ()
    confidence: float | None = None
    finish: str = ""
    error: str = ""
    seconds: float | None = None


class Score(Record):
    """How a sample ended, and its values by the protocol's names (each in the unit of the metric)."""

    id: str
    outcome: Outcome
    values: dict[str, float] = Field(default_factory=dict)
    said: str = ""
    """What the reply was read as (a letter, spans): for tables of failures."""
