"""Records: fields others rely on, JSON both ways, schemas, offsets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from chimed_rag.records import RECORDS, Answer, Document, Evidence, json_schemas

# The fields of DESIGN's section "Records", to the letter.
CONTRACT = {
    "Document": "id text title source url date licence metadata content_hash",
    "Chunk": "id document_id text start end page headings metadata",
    "Evidence": "number chunk_id document_id text start end page title headings source url date licence metadata score"
    " ranks",
    "Citation": "number document_id chunk_id title headings quote start end page source url date licence",
    "Sentence": "text citations verdict checks",
    "Notice": "kind text rule",
    "Answer": "question text sentences citations evidence abstention notices generator trace",
}


@pytest.mark.parametrize("name", CONTRACT)
def test_contract_fields_are_there_and_versioned(name):
    schema = json_schemas()[name]
    assert set(CONTRACT[name].split()) <= set(schema["properties"])
    assert schema["properties"]["schema_version"]["const"] == 1


def test_every_record_refuses_unknown_fields_and_change():
    for record in RECORDS:
        assert record.model_config["extra"] == "forbid"
        assert record.model_config["frozen"] is True
    with pytest.raises(ValidationError):
        Document(id="a", text="b", colour="red")
    with pytest.raises(ValidationError):
        Document(id="a", text="b").text = "c"


def test_json_both_ways():
    answer = Answer(question="问", text="答", evidence=[_evidence("血钾3.5mmol/L", 7)])
    assert Answer.model_validate_json(answer.model_dump_json()) == answer
    assert '"schema_version":1' in answer.model_dump_json()


def test_the_hash_is_of_what_is_said_not_of_where_it_lay():
    one = Document(id="a", text="t", source="x.md")
    assert one.content_hash == Document(id="b", text="t", source="y.md").content_hash
    changed = [{"text": "u"}, {"title": "T"}, {"metadata": {"a": 1}}, {"url": "u"}, {"date": "2020"}, {"licence": "l"}]
    for change in changed:
        assert Document(**{"id": "a", "text": "t", **change}).content_hash != one.content_hash


def _evidence(text, start, runs=()):
    end = start + len(text)
    return Evidence(number=1, chunk_id="d#0", document_id="d", text=text, start=start, end=end, runs=runs, score=1.0)


def test_source_spans_step_over_what_was_removed():
    # The document reads "甲乙[header]丙丁": the header (8 characters) was removed from the passage.
    evidence = _evidence("甲乙丙丁", 100, runs=((0, 100, 2), (2, 110, 2)))
    assert evidence.source_spans(0, 4) == [(100, 102), (110, 112)]
    assert evidence.source_spans(1, 3) == [(101, 102), (110, 111)]
    assert evidence.source_spans(2, 4) == [(110, 112)]
    assert evidence.source_spans(1, 1) == []
    with pytest.raises(ValueError, match="does not lie"):
        evidence.source_spans(0, 5)


@given(st.text(min_size=1, max_size=30), st.integers(0, 1000), st.data())
def test_without_runs_offsets_advance_together(text, start, data):
    begin = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(begin + 1, len(text)))
    assert _evidence(text, start).source_spans(begin, end) == [(start + begin, start + end)]


def test_the_exported_schemas_change_only_on_purpose():
    """Other programs read these; after a change on purpose: python -m tests.goldens.write (and see SCHEMA_VERSION)."""
    exported = json.loads((Path(__file__).parent / "goldens/records.schema.json").read_text("utf-8"))
    assert json_schemas() == exported
