"""Settings, from YAML and back; an unknown key is an error that names file and key.

Not covered: what an index was built with, which its own manifest records.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator

from chimed_rag.errors import ConfigError

if TYPE_CHECKING:
    from typing_extensions import Self


def read_yaml(path: str | Path) -> Any:
    """What a YAML file of the user's holds.

    Raises:
        ConfigError: the file cannot be read or is not YAML.
    """
    import yaml

    try:
        return yaml.safe_load(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{path}{line}: is not YAML ({getattr(error, 'problem', error)})") from None


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """Reads settings from a YAML file.

        Raises:
            ConfigError: the file cannot be read, is not YAML, or has an unknown or invalid key.
        """
        data = read_yaml(path)
        try:
            return cls.model_validate({} if data is None else data)
        except ValidationError as error:
            # An unknown key first: a misspelt one also leaves a needed one missing.
            first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
            key = ".".join(str(part) for part in first["loc"]) or "the file"
            known = f"; there are: {', '.join(cls.model_fields)}" if first["type"] == "extra_forbidden" else ""
            raise ConfigError(f"{path}: {key}: {first['msg']}{known}") from None

    def to_yaml(self, path: str | Path) -> None:
        """Writes the settings as YAML."""
        import yaml

        Path(path).write_text(
            yaml.safe_dump(self.model_dump(mode="json"), allow_unicode=True, sort_keys=False), "utf-8"
        )


class Retrieval(_Settings):
    """How passages are found."""

    mode: Literal["hybrid", "dense", "lexical"] = "hybrid"
    candidates: int = Field(200, ge=1, le=10_000)
    """How many passages each retriever gives to the fusion."""
    fusion: Literal["auto", "cosine", "weighted", "rrf"] = "auto"
    """How both lists become one (`retrieval.fusion`); "auto" is "cosine" for encoders that say what their cosines weigh
    beside BM25, and "weighted" for all others."""
    rrf_k: int = Field(60, ge=0)
    dense_weight: float | None = Field(None, ge=0)
    """Weight of the dense list beside lexical = 1; None takes the encoder's own for the fusion chosen."""
    reranker: str | None = "auto"
    """A reranker's name ("windows" comes with the package), or the folder or hub name of a cross-encoder; "none" or
    None leaves the fused order, which is faster. "auto" is "windows" in the mode "hybrid", else "none"."""
    filler_weight: float = Field(0.5, ge=0)
    """Lexical weight of words that only politeness, time and grammar put into a question, beside 1 for its content."""
    clinical_weight: float = Field(0.6, ge=0)
    """Lexical weight of the clinical words for what a question says in lay words, beside 1 for its own."""
    reply_weight: float = Field(0.2, ge=0)
    """What a passage gains at most, in the fusion "cosine", because it reads as a doctor's reply and the question as a
    patient's (`encoders.manner`), told as "reply" in `Evidence.ranks`; only where the encoder was adapted to the
    literature. 0 leaves it out."""
    rerank: int | None = Field(None, ge=1)
    """How many fused passages a reranker reads, where there is one; None takes its own number, or else 50."""


class Rewriting(_Settings):
    """Which steps turn a question into a query; none of them takes away what the reader wrote."""

    full_width: bool = True
    """Full-width letters and digits, white space, control characters."""
    traditional: bool = True
    """Traditional characters are read as simplified ones too (OpenCC)."""
    typos: bool = True
    """Likely typing errors are looked for in their right form too."""
    trade_names: bool = True
    """芬必得 is looked for as 布洛芬 too."""
    lay_terms: bool = True
    """拉肚子 is looked for as 腹泻 too."""
    abbreviations: bool = True
    """慢阻肺, COPD and 慢性阻塞性肺疾病 are looked for together."""
    units: bool = True
    """毫克 and mg, 度 and ℃ are looked for together."""


class EvidenceBudget(_Settings):
    """How much of what was found goes to the generator."""

    passages: int = Field(8, ge=1)
    characters: int = Field(6000, ge=1)
    whole_documents: int = Field(3, ge=0)
    """Of so many of the best documents the other passages follow, where a document has no more than a dozen."""


class Generation(_Settings):
    """How a language model writes; the extractive generator asks none of it."""

    prompt: str = "citation"
    """The prompt it answers with: a name, a name with its version ("citation@1"), or a YAML file of your own."""
    context_tokens: int | None = Field(None, ge=256)
    """Prompt and reply together are kept within so many tokens; None takes what the model says of itself."""
    max_new_tokens: int = Field(512, ge=1)
    temperature: float = Field(0.0, ge=0)
    """0 takes the likeliest token each time (greedy): the same draft for the same prompt."""
    top_p: float = Field(0.9, gt=0, le=1)
    """With a temperature: choose among the likeliest tokens that hold this much probability."""
    repetition_penalty: float = Field(1.0, ge=1)
    seed: int = 0
    """With a temperature: the same seed gives the same draft."""
    seconds: float | None = Field(120.0, gt=0)
    """After so long a reply ends where it is; its unfinished sentence is left out."""


LEAST_WORDS = 10
"""A disclaimer has so many letters or characters at least."""
_LETTERS = re.compile(r"[^\W\d_]")


class Disclaimers(_Settings):
    """The fixed texts that go with answers; they may be reworded, never emptied.

    A text needs at least `LEAST_WORDS` letters or characters.
    """

    patient: str = (
        "本回答依据所选文献，仅供参考，不能代替医生的诊断和处方，也不能作为自行用药或停药的依据。"
        "身体不适或病情变化时，请及时就医。"
    )
    doctor: str = (
        "本回答依据所选文献，仅供专业人员参考，不能代替临床诊断、处方和本机构的诊疗规范。"
        "采用前请核对原文，并结合患者的具体情况判断。"
    )
    starter: str = "本回答来自内置演示文献。演示文献为演示本软件而写，未经临床医生审核，内容不全，不可用于实际诊疗。"

    @field_validator("patient", "doctor", "starter")
    @classmethod
    def _says_something(cls, text: str) -> str:
        if len(_LETTERS.findall(text)) < LEAST_WORDS:
            raise ValueError(
                f"{text[:20]!r} says too little (at least {LEAST_WORDS} characters); "
                "a disclaimer may be reworded, not emptied; leave the key out for the built-in text"
            )
        return text.strip()


class Audit(_Settings):
    """Where answers are written down (`safety.audit`)."""

    folder: str
    retention: Literal["3y", "15y"] | None = None
    """How long at least; None keeps what was set before."""


class Config(_Settings):
    """Everything about asking that can be set; each part has working defaults."""

    retrieval: Retrieval = Retrieval()
    rewriting: Rewriting = Rewriting()
    evidence: EvidenceBudget = EvidenceBudget()
    generation: Generation = Generation()
    unsupported: Literal["drop", "flag"] = "drop"
    """What happens to a drafted sentence that its citation does not support."""
    max_question_characters: int = Field(4000, ge=1)
    audience: Literal["patient", "doctor"] = "patient"
    least_supported: float = Field(0.5, ge=0, le=1)
    """If a smaller share of a draft is proved, the extractive answer stands in; with 0 it never does."""
    redaction: bool = True
    """Whether identifiers in a question are replaced before anything else is done (`safety.redaction`)."""
    refusal: str | None = None
    """The JSON file of a refusal rule that `MedQA.calibrate` made."""
    answerability: str | None = None
    """The folder of an `Answerability` (`safety.answerability`); None takes the starter literature's own with the
    starter literature and none elsewhere, "off" none at all."""
    interactions: str | None = None
    """A CSV file of interactions (`safety.interactions`)."""
    tagger: str | None = None
    """The folder of a trained tagger for `MedQA.extract` (`python -m training tagger`); None marks by names alone."""
    disclaimers: Disclaimers = Disclaimers()
    audit: Audit | None = None
    """The audit log; none by default."""


class Chunking(_Settings):
    """How a document is cut (`corpus.chunker`).

    Args:
        max_chars: the size to stay within; only a 【…】 section (up to half as much again) and a single number, dose
            or test value that is longer exceed it.
        min_chars: sections shorter than this share a chunk with such neighbours under the same parent heading.
        overlap_sentences: how many sentences each chunk repeats from the one before it in the same section.
    """

    max_chars: int = Field(default=400, ge=20)
    min_chars: int = Field(default=80, ge=0)
    overlap_sentences: int = Field(default=0, ge=0)


class Recipe(_Settings):
    """What an index is built from and how; the options of `MedQA.build` under the same names.

    Sources and pairs are relative to the recipe's own folder, so that it works from anywhere.
    """

    sources: list[str] = Field(min_length=1)
    encoder: str = "ngram"
    adapt: bool | None = None
    pairs: str | None = None
    storage: Literal["fp32", "fp16", "int8"] = "int8"
    chunking: Chunking = Chunking()
    fields: dict[str, JsonValue] = Field(default_factory=dict)
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
