"""Answers that language models write, over the starter literature: whatever is written, what is shown is proved."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chimed_rag import Answer, MedQA
from chimed_rag.config import Config
from chimed_rag.errors import GeneratorError, InputError, UnknownNameError
from chimed_rag.generation.budget import fit
from chimed_rag.generation.chimed_gpt import ChiMedGPT
from chimed_rag.generation.echo import EchoGenerator
from chimed_rag.generation.endpoint import EndpointGenerator
from chimed_rag.generation.prompts import load_prompt
from chimed_rag.generation.tiny import make_tiny_model
from tests.servers import ScriptedServer, says

SHORT = Config.model_validate({"generation": {"max_new_tokens": 16, "context_tokens": 1024}})
KNOWN = ("布洛芬一天最多吃几次？", "烫伤了怎么处理？")
QUESTIONS = Path(__file__).with_name("starter_questions.jsonl")


@pytest.fixture(scope="session")
def nonsense(tmp_path_factory) -> Path:
    """A model of random weights."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "nonsense")


@pytest.fixture(scope="session")
def learned(tmp_path_factory) -> Path:
    """A model that has learned by heart what to say to two questions, as `MedQA` asks them."""
    lessons = []
    with MedQA(config=SHORT) as qa:
        for question in KNOWN:
            answer = qa.ask(question)
            said = "".join(f"{s.text}[{s.citations[0].number}]" for s in answer.sentences[:2])
            prompt = load_prompt("citation")
            room = 1024 - 128
            lessons.append((prompt, question, answer.evidence, said, room))
    folder = tmp_path_factory.mktemp("models") / "learned"
    tokens = ChiMedGPT(make_tiny_model(folder / "untaught"))
    taught = [
        (fit(prompt, question, evidence, tokens.count_tokens, room).messages, said)
        for prompt, question, evidence, said, room in lessons
    ]
    tokens.close()
    shutil.rmtree(folder / "untaught")
    return make_tiny_model(folder, lessons=taught)


def some_questions(n: int) -> list[str]:
    rows = [json.loads(line)["question"] for line in QUESTIONS.read_text("utf-8").splitlines()]
    return random.Random(0).sample(rows, n)


def whole(answer: Answer, qa: MedQA) -> None:
    """What holds for every answer, whoever wrote it."""
    assert Answer.model_validate_json(answer.model_dump_json()) == answer
    assert (answer.abstention is None) == bool(answer.sentences)
    for sentence in answer.sentences:
        assert sentence.verdict == "supported"
        assert sentence.checks
        for citation in sentence.citations:
            document = qa.document(citation.document_id)
            assert document is not None
            assert document.text[citation.start : citation.end] == citation.quote


@pytest.mark.parametrize("kind", ["tiny", "echo", "endpoint"])
def test_a_hundred_questions_are_answered_with_proved_sentences_only(kind, nonsense):
    with ScriptedServer() as server:
        server.script = [says("多饮水，注意休息。[1]布洛芬一次用20克。[1]")]
        generator = {"tiny": nonsense, "echo": EchoGenerator(), "endpoint": server.url}[kind]
        with MedQA(generator=generator, config=SHORT) as qa:
            answers = qa.ask_many(some_questions(100))
            for answer in answers:
                whole(answer, qa)
                assert answer.generator == qa.generator.name
    assert sum(answer.abstention is None for answer in answers) > 50


def test_what_a_model_writes_right_is_shown_as_its_own(learned):
    settings = Config.model_validate({"generation": {"max_new_tokens": 128, "context_tokens": 1024}})
    with MedQA(generator=learned, config=settings) as qa:
        for question in KNOWN:
            answer = qa.ask(question)
            whole(answer, qa)
            assert "extractive" not in [notice.kind for notice in answer.notices]
            events = [event.kind for event in qa.stream(question)]
            assert events.index("evidence") < events.index("sentence") < events.index("done")
        assert answer.generator == "chimed-gpt:learned"
        generation = next(step.detail for step in answer.trace if step.step == "generation")
        assert generation["prompt"] == "citation@1"
        assert len(str(generation["prompt_sha256"])) == 64
        assert [a.text for a in qa.ask_many(list(KNOWN))] == [qa.ask(question).text for question in KNOWN]


def test_threads_and_tasks_on_one_model_lose_and_mix_nothing(learned):
    settings = Config.model_validate({"generation": {"max_new_tokens": 128, "context_tokens": 1024}})
    questions = list(KNOWN) * 16

    async def everything(qa: MedQA) -> list[Answer | BaseException]:
        tasks = [asyncio.create_task(qa.aask(question)) for question in list(KNOWN) * 20]
        await asyncio.sleep(0.2)
        tasks[3].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    with MedQA(generator=learned, config=settings) as qa:
        expected = {question: qa.ask(question).text for question in KNOWN}
        with ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(qa.ask, questions))
        gathered = asyncio.run(everything(qa))
    assert [answer.text for answer in answers] == [expected[question] for question in questions]
    for place, answer in enumerate(gathered):
        if place == 3:
            assert isinstance(answer, asyncio.CancelledError)
        else:
            assert isinstance(answer, Answer)
            assert answer.text == expected[KNOWN[place % 2]]


def test_the_ladder_takes_the_best_rung_that_holds(nonsense, monkeypatch, caplog):
    for name in ("CHIMED_ENDPOINT", "CHIMED_ENDPOINT_MODEL", "CHIMED_MODEL"):
        monkeypatch.delenv(name, raising=False)
    with MedQA(generator="auto") as qa:
        assert qa.generator.name == "extractive"
    monkeypatch.setenv("CHIMED_MODEL", str(nonsense))
    with MedQA(generator="auto", config=SHORT) as qa:
        assert qa.ask("烫伤了怎么处理？").generator == "chimed-gpt:nonsense"
    with ScriptedServer() as server:
        server.script = [says("多饮水。[1]")]
        monkeypatch.setenv("CHIMED_ENDPOINT", server.url)
        with MedQA(generator="auto") as qa:
            assert qa.ask("烫伤了怎么处理？").generator.startswith("endpoint:")
    assert not caplog.records
    monkeypatch.setenv("CHIMED_ENDPOINT_MODEL", "medical")
    with MedQA(generator="auto", config=SHORT) as qa:  # the server is gone
        assert qa.generator.name == "chimed-gpt:nonsense"
    assert "CHIMED_ENDPOINT is passed over" in caplog.text
    monkeypatch.setenv("CHIMED_MODEL", str(nonsense / "nowhere"))
    with MedQA(generator="auto") as qa:
        assert qa.generator.name == "extractive"


def test_what_a_generator_may_be(nonsense, tmp_path):
    with ScriptedServer() as server, MedQA(generator=server.url) as qa:
        assert isinstance(qa.generator, EndpointGenerator)
        assert not server.asked
    with MedQA(generator=str(nonsense)) as qa:
        assert isinstance(qa.generator, ChiMedGPT)
    for wrong, error, said in (
        ("chimed-gpt", InputError, "folder or hub name"),
        ("endpoint", InputError, "address of the server"),
        ("gpt", UnknownNameError, "extractive"),
        (tmp_path, GeneratorError, "config.json"),
        (str(tmp_path / "absent"), GeneratorError, "absent"),
        (3, InputError, "generate"),
    ):
        with pytest.raises(error, match=said):
            MedQA(generator=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("context", [256, 512])
def test_a_small_context_serves_a_short_question_and_refuses_a_long_one(nonsense, context):
    small = Config.model_validate({"generation": {"max_new_tokens": 64, "context_tokens": context}})
    with MedQA(generator=nonsense, config=small) as qa:
        whole(qa.ask("烫伤了怎么处理？"), qa)
        answer = qa.ask("烫伤了怎么处理？" + "手上起了水泡很疼" * 200)
        whole(answer, qa)
        assert "generator_failed" in [notice.rule for notice in answer.notices] or answer.abstention is not None
        assert isinstance(qa.generator, ChiMedGPT)
        with pytest.raises(GeneratorError, match="tokens"):
            qa.generator.generate("烫伤了怎么处理？" * 200, qa.ask("烫伤了怎么处理？").evidence)
