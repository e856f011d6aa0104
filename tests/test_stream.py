"""Streaming with proof: what comes when, what is withdrawn, who stops whom; `ask` gives the same answer."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from scripted import ScriptedModel

from chimed_rag import MedQA
from chimed_rag.answering import FAILED, NOT_TOLD, STANDS_IN
from chimed_rag.config import Config
from chimed_rag.errors import GeneratorError, InputError
from chimed_rag.generation.echo import EchoGenerator
from chimed_rag.records import Answer, DoneEvent, Event

QUESTION = "布洛芬怎么用？"
TRUE = "成人一次0.2g，每4至6小时一次。[1]孕晚期妇女禁用布洛芬。[1]"
FALSE = "成人一次2g，每小时一次。[1]孕晚期妇女可以用布洛芬。[1]布洛芬能治愈癌症。[1]"


def load(ward: Path, generator: object, **config: object) -> MedQA:
    return MedQA.load(ward, generator=generator, config=Config.model_validate(config))


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events]


def sentences(events: list[Event]) -> list[str]:
    """The sentences that stand when all events are read: a notice of kind `extractive` withdraws those before it."""
    standing: list[str] = []
    for event in events:
        if event.kind == "sentence":
            standing.append(event.sentence.text)
        elif event.kind == "notice" and event.notice.kind == "extractive":
            standing.clear()
    return standing


def same(streamed: Answer, asked: Answer) -> None:
    """Equal but for the trace, which holds times."""
    assert streamed.model_copy(update={"trace": ()}) == asked.model_copy(update={"trace": ()})


@pytest.mark.parametrize(
    "said",
    [
        TRUE,
        FALSE,
        TRUE + FALSE,
        "",
        "。。。",
        "我不知道。",
        "[9]",
        "布洛芬" * 200,
        "所给文献没有说明。",
        TRUE + "所给文献没有说明。",
    ],
)
@pytest.mark.parametrize("config", [{}, {"unsupported": "flag"}, {"least_supported": 0}, {"audience": "doctor"}])
@pytest.mark.parametrize("question", [QUESTION, "我胸痛，能吃布洛芬吗？", "量子力学是什么", "布洛芬我该吃几片？"])
def test_the_events_of_a_question_are_its_answer(ward, said, config, question):
    with load(ward, ScriptedModel(said), **config) as qa:
        events = list(qa.stream(question))
        done = events[-1]
        assert isinstance(done, DoneEvent)
        same(done.answer, qa.ask(question))
    assert sentences(events) == [sentence.text for sentence in done.answer.sentences]
    noticed = [event.notice for event in events if event.kind == "notice"]
    assert sorted(noticed, key=str) == sorted(done.answer.notices, key=str)
    assert kinds(events).count("evidence") == 1


def test_quoting_generators_stream_too(ward):
    for generator in ("extractive", EchoGenerator()):
        with load(ward, generator) as qa:
            *events, done = qa.stream(QUESTION)
            same(done.answer, qa.ask(QUESTION))
            assert sentences(events) == [sentence.text for sentence in done.answer.sentences]


def test_a_sentence_comes_while_the_model_writes_the_next(ward):
    read = threading.Event()

    def script(messages):
        yield "成人一次0.2g，每4至6小时一次。[1]"
        yield "孕晚期"
        assert read.wait(10), "nobody read the first sentence before the second was written"
        yield "妇女禁用布洛芬。[1]"

    seen = []
    with load(ward, ScriptedModel(script)) as qa:
        for event in qa.stream(QUESTION):
            seen.append(event)
            if event.kind == "sentence":
                read.set()
    assert sentences(seen) == ["成人一次0.2g，每4至6小时一次。", "孕晚期妇女禁用布洛芬。"]
    assert all(event.sentence.verdict == "supported" for event in seen if event.kind == "sentence")


def test_an_emergency_is_told_before_anything_is_searched(ward):
    with load(ward, ScriptedModel(TRUE)) as qa:
        first = next(qa.stream("我突然胸口剧痛，喘不上气，能吃布洛芬吗？"))
    assert first.kind == "notice"
    assert first.notice.kind == "emergency"


def test_a_false_sentence_is_never_shown(ward):
    with load(
        ward, ScriptedModel("成人一次0.2g，每4至6小时一次。[1]孕晚期妇女可以用布洛芬。[1]"), least_supported=0
    ) as qa:
        events = list(qa.stream(QUESTION))
    assert sentences(events) == ["成人一次0.2g，每4至6小时一次。"]
    assert "可以用" not in str([event for event in events if event.kind != "evidence"])


def test_too_little_is_proved_and_the_sentences_before_are_withdrawn(ward):
    with load(ward, ScriptedModel("孕晚期妇女禁用布洛芬。[1]" + FALSE)) as qa:
        events = list(qa.stream(QUESTION))
    first = next(event for event in events if event.kind == "sentence")
    assert first.sentence.text == "孕晚期妇女禁用布洛芬。"
    notice = next(event.notice for event in events if event.kind == "notice" and event.notice.kind == "extractive")
    assert (notice.text, notice.rule) == (STANDS_IN, "least_supported")
    assert events[-1].answer.sentences


def test_a_model_that_finds_nothing_told_is_believed(ward):
    with load(ward, ScriptedModel("所给文献没有说明。")) as qa:
        answer = qa.ask(QUESTION)
        assert answer.abstention == NOT_TOLD
        assert not answer.sentences
        same(list(qa.stream(QUESTION))[-1].answer, answer)


def test_a_model_that_goes_on_with_a_next_question_is_stopped_there(ward):
    def script(messages):
        yield from (
            "成人一次0.2g，每4至6小时一次。[1]\n问",
            "题：血钾的参考范围是多少？\n回答：血钾的参考范围为3.5~5.5mmol/L。[3]",
        )
        raise AssertionError("it was asked for more")

    with load(ward, ScriptedModel(script)) as qa:
        events = list(qa.stream(QUESTION))
    assert sentences(events) == ["成人一次0.2g，每4至6小时一次。"]
    with load(ward, ScriptedModel("".join(("成人一次0.2g，每4至6小时一次。[1]\n问题：", "血钾正常吗？")))) as qa:
        assert [sentence.text for sentence in qa.ask(QUESTION).sentences] == ["成人一次0.2g，每4至6小时一次。"]


@pytest.mark.parametrize("before", ["", "孕晚期妇女禁用布洛芬。[1]成人"])
def test_a_model_that_fails_is_stood_in_for(ward, before):
    model = ScriptedModel(lambda messages: [before, GeneratorError("the server hung up")])
    with load(ward, model) as qa:
        asked = qa.ask(QUESTION)
        events = list(qa.stream(QUESTION))
        many = qa.ask_many([QUESTION, "血钾的参考范围是多少？"])
    for answer in (asked, events[-1].answer, *many):
        assert answer.abstention is None
        assert [(n.text, n.rule) for n in answer.notices if n.kind == "extractive"] == [(FAILED, "generator_failed")]
        assert all(sentence.verdict == "supported" for sentence in answer.sentences)
        steps = [step.detail for step in answer.trace if step.step == "generation"]
        assert [step.get("finish") for step in steps] == ["failed", None]
        assert "hung up" not in answer.model_dump_json()


def test_why_a_model_failed_is_logged_without_the_question(ward, caplog):
    for said, logged in (("the server hung up", True), (f"422: cannot read 我叫张伟，{QUESTION}", False)):
        caplog.clear()
        with load(ward, ScriptedModel(lambda messages, said=said: [GeneratorError(said)])) as qa:
            qa.ask(QUESTION)
        [record] = caplog.records
        assert "scripted failed" in record.message
        assert (said in record.message) == logged
        assert QUESTION not in caplog.text


def test_one_failure_of_many_leaves_the_others(ward):
    def script(messages):
        return [GeneratorError("no")] if "血钾" in messages[-1]["content"].splitlines()[-1] else [TRUE]

    with load(ward, ScriptedModel(script)) as qa:
        first, second = qa.ask_many([QUESTION, "血钾的参考范围是多少？"])
    assert "extractive" not in [notice.kind for notice in first.notices]
    assert "extractive" in [notice.kind for notice in second.notices]


def test_leaving_the_loop_stops_the_model_and_the_log_holds_what_was_shown(ward, tmp_path):
    def endless(messages):
        yield "成人一次0.2g，每4至6小时一次。[1]"
        while True:
            yield "孕晚期妇女禁用布洛芬。[1]"

    model = ScriptedModel(endless)
    with load(ward, model, audit={"folder": str(tmp_path / "log")}) as qa:
        for event in qa.stream(QUESTION):
            if event.kind == "sentence":
                break
        # A loop that is left closes its generator when nobody holds it any more.
        del event
    assert model.closed == 1
    [line] = [line for file in (tmp_path / "log").glob("*.jsonl") for line in file.read_text("utf-8").splitlines()]
    record = json.loads(line)
    shown = hashlib.sha256("成人一次0.2g，每4至6小时一次。".encode()).hexdigest()
    assert [sentence["sha256"] for sentence in record["sentences"]] == [shown]
    assert "interrupted" in [notice["kind"] for notice in record["notices"]]


def test_errors_come_with_the_first_event(ward):
    with load(ward, ScriptedModel(TRUE)) as qa, pytest.raises(InputError, match="empty"):
        next(qa.stream("  "))


def test_personal_words_return_in_events_and_go_nowhere_else(ward):
    model = ScriptedModel("孕晚期妇女禁用布洛芬。[1]")
    with load(ward, model) as qa:
        events = list(qa.stream("我叫张伟，电话13812345678，布洛芬怎么用？"))
    assert "13812345678" not in str(model.prompts)
    assert "张伟" not in str(model.prompts)
    assert events[-1].answer.question.startswith("我叫张伟")
    assert "13812345678" not in str(events[-1].answer.trace)


async def _streamed(qa: MedQA, question: str) -> list[Event]:
    return [event async for event in qa.astream(question)]


def test_the_asynchronous_twin_gives_the_same(ward):
    with load(ward, ScriptedModel(TRUE)) as qa:
        events = asyncio.run(_streamed(qa, QUESTION))
        same(events[-1].answer, qa.ask(QUESTION))
        with pytest.raises(InputError, match="empty"):
            asyncio.run(_streamed(qa, " "))
    assert kinds(events) == kinds(list(load(ward, ScriptedModel(TRUE)).stream(QUESTION)))


def _slow(until: threading.Event, started: threading.Event | None = None):
    def script(messages):
        for _ in range(2000):
            if started is not None:
                started.set()
            if until.is_set():
                break
            time.sleep(0.005)
            yield ""
        yield TRUE

    return script


def test_a_cancelled_task_stops_its_model(ward):
    started = threading.Event()
    model = ScriptedModel(_slow(threading.Event(), started))

    async def cancelled(qa: MedQA) -> None:
        for work in (qa.aask(QUESTION), _streamed(qa, QUESTION)):
            started.clear()
            task = asyncio.create_task(work)
            await asyncio.to_thread(started.wait, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with load(ward, model) as qa:
        asyncio.run(cancelled(qa))
        for _ in range(400):
            if model.closed == 2:
                break
            time.sleep(0.01)
        assert model.closed == 2


TOPICS = {
    "布洛芬怎么用？": "成人一次0.2g，每4至6小时一次。[1]",
    "血钾的参考范围是多少？": "血钾的参考范围为3.5~5.5mmol/L。[1]",
    "高血压怎么治疗？": "治疗包括限盐、减重、规律运动和长期服用降压药。[1]",
    "孕妇发热能用对乙酰氨基酚吗？": "孕妇发热时可在医生指导下短期使用对乙酰氨基酚。[1]",
}


def by_topic(messages):
    """What is right for the question asked, after a moment in which other questions come in."""
    asked = messages[-1]["content"]
    said = next(text for question, text in TOPICS.items() if question in asked)
    for place in range(0, len(said), 4):
        time.sleep(0.0005)
        yield said[place : place + 4]


def test_threads_and_tasks_lose_and_mix_nothing(ward):
    questions = list(TOPICS) * 50

    async def everything(qa: MedQA) -> list[Answer | BaseException]:
        tasks = [asyncio.create_task(qa.aask(question)) for question in questions]
        await asyncio.sleep(0.05)
        for task in tasks[::20]:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    with load(ward, ScriptedModel(by_topic), least_supported=0) as qa:
        expected = {question: qa.ask(question) for question in TOPICS}
        with ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(qa.ask, questions))
        gathered = asyncio.run(everything(qa))
    for question, answer in zip(questions, answers, strict=True):
        same(answer, expected[question])
        assert answer.sentences
    for place, (question, answer) in enumerate(zip(questions, gathered, strict=True)):
        if isinstance(answer, BaseException):
            assert place % 20 == 0
            assert isinstance(answer, asyncio.CancelledError)
        else:
            same(answer, expected[question])
