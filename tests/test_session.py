"""Conversations: follow-ups understood, turns kept with pseudonyms, saved, resumed, cleared; one question at a time."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from scripted import ScriptedModel

from chimed_rag import MedQA
from chimed_rag.condensing import condense
from chimed_rag.config import Config
from chimed_rag.errors import GeneratorError, InputError
from chimed_rag.records import Answer, DoneEvent
from chimed_rag.rephrasing import fault, rephrased
from chimed_rag.session import Session

FIRST = "孕妇发热能用布洛芬吗？"


class Stub:
    """A `MedQA` as far as a session needs one: it answers by saying what it was asked."""

    generator = None

    def __init__(self, redacts=True):
        self._threads = ThreadPoolExecutor(4)
        self.redacts = redacts
        self.running = self.most = 0

    def _ask_in(self, question, *, redactor, standalone, filter=None, user=None):
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            text = standalone(redactor.redact(question).text if self.redacts else question)
            if "失败" in question:
                raise InputError("no")
            return Answer(question=question, text=redactor.restore(f"关于“{text}”的回答。"))
        finally:
            self.running -= 1

    def _stream_in(self, question, *, redactor, standalone, filter=None, user=None, cancel=None):
        yield DoneEvent(answer=self._ask_in(question, redactor=redactor, standalone=standalone))


@pytest.fixture
def stub():
    stub = Stub()
    yield stub
    stub._threads.shutdown()


def standalone(answer):
    return next(step.detail["standalone"] for step in answer.trace if step.step == "conversation")


def test_a_follow_up_is_answered_as_what_it_means(qa):
    session = Session(qa)
    session.ask(FIRST)
    answer = session.ask("那对乙酰氨基酚呢？")
    assert answer.question == "那对乙酰氨基酚呢？"
    assert standalone(answer) == "孕妇发热能用对乙酰氨基酚吗？"
    assert {one.document_id for one in answer.citations} == {"acetaminophen"}
    assert session.turns[1].citations == tuple(dict.fromkeys(one.chunk_id for one in answer.citations))
    new = session.ask("高血压怎么诊断？")
    assert standalone(new) == "高血压怎么诊断？"
    assert new.text == qa.ask("高血压怎么诊断？").text


def test_stream_and_its_twins_keep_turns_too(qa):
    session = Session(qa)
    *_, done = session.stream(FIRST)
    assert done.answer.text == qa.ask(FIRST).text

    async def rest():
        answer = await session.aask("那对乙酰氨基酚呢？")
        events = [event async for event in session.astream("它过量会怎样？")]
        return answer, events[-1].answer

    second, third = asyncio.run(rest())
    assert standalone(second) == "孕妇发热能用对乙酰氨基酚吗？"
    assert "对乙酰氨基酚" in standalone(third)
    assert [turn.question for turn in session.turns] == [FIRST, "那对乙酰氨基酚呢？", "它过量会怎样？"]
    qa.close()


@pytest.mark.parametrize("redacts", [True, False])
def test_no_identifier_is_kept_or_saved(redacts, tmp_path):
    session = Session(Stub(redacts))
    answer = session.ask("我叫王小明，手机13812345678，布洛芬怎么吃？")
    assert "王小明" in answer.text  # its reader gets it back
    session.ask("那孕妇呢？王小明的妻子")
    session.save(tmp_path / "talk.json")
    for text in (repr(session.turns), (tmp_path / "talk.json").read_text("utf-8")):
        assert "王小明" not in text and "13812345678" not in text
    assert "〔姓名1〕" in session.turns[0].question and "〔姓名1〕" in session.turns[1].question


def test_saved_and_resumed(stub, tmp_path):
    session = Session(stub)
    session.ask("我叫王小明，感冒发烧能吃布洛芬吗？")
    session.save(tmp_path / "talk.json")
    again = Session.resume(stub, tmp_path / "talk.json")
    assert again.turns == session.turns and again.resumed and not session.resumed
    assert json.loads((tmp_path / "talk.json").read_text("utf-8"))["schema_version"] == 1
    again.ask("我叫李大海，感冒发烧能吃布洛芬吗？")
    assert "〔姓名2〕" in again.turns[1].question  # 〔姓名1〕 is somebody else's
    assert "孕妇" in again.ask("那孕妇呢？").text
    assert "不再能还原" in again._repr_html_() and "〔姓名1〕" in again._repr_html_()
    assert list(tmp_path.iterdir()) == [tmp_path / "talk.json"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"turns": [{}]}', '{"schema_version": 2, "turns": []}', "\xff"])
def test_what_is_no_conversation_is_named(stub, tmp_path, content):
    (tmp_path / "talk.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"talk\.json: is no saved conversation"):
        Session.resume(stub, tmp_path / "talk.json")


def test_files_that_cannot_be_read_or_written(stub, tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        Session.resume(stub, tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot be written"):
        Session(stub).save(tmp_path / "none" / "talk.json")


def test_clear_forgets_turns_and_identifiers(stub):
    session = Session(stub)
    session.ask("我叫王小明，感冒发烧能吃布洛芬吗？")
    session.clear()
    assert session.turns == ()
    session.ask("我叫李大海，那孕妇呢？")
    assert session.turns[0].kind == "stands_alone"
    assert "王小明" not in session._repr_html_()
    assert session._redactor.restore("〔姓名1〕") == "李大海"


def test_a_failing_question_changes_nothing(stub):
    session = Session(stub)
    session.ask(FIRST)
    with pytest.raises(InputError):
        session.ask("失败")
    assert [turn.question for turn in session.turns] == [FIRST]
    assert session.ask("那儿童呢？").text.startswith("关于“儿童")


def test_a_stream_that_is_left_adds_no_turn(qa):
    session = Session(qa)
    events = session.stream(FIRST)
    assert next(events).kind != "done"
    with pytest.raises(InputError, match="close"):
        session.ask("高血压怎么诊断？")
    events.close()
    session.ask("高血压怎么诊断？")
    assert [turn.question for turn in session.turns] == ["高血压怎么诊断？"]


def test_one_question_at_a_time(stub):
    session = Session(stub)
    threads = [threading.Thread(target=session.ask, args=(f"高血压{n}怎么治？",)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stub.most == 1 and len(session.turns) == 16


def test_sessions_side_by_side_do_not_mix(stub):
    drugs = ["布洛芬", "华法林", "氯雷他定", "二甲双胍", "阿托伐他汀", "氨氯地平"]

    def talk(drug):
        session = Session(stub)
        session.ask(f"{drug}怎么吃？")
        for _ in range(5):
            session.ask("饭前吃还是饭后吃？")
        return session.turns

    with ThreadPoolExecutor(6) as pool:
        for drug, turns in zip(drugs, pool.map(talk, drugs), strict=True):
            assert {turn.standalone for turn in turns[1:]} == {f"{drug}饭前吃还是饭后吃？"}


def test_the_conversation_in_a_notebook_is_escaped(stub):
    session = Session(stub)
    session.ask("<script>alert(1)</script>布洛芬<b>怎么</b>吃？")
    html = session._repr_html_()
    assert "<script>" not in html and "<b>怎么" not in html and "&lt;script&gt;" in html
    assert session.ask("饭前吃还是饭后吃？") and "理解为：" in session._repr_html_()


# -- with a language model ----------------------------------------------------------------------------------------

GOOD = "孕妇感冒发烧能吃布洛芬吗？"
HISTORY = ["感冒发烧能吃布洛芬吗？"]


def test_what_the_model_wrote_is_used_and_recorded():
    condensed, by = rephrased("那孕妇呢？", HISTORY, ["可以。"], ScriptedModel(GOOD))
    assert (condensed.text, condensed.kind, by) == (GOOD, "rewritten", "model")


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "nothing"),
        ("孕妇感冒发烧\n能吃布洛芬吗？", "one line"),
        ("孕妇" * 101, "one line"),
        ("孕妇感冒发烧能吃阿司匹林吗？", "阿司匹林"),
        ("孕妇感冒发烧能吃3片布洛芬吗？", "3"),
        ("感冒发烧能吃布洛芬吗？", "left out 妊娠"),
        ("孕妇〔姓名7〕能吃布洛芬吗？", "〔姓名7〕"),
        (GeneratorError("out of memory"), "out of memory"),
    ],
)
def test_what_it_must_not_write_gives_way_to_the_rule(written, reason):
    condensed, by = rephrased("那孕妇呢？", HISTORY, [], ScriptedModel(lambda messages: [written]))
    assert condensed == condense("那孕妇呢？", HISTORY)
    assert by.startswith("rule: ") and reason in by


def test_a_question_with_a_topic_of_its_own_asks_no_model():
    model = ScriptedModel(GOOD)
    condensed, by = rephrased("高血压怎么治疗？", HISTORY, [], model)
    assert (condensed.text, by, model.prompts) == ("高血压怎么治疗？", "rule", [])


def test_old_turns_go_until_the_prompt_fits_a_third_of_the_context():
    model = ScriptedModel(GOOD)
    model.context_tokens = 1500
    rephrased("那孕妇呢？", [f"第{n}个问题，布洛芬怎么吃？" for n in range(40)], ["好" * 300] * 40, model)
    assert model.count_tokens(model.prompts[0]) <= 500


def test_the_numbers_and_names_of_the_answers_may_be_used():
    assert fault("对乙酰氨基酚500毫克怎么吃", "第二种呢", ["布洛芬、对乙酰氨基酚500毫克"]) == ""


def test_in_a_session_the_model_is_asked_and_the_turn_says_so(ward):
    def script(messages):
        return [GOOD] if "那孕妇呢" in messages[-1]["content"] else ["布洛芬用于退热。[1]"]

    with MedQA.load(ward, generator=ScriptedModel(script), config=Config()) as qa:
        session = Session(qa)
        session.ask(HISTORY[0])
        assert standalone(session.ask("那孕妇呢？")) == GOOD
    assert [turn.by for turn in session.turns] == ["rule", "model"]
