"""MedQA as its users call it: asking, searching, keeping an index, and what happens when something is wrong."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from chimed_rag import Answer, Document, MedQA
from chimed_rag.config import Config, EvidenceBudget, Retrieval
from chimed_rag.errors import DuplicateError, IndexMissingError, InputError, UnknownNameError
from chimed_rag.medqa import STARTER_INDEX
from chimed_rag.records import Draft, DraftCitation, DraftSentence


def assert_cited(qa: MedQA, answer: Answer) -> None:
    """The promise: every citation is the text of the document, and every supported sentence has one."""
    for sentence in answer.sentences:
        assert (sentence.verdict == "supported") == bool(sentence.citations)
        for citation in sentence.citations:
            assert qa.document(citation.document_id).text[citation.start : citation.end] == citation.quote


def test_an_answer_quotes_the_place_that_supports_it(qa):
    answer = qa.ask("孕晚期可以吃布洛芬吗？")
    assert answer.abstention is None
    assert "孕晚期妇女禁用布洛芬。" in answer.sentences[0].text
    assert answer.citations[0].document_id == "ibuprofen"
    assert answer.text == "".join(s.text for s in answer.sentences)
    assert [n.kind for n in answer.notices] == ["pregnancy", "disclaimer"]
    assert [step.step for step in answer.trace] == [
        "redaction", "triage", "rewriting", "retrieval", "injection", "abstention", "generation", "citations",
        "conflicts", "policy",
    ]  # fmt: skip
    assert_cited(qa, answer)


def test_the_answer_serialises_and_renders(qa):
    answer = qa.ask("血钾的正常值是多少？")
    assert Answer.model_validate_json(answer.model_dump_json()) == answer
    assert "5.5mmol/L" in answer.to_markdown()
    assert "3.5~5.5mmol/L" in answer._repr_html_()


def test_no_evidence_is_an_outcome_not_an_error(qa):
    answer = qa.ask("泽拉普替尼能治什么病？")
    assert answer.abstention is not None
    assert answer.sentences == ()
    assert answer.text == answer.abstention.text
    assert [n.kind for n in answer.notices] == ["disclaimer"]


def test_an_emergency_is_told_first(qa):
    assert qa.ask("突然剧烈胸痛大汗怎么办").notices[0].kind == "emergency"


def test_a_red_flag_is_in_scope_whatever_its_words():
    with MedQA() as starter:
        answer = starter.ask("奶奶突然口角歪斜、说话不清，怎么办？")
        assert answer.notices[0].kind == "emergency"
        assert answer.abstention is None
        assert "stroke-recognition.md" in {item.document_id for item in answer.evidence}


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("", "is empty"),
        (" \n\t", "is empty"),
        ("？？！。", "holds no word"),
        ("🙂🙂", "holds no word"),
        ("病" * 20_000, r"has 20,000 characters; ask in at most 4,000"),
    ],
)
def test_a_question_that_cannot_be_asked(qa, question, message):
    with pytest.raises(InputError, match=message):
        qa.ask(question)


def test_an_english_question_about_something_else_abstains(qa):
    assert qa.ask("How do I repair my bicycle?").abstention is not None


def test_search_returns_k_wherever_k_exist(qa, documents):
    assert len(qa.search("布洛芬", k=3)) == 3
    assert len(qa.search("血压", k=100)) == len(qa)
    assert [e.number for e in qa.search("布洛芬", k=3)] == [1, 2, 3]
    with pytest.raises(InputError, match="k must be at least 1"):
        qa.search("布洛芬", k=0)


def test_filters_apply_before_the_search(qa):
    found = qa.search("布洛芬", k=10, filter={"department": "心内科"})
    assert {e.document_id for e in found} == {"hypertension"}
    found = qa.search("布洛芬", k=10, filter={"year": {"$gte": 2021}})
    assert {e.document_id for e in found} == {"ibuprofen", "acetaminophen"}
    assert qa.ask("血钾低有什么表现", filter={"department": "药学"}).abstention is not None
    with pytest.raises(InputError, match="unknown operator"):
        qa.search("布洛芬", filter={"year": {"$around": 2020}})


def test_many_at_once_equal_one_by_one(qa):
    questions = ["孕晚期可以吃布洛芬吗", "血钾的正常值", "高血压怎么诊断", "泽拉普替尼能治什么病"]

    def content(answer):
        return answer.model_dump(exclude={"trace"})

    assert [content(a) for a in qa.ask_many(questions)] == [content(qa.ask(q)) for q in questions]
    assert qa.search_many(questions, 5) == [qa.search(q, 5) for q in questions]
    assert qa.ask_many([]) == []


def test_aask_works_inside_a_running_loop(qa):
    async def inside():
        return await asyncio.gather(*(qa.aask(q) for q in ["血钾的正常值", "高血压怎么诊断"]))

    first, second = asyncio.run(inside())
    assert first.citations[0].document_id == "potassium"
    assert second.citations[0].document_id == "hypertension"


def test_one_object_serves_many_threads(qa):
    questions = ["孕晚期可以吃布洛芬吗", "血钾的正常值", "高血压怎么诊断"] * 20
    expected = {q: qa.ask(q).text for q in questions}
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda q: qa.ask(q).text, questions)) == [expected[q] for q in questions]


def test_explain_says_which_terms_and_which_ranks(qa):
    explanation = qa.explain("孕妇能吃布洛芬吗", k=2)
    first = explanation.evidence[0]
    assert {"布洛", "洛芬"} <= set(first.matched)
    assert set(first.evidence.ranks) == {"dense", "lexical", "windows"}
    assert set(explanation.absent) == {t for t in explanation.terms if all(t not in _terms_of(qa, d) for d in IDS)}
    # ln(1 + (N - n + 0.5) / (n + 0.5)): a term in fewer passages weighs more.
    assert explanation.terms["能吃"] > explanation.terms["洛芬"]


IDS = ["ibuprofen", "acetaminophen", "hypertension", "potassium"]


def _terms_of(qa, document_id):
    from chimed_rag.text import terms

    document = qa.document(document_id)
    return set(terms(document.title) + terms(document.text))


def test_modes_and_budget(ward):
    for mode in ("dense", "lexical", "hybrid"):
        with MedQA.load(ward, config=Config(retrieval=Retrieval(mode=mode))) as qa:
            expected = {"dense", "lexical", "windows"} if mode == "hybrid" else {mode}
            assert set(qa.search("布洛芬退热", k=1)[0].ranks) == expected
    with MedQA.load(ward, config=Config(evidence=EvidenceBudget(passages=1))) as qa:
        assert len(qa.ask("布洛芬的用法用量").evidence) == 1
    rrf = Config(retrieval=Retrieval(fusion="rrf", dense_weight=1.0, reranker="none"))
    with MedQA.load(ward, config=rrf) as qa:
        top = qa.search("布洛芬退热", k=1)[0]
        assert top.score == pytest.approx(sum(1 / (60 + entry.rank) for entry in top.ranks.values()))


class ScriptedGenerator:
    name = "scripted"

    def __init__(self, *sentences):
        self.sentences = sentences

    def generate(self, question, evidence, *, term_weight=None):
        return Draft(generator=self.name, sentences=self.sentences)


def test_an_unsupported_sentence_is_dropped_or_flagged_never_shown_as_supported(ward):
    invented = DraftSentence(text="布洛芬可以治愈高血压。", citations=(DraftCitation(number=1),))
    with MedQA.load(ward, generator=ScriptedGenerator(invented), config=Config(least_supported=0)) as qa:
        answer = qa.ask("布洛芬能退热吗")
        assert answer.sentences == ()
        assert answer.abstention.reason == "weak_evidence"
    quoted = DraftSentence(text="布洛芬用于缓解轻至中度疼痛，也用于退热。", citations=(DraftCitation(number=1),))
    generator = ScriptedGenerator(invented, quoted)
    with MedQA.load(ward, generator=generator, config=Config(unsupported="flag")) as qa:
        answer = qa.ask("布洛芬能退热吗")
        assert [s.verdict for s in answer.sentences] == ["unsupported", "supported"]
        assert_cited(qa, answer)


def test_the_extractive_answer_stands_in_when_too_little_of_a_draft_is_proved(ward):
    invented = DraftSentence(text="布洛芬可以治愈高血压。", citations=(DraftCitation(number=1),))
    quoted = DraftSentence(text="布洛芬用于缓解轻至中度疼痛，也用于退热。", citations=(DraftCitation(number=1),))
    with MedQA.load(ward, generator=ScriptedGenerator(invented, invented, quoted)) as qa:
        answer = qa.ask("布洛芬能退热吗")
        assert [notice.rule for notice in answer.notices if notice.kind == "extractive"] == ["least_supported"]
        assert answer.sentences and all(s.verdict == "supported" for s in answer.sentences)
        assert_cited(qa, answer)
    with MedQA.load(ward, generator=ScriptedGenerator(invented, quoted)) as qa:  # one half is enough
        answer = qa.ask("布洛芬能退热吗")
        assert [s.text for s in answer.sentences] == [quoted.text]
        assert not [notice for notice in answer.notices if notice.kind == "extractive"]


def test_the_reranker_slot_orders_anew(ward):
    class Longest:
        name = "longest"

        def score(self, query, passages):
            return [float(len(p)) for p in passages]

    with MedQA.load(ward, reranker=Longest()) as qa:
        found = qa.search("布洛芬", k=3)
        lengths = [len(e.text) for e in found]
        assert lengths == sorted(lengths, reverse=True)
        assert [e.ranks["longest"].rank for e in found] == [1, 2, 3]


def test_a_reranker_comes_with_the_package_and_can_be_left_out(ward):
    with MedQA.load(ward) as qa:
        assert qa.reranker.name == "windows"
        assert all("windows" in evidence.ranks for evidence in qa.search("布洛芬", k=3))
    for options in (
        {"reranker": "none"},
        {"config": Config(retrieval=Retrieval(reranker="none"))},
        {"config": Config(retrieval=Retrieval(reranker=None))},
        {"config": Config(retrieval=Retrieval(mode="lexical"))},
        {"config": Config(retrieval=Retrieval(mode="dense"))},
    ):
        with MedQA.load(ward, **options) as qa:
            assert qa.reranker is None
            assert not any("windows" in evidence.ranks for evidence in qa.search("布洛芬", k=3))
    with MedQA.load(ward, config=Config(retrieval=Retrieval(mode="lexical", reranker="windows"))) as qa:
        assert qa.reranker.name == "windows"


def test_names_that_are_not_there(ward, tmp_path):
    with pytest.raises(UnknownNameError, match=r"no generator is called 'gpt', .*there are: echo, extractive"):
        MedQA.load(ward, generator="gpt")
    with pytest.raises(IndexMissingError, match="chimed build"):
        MedQA.load(tmp_path)


def test_an_index_is_kept(tmp_path, documents):
    qa = MedQA.build(documents[:2], tmp_path / "i")
    assert qa.add(documents) == (2, 0, 2, 0, 0)  # added, updated, unchanged, deleted, skipped
    assert qa.search("血钾", k=1)[0].document_id == "potassium"
    changed = Document(id="potassium", title="血钾", text="血钾升高可引起心脏停搏。")
    with pytest.raises(DuplicateError, match="'potassium' is in the index with another text; use upsert"):
        qa.add([changed])
    assert qa.upsert([changed]).updated == 1
    assert "心脏停搏" in qa.search("血钾", k=1)[0].text
    copy = MedQA.load(qa.save(tmp_path / "copy"))
    assert qa.delete(ids=["potassium", "nobody"]).deleted == 1
    assert all(e.document_id != "potassium" for e in qa.search("血钾", k=10))
    assert qa.delete(where={"department": "药学"}).deleted == 2
    qa.compact()
    assert {e.document_id for e in qa.search("血钾", k=10)} == {"hypertension"}
    assert copy.search("血钾", k=1)[0].document_id == "potassium"
    with pytest.raises(InputError, match="exists already"):
        qa.save(tmp_path / "copy")


def test_another_object_sees_changes_when_it_refreshes(tmp_path, documents):
    writer = MedQA.build(documents[:1], tmp_path / "i")
    reader = MedQA.load(tmp_path / "i")
    writer.add(documents[1:])
    assert len(reader) < len(writer)
    assert reader.refresh() is True
    assert len(reader) == len(writer)
    assert reader.refresh() is False


def test_the_starter_literature_is_read_only():
    with MedQA() as qa, pytest.raises(InputError, match=r"qa\.save"):
        qa.add([{"text": "新的文献。"}])


def test_the_starter_answers_with_its_notice():
    with MedQA() as qa:
        answer = qa.ask("孕妇感冒发烧能吃布洛芬吗？")
        assert answer.abstention is None
        assert {"starter", "disclaimer"} <= {n.kind for n in answer.notices}
        assert_cited(qa, answer)


def test_the_shipped_index_is_that_of_the_entries(tmp_path):
    """`make starter` was run after the last change of an entry, of the chunker or of the encoder."""
    entries = sorted(STARTER_INDEX.parent.glob("*.md"))
    with MedQA.build(entries, tmp_path / "fresh") as fresh, MedQA() as shipped:
        assert len(entries) >= 24
        mine, theirs = fresh._view.index, shipped._view.index
        assert [d.content_hash for d in theirs.store.documents()] == [d.content_hash for d in mine.store.documents()]
        assert theirs.manifest.encoder == mine.manifest.encoder
        question = "孕妇发烧了可以吃什么退烧药"
        assert shipped.search(question, k=len(fresh)) == fresh.search(question, k=len(fresh))


@pytest.mark.real_data
def test_every_quote_is_the_text_on_real_literature(shared_data, tmp_path):
    """2,000 sections of a real encyclopedia and 40 real questions: each citation is the document's own text."""
    with gzip.open(shared_data / "corpora/disease_encyclopedia.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in itertools.islice(file, 2000)]
    with gzip.open(shared_data / "eval/huatuo_retrieval_dev/queries.jsonl.gz", "rt", encoding="utf-8") as file:
        questions = [json.loads(line)["text"] for line in itertools.islice(file, 40)]
    with MedQA.build(rows, tmp_path / "i") as qa:
        answers = qa.ask_many(questions)
        assert sum(len(answer.citations) for answer in answers) > 20
        for answer in answers:
            assert_cited(qa, answer)
            for evidence in answer.evidence:
                document = qa.document(evidence.document_id)
                pieces = evidence.source_spans(0, len(evidence.text))
                assert "".join(document.text[a:b] for a, b in pieces) or not evidence.text
