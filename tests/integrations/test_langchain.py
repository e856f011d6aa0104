"""LangChain: what comes out are LangChain's own objects, in chains, ensembles, batches and running event loops."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

pytest.importorskip("langchain_core", reason="needs the langchain extra")

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField, Runnable, RunnablePassthrough
from langchain_core.tools import create_retriever_tool

from chimed_rag import registry
from chimed_rag.errors import InputError
from chimed_rag.medqa import STARTER_INDEX
from chimed_rag.records import Answer, Evidence, RankEntry

TEXTS = ["布洛芬每日不超过4次。", "孕妇慎用布洛芬。", "对乙酰氨基酚用于退热。", "高血压患者应限盐。"]
QUESTION = "布洛芬一天最多吃几次"


class FakeMedQA:
    """The verbs of `MedQA` that the adapter uses, with a record of the calls."""

    def __init__(self, texts: Sequence[str] = TEXTS, offset: int = 0) -> None:
        self.texts, self.offset = texts, offset
        self.calls: list[tuple[Any, ...]] = []

    def search(self, query: str, k: int = 10, filter: Mapping[str, Any] | None = None) -> list[Evidence]:
        self.calls.append(("search", query, k, filter))
        if k < 1:
            raise InputError(f"k must be at least 1, not {k}")
        return [self._evidence(number, text) for number, text in enumerate(self.texts[:k], 1)]

    def _evidence(self, number: int, text: str) -> Evidence:
        name = f"d{number + self.offset}"
        return Evidence(
            number=number, chunk_id=f"{name}:0", document_id=name, text=text, start=7, end=7 + len(text), page=3,
            title="说明书", headings=("用法", "用量"), source="drugs.txt", url="https://example.org/1",
            date="2024-05-01", licence="CC0", metadata={"department": "药剂科", "year": 2024, "score": "own"},
            score=1 / number, ranks={"dense": RankEntry(rank=number, score=0.5)},
        )  # fmt: skip

    def ask(self, question: str, *, filter: Mapping[str, Any] | None = None) -> Answer:
        self.calls.append(("ask", question, filter))
        return self._answer(question)

    async def aask(self, question: str, *, filter: Mapping[str, Any] | None = None) -> Answer:
        await asyncio.sleep(0)
        self.calls.append(("aask", question, filter))
        return self._answer(question)

    def ask_many(self, questions: Sequence[str], *, filter: Mapping[str, Any] | None = None) -> list[Answer]:
        self.calls.append(("ask_many", tuple(questions), filter))
        return [self._answer(question) for question in questions]

    def _answer(self, question: str) -> Answer:
        if not question.strip():
            raise InputError("the question is empty")
        return Answer(question=question, text=f"答：{question}")


class Recorder(BaseCallbackHandler):
    """Counts what LangChain reports to its callbacks."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_chain_end(self, outputs: Any, **_: Any) -> None:
        self.seen.append("end")

    def on_chain_error(self, error: BaseException, **_: Any) -> None:
        self.seen.append("error")

    def on_retriever_end(self, documents: Any, **_: Any) -> None:
        self.seen.append(f"retrieved {len(documents)}")


@pytest.fixture
def qa() -> FakeMedQA:
    return FakeMedQA()


def retriever_of(qa: Any, **options: Any) -> Any:
    return registry.adapters.get("retriever")(qa, **options)


def runnable_of(qa: Any) -> Any:
    return registry.adapters.get("runnable")(qa)


def joined(documents: list[Document]) -> str:
    return "\n".join(document.page_content for document in documents)


# -- the retriever ----------------------------------------------------------------------------------------------------


def test_documents_carry_text_id_and_provenance(qa: FakeMedQA) -> None:
    retriever = retriever_of(qa)
    assert isinstance(retriever, BaseRetriever)
    document = retriever.invoke(QUESTION)[0]
    assert (document.page_content, document.id) == (TEXTS[0], "d1:0")
    assert document.metadata == {
        "number": 1, "chunk_id": "d1:0", "document_id": "d1", "start": 7, "end": 7 + len(TEXTS[0]), "page": 3,
        "title": "说明书", "headings": ["用法", "用量"], "source": "drugs.txt", "url": "https://example.org/1",
        "date": "2024-05-01", "licence": "CC0", "score": 1.0, "ranks": {"dense": {"rank": 1, "score": 0.5}},
        "department": "药剂科", "year": 2024,
    }  # fmt: skip
    assert json.loads(document.model_dump_json())["metadata"] == document.metadata


def test_k_and_filter_are_defaults_that_a_call_overrides(qa: FakeMedQA) -> None:
    old = {"year": {"$lt": 2000}}
    retriever = retriever_of(qa, k=2, filter=old)
    assert len(retriever.invoke(QUESTION)) == 2
    assert len(retriever.invoke(QUESTION, k=3, filter=None)) == 3
    assert len(retriever.bind(k=1).invoke(QUESTION)) == 1
    assert len((retriever | len | (lambda n: [n])).invoke(QUESTION, k=4)) == 1
    assert [call[2:] for call in qa.calls] == [(2, old), (3, None), (1, old), (4, old)]


def test_k_and_filter_by_config(qa: FakeMedQA) -> None:
    fields = {name: ConfigurableField(id=name) for name in ("k", "filter")}
    retriever = retriever_of(qa, k=2).configurable_fields(**fields)
    config = {"configurable": {"k": 3, "filter": {"department": "药剂科"}}}
    assert len(retriever.invoke(QUESTION, config=config)) == 3
    assert len(asyncio.run(retriever.ainvoke(QUESTION, config=config))) == 3
    assert len(retriever.invoke(QUESTION)) == 2
    assert qa.calls[0] == ("search", QUESTION, 3, {"department": "药剂科"})


def test_errors_are_ours_and_unknown_options_are_refused(qa: FakeMedQA) -> None:
    with pytest.raises(InputError, match="k must be at least 1"):
        retriever_of(qa, k=0).invoke(QUESTION)
    with pytest.raises(TypeError, match="filters"):
        retriever_of(qa).invoke(QUESTION, filters={})


def test_retriever_inside_a_running_loop_and_in_batches(qa: FakeMedQA) -> None:
    retriever = retriever_of(qa, k=2)

    async def everything() -> tuple[Any, ...]:
        return (
            await retriever.ainvoke(QUESTION),
            await retriever.ainvoke(QUESTION, k=1),
            await retriever.abatch(["一", "二", "三"]),
            retriever.invoke(QUESTION),
        )

    one, fewer, many, blocking = asyncio.run(everything())
    assert one == blocking == retriever.invoke(QUESTION)
    assert fewer == one[:1]
    assert many == [one] * 3 == retriever.batch(["一", "二", "三"])


def test_retriever_in_a_chain(qa: FakeMedQA) -> None:
    prompt = ChatPromptTemplate.from_template("资料：{context}\n问题：{question}")
    prompts: list[str] = []

    def spy(value: Any) -> Any:
        prompts.append(value.to_string())
        return value

    gather = {"context": retriever_of(qa, k=2) | joined, "question": RunnablePassthrough()}
    chain = gather | prompt | spy | FakeListChatModel(responses=["四次", "五次"]) | StrOutputParser()
    recorder = Recorder()
    assert chain.invoke(QUESTION, config={"callbacks": [recorder]}) == "四次"
    assert prompts == [f"Human: 资料：{TEXTS[0]}\n{TEXTS[1]}\n问题：{QUESTION}"]
    assert "retrieved 2" in recorder.seen
    assert asyncio.run(chain.ainvoke(QUESTION)) == "五次"


def test_retriever_beside_another_in_an_ensemble(qa: FakeMedQA) -> None:
    ensembles = pytest.importorskip("langchain_classic.retrievers", reason="needs langchain-classic")
    # The same passages d1:0 and d2:0, which the other holds in another wording, and one of its own with a known text.
    other = FakeMedQA(["布洛芬 每日≤4次", "孕妇 慎用"])
    own = FakeMedQA([TEXTS[0]], offset=9)
    retrievers = [retriever_of(each) for each in (qa, other, own)]
    ensemble = ensembles.EnsembleRetriever(retrievers=retrievers, id_key="chunk_id")
    found = ensemble.invoke(QUESTION)
    # Reciprocal ranks (c = 60): d1:0 2/61, d2:0 2/62, d10:0 1/61, d3:0 1/63, d4:0 1/64.
    assert [document.metadata["chunk_id"] for document in found] == ["d1:0", "d2:0", "d10:0", "d3:0", "d4:0"]
    assert asyncio.run(ensemble.ainvoke(QUESTION)) == found


def test_retriever_as_a_tool_and_without_its_index_in_dumps(qa: FakeMedQA) -> None:
    retriever = retriever_of(qa, k=1)
    tool = create_retriever_tool(retriever, "literature", "查文献")
    assert tool.invoke({"query": QUESTION}) == TEXTS[0]
    assert json.loads(retriever.model_dump_json())["k"] == 1
    assert retriever.get_output_schema().model_json_schema()["type"] == "array"


# -- the runnable -----------------------------------------------------------------------------------------------------


def test_question_in_answer_out(qa: FakeMedQA) -> None:
    runnable = runnable_of(qa)
    assert isinstance(runnable, Runnable)
    answer = runnable.invoke(QUESTION)
    assert isinstance(answer, Answer)
    assert runnable.invoke({"question": QUESTION}) == answer
    assert (runnable | (lambda found: found.text)).invoke(QUESTION) == f"答：{QUESTION}"
    assert runnable.get_input_schema().model_validate(QUESTION).root == QUESTION
    assert "sentences" in runnable.get_output_schema().model_json_schema()["properties"]


def test_filters_of_the_question_win_over_those_of_the_call(qa: FakeMedQA) -> None:
    runnable = runnable_of(qa)
    runnable.invoke(QUESTION, filter={"year": 1})
    runnable.bind(filter={"year": 1}).invoke({"question": QUESTION, "filter": {"year": 2}})
    runnable.bind(filter={"year": 1}).invoke({"question": QUESTION, "filter": None})
    assert [call[2] for call in qa.calls] == [{"year": 1}, {"year": 2}, None]


@pytest.mark.parametrize("given", [None, 3, ["问"], {}, {"q": "问"}, {"question": "问", "filters": {}}])
def test_other_inputs_are_refused(qa: FakeMedQA, given: Any) -> None:
    with pytest.raises(InputError, match="a question "):
        runnable_of(qa).invoke(given)
    with pytest.raises(TypeError):
        runnable_of(qa).invoke(QUESTION, filters={})
    assert qa.calls == []


def test_runnable_inside_a_running_loop(qa: FakeMedQA) -> None:
    runnable = runnable_of(qa)

    async def everything() -> tuple[Any, ...]:
        streamed = [chunk async for chunk in runnable.astream(QUESTION)]
        return await runnable.ainvoke(QUESTION), streamed, await runnable.abatch(["一", "二"], filter={"year": 1})

    answer, streamed, many = asyncio.run(everything())
    assert streamed == [answer] == list(runnable.stream(QUESTION))
    assert [each.question for each in many] == ["一", "二"]
    assert [call[0] for call in qa.calls] == ["aask", "aask", "ask_many", "ask"]
    assert qa.calls[2] == ("ask_many", ("一", "二"), {"year": 1})


def test_batch_retrieves_once_for_each_filter_and_keeps_the_order(qa: FakeMedQA) -> None:
    recorder = Recorder()
    new = {"year": {"$gte": 2020}}
    inputs = ["一", {"question": "二", "filter": new}, {"question": "三"}, {"question": "四", "filter": dict(new)}]
    answers = runnable_of(qa).batch(inputs, config={"callbacks": [recorder]})
    assert [answer.question for answer in answers] == ["一", "二", "三", "四"]
    assert qa.calls == [("ask_many", ("一", "三"), None), ("ask_many", ("二", "四"), new)]
    assert recorder.seen == ["end"] * 4
    assert runnable_of(qa).batch([]) == []


def test_batch_with_a_bad_question(qa: FakeMedQA) -> None:
    runnable, recorder = runnable_of(qa), Recorder()
    with pytest.raises(InputError, match="empty"):
        runnable.batch(["一", " ", "三"])
    assert len(qa.calls) == 1
    config = {"callbacks": [recorder]}
    for answers in (
        runnable.batch(["一", " ", 3], config=config, return_exceptions=True),
        asyncio.run(runnable.abatch(["一", " ", 3], config=config, return_exceptions=True)),
    ):
        assert [type(answer) for answer in answers] == [Answer, InputError, InputError]
    assert sorted(recorder.seen) == ["end"] * 2 + ["error"] * 4


def test_a_chain_of_questions_is_one_batch(qa: FakeMedQA) -> None:
    chain = (lambda question: question + "？") | runnable_of(qa) | (lambda answer: answer.text)
    assert chain.batch(["一", "二"]) == ["答：一？", "答：二？"]
    assert qa.calls == [("ask_many", ("一？", "二？"), None)]


# -- the real thing ---------------------------------------------------------------------------------------------------


def test_without_langchain_the_pip_command_is_named() -> None:
    program = """
import sys
sys.modules["langchain_core"] = None
from chimed_rag import registry
from chimed_rag.errors import MissingExtraError
for name in ("retriever", "runnable"):
    try:
        registry.adapters.get(name)
    except MissingExtraError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["langchain_core is not installed; run: pip install 'chimed-rag[langchain]'"] * 2


def test_on_the_starter_literature() -> None:
    if not STARTER_INDEX.exists():
        pytest.skip(f"the starter index is not built: {STARTER_INDEX}")
    from chimed_rag.medqa import MedQA

    with MedQA() as qa:
        documents = qa.as_retriever(k=3).invoke(QUESTION)
        assert [document.id for document in documents] == [evidence.chunk_id for evidence in qa.search(QUESTION, k=3)]
        assert len(qa.as_retriever().invoke(QUESTION, k=2)) == 2
        runnable = qa.as_runnable()
        expected = qa.ask(QUESTION).text
        assert runnable.invoke(QUESTION).text == expected
        assert asyncio.run(runnable.ainvoke(QUESTION)).text == expected
        assert [answer.text for answer in runnable.batch([QUESTION, {"question": QUESTION}])] == [expected] * 2
