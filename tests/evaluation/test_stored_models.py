from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path

import pytest

from chimed_rag.corpus.jsonl import json_rows
from chimed_rag.errors import InputError
from chimed_rag.evaluation.protocols.base import protocol
from chimed_rag.evaluation.samples import Card, Sample
from chimed_rag.evaluation.systems.base import Setting, open_system
from chimed_rag.evaluation.systems.stored import Stored, stored_models
from chimed_rag.evaluation.tasks.loading import Task
from chimed_rag.packaged import parsed, source

CARD = Card.model_validate(parsed(source("chimed_rag.evaluation", "cards/cmle.yaml")))


def sample(number: int, **replies: object) -> Sample:
    return Sample(
        id=str(number), text="胆汁由谁产生", options={"A": "肝", "B": "心"}, answer="A",
        metadata={"model_predictions": replies},  # type: ignore[dict-item]
    )  # fmt: skip


def test_a_stored_reply_is_said_again() -> None:
    samples = (sample(1, m="A", n="B"), sample(2, m="答案是B。"), sample(3, m=None))
    setting = Setting(Task(CARD, samples, ""), protocol("strict-v1", "choice"), options={"model": "m"})
    system = open_system("stored", setting)
    assert system.name == "stored:m" and stored_models(samples) == ["m", "n"]
    predictions = list(system.predict(samples))
    assert [one.text for one in predictions] == ["A", "答案是B。", ""]
    assert predictions[2].error == "missing: no reply of m is stored"
    scores = [setting.protocol.score(*pair) for pair in zip(samples, predictions, strict=True)]
    assert [one.outcome for one in scores] == ["correct", "wrong", "error"]
    for options in ({"model": "k"}, {}, None):
        with pytest.raises(InputError, match="one of: m, n"):
            open_system("stored", Setting(setting.task, setting.protocol, options=options))
    with pytest.raises(InputError, match="cmle carries none"):
        open_system("stored", Setting(Task(CARD, (), ""), setting.protocol, options={"model": "m"}))


def plainly(reply: str | None) -> str:
    """The letter that a reply states, in another way than the library reads it; several letters are none."""
    text = (reply or "").replace("*", "").strip()
    stated = set(re.findall(r"答案(?:的编号)?[是为]?\s*[:：]?\s*([A-E])(?=[\s.。，（(]|$)", text))
    stated |= set(re.findall(r"^([A-E])\.?$", text, re.MULTILINE))
    if not stated and re.match(r"[A-E][\s.。]", text):
        stated = set(re.findall(r"^([A-E])[\s.。]", text, re.MULTILINE))
    return stated.pop() if len(stated) == 1 else ""


@pytest.mark.real_data
def test_the_eight_stored_models(shared_data: Path) -> None:
    file = shared_data / "eval" / "cmle_2020_2021.jsonl.gz"
    rows = [row for _, row in json_rows(file)]
    from chimed_rag.evaluation.readers.choice import cmle
    from chimed_rag.evaluation.tasks.loading import Row

    class Rows:
        paths = (file,)

        def rows(self) -> list[Row]:
            return [Row(str(file), line, row) for line, row in enumerate(rows, 1)]

    samples = list(cmle(Rows(), CARD))  # type: ignore[arg-type]
    made = protocol("strict-v1", "choice")
    models = stored_models(samples)
    assert (len(samples), len(models)) == (1200, 8)
    differ = 0
    for model in models:
        predictions = list(Stored(model).predict(samples))
        scores = [made.score(*pair) for pair in zip(samples, predictions, strict=True)]
        metrics = made.metrics(samples, predictions, scores)
        read = [plainly(row["model_predictions"].get(model)) for row in rows]
        apart = sum(ours.said != theirs for ours, theirs in zip(scores, read, strict=True))
        differ += apart
        right = sum(said == row["answer"] for said, row in zip(read, rows, strict=True))
        unread = sum(not said and model in row["model_predictions"] for said, row in zip(read, rows, strict=True))
        missing = sum(model not in row["model_predictions"] for row in rows)
        counts = Counter(one.outcome for one in scores)
        assert sum(counts.values()) == 1200 and counts["error"] == missing
        if apart == 0:
            assert (counts["correct"], counts["invalid"]) == (right, unread)
            share, z = right / 1200, 1.959963984540054
            middle = (share + z * z / 2400) / (1 + z * z / 1200)
            reach = z / (1 + z * z / 1200) * math.sqrt(share * (1 - share) / 1200 + (z / 2400) ** 2)
            found = metrics["accuracy"]
            assert (found.value, found.low, found.high) == pytest.approx(
                (share, middle - reach, middle + reach), abs=1e-9
            )
            assert metrics["invalid"].value == unread / 1200
        else:
            assert abs(counts["correct"] - right) <= apart
    assert differ <= 3  # of 9,582 replies, each long and of two minds
