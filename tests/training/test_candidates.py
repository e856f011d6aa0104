"""Candidates are drawn once, kept whole, and drawn the same again after whatever was lost."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from chimed_rag.config import Generation
from chimed_rag.errors import CorpusError, GeneratorError
from chimed_rag.generation.language_model import Completion
from tests.scripted import ScriptedModel
from training.candidates import Prompt, Store, prompts_of, sample, seed_of
from training.contracts import Dialogue

PROMPTS = [Prompt(name, [{"role": "user", "content": f"问题{name}"}], "参考") for name in "abcde"]
HOW = Generation(temperature=1.0, max_new_tokens=8)


class Drawing(ScriptedModel):
    """Writes the seed that it was given; fails at a prompt where it is told to."""

    def __init__(self, fails: str = "") -> None:
        super().__init__("")
        self.drawn, self.fails = 0, fails

    def complete_many(self, conversations, *, settings=None, cancel=None) -> list[Completion | GeneratorError]:
        assert isinstance(settings, Sequence)
        done: list[Completion | GeneratorError] = []
        for messages, how in zip(conversations, settings, strict=True):
            self.drawn += 1
            if self.fails and self.fails in messages[-1]["content"]:
                done.append(GeneratorError("the server hung up"))
            else:
                done.append(Completion(f"答{how.seed}", "stop", 3, 2))
        return done


def score(conversations) -> list[float]:
    return [float(len(one[-1]["content"])) for one in conversations]


def draw(model, store, prompts=PROMPTS):
    return sample(model, prompts, store, k=3, run="7 sft", how=HOW, score=score)


def test_each_is_drawn_by_its_own_seed_scored_and_kept(tmp_path):
    model = Drawing()
    groups = draw(model, Store(tmp_path))
    assert [group.prompt.id for group in groups] == list("abcde")
    for group in groups:
        assert [one.seed for one in group.candidates] == [seed_of("7 sft", group.prompt.id, k) for k in range(3)]
        assert [one.text for one in group.candidates] == [f"答{one.seed}" for one in group.candidates]
        assert [one.reward for one in group.candidates] == [float(len(one.text)) for one in group.candidates]
    assert len({one.seed for group in groups for one in group.candidates}) == 15
    assert draw(model, Store(tmp_path)) == groups
    assert model.drawn == 15


def test_a_file_holds_so_many_prompts(tmp_path):
    groups = draw(Drawing(), Store(tmp_path, shard=2))
    counts = [len(file.read_text("utf-8").splitlines()) for file in sorted(tmp_path.glob("*.jsonl"))]
    assert counts == [2, 2, 1]
    again = Store(tmp_path, shard=2)
    assert [again[name] for name in "abcde"] == [group.candidates for group in groups]


@pytest.mark.parametrize("cut", [1, 40, 400])
def test_half_a_line_is_drawn_again_and_is_the_same(tmp_path, cut, caplog):
    groups = draw(Drawing(), Store(tmp_path))
    file = tmp_path / "candidates-0000.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-cut])
    model = Drawing()
    assert draw(model, Store(tmp_path)) == groups
    assert model.drawn == 3
    assert "cut off" in caplog.text
    assert file.read_bytes() == whole


def test_a_changed_line_is_an_error_that_names_it(tmp_path):
    draw(Drawing(), Store(tmp_path))
    file = tmp_path / "candidates-0000.jsonl"
    file.write_text(file.read_text("utf-8").replace("答", "回", 1), "utf-8")
    with pytest.raises(CorpusError, match=r"candidates-0000\.jsonl, line 1"):
        Store(tmp_path)


def test_what_was_written_before_a_failure_is_kept(tmp_path):
    with pytest.raises(GeneratorError, match="hung up"):
        draw(Drawing(fails="问题c"), Store(tmp_path))
    store = Store(tmp_path)
    assert [name in store for name in "abcde"] == [True, True, False, True, True]
    model = Drawing()
    assert len(draw(model, store)) == 5
    assert model.drawn == 3


def test_a_prompt_is_kept_once(tmp_path):
    store = Store(tmp_path)
    [group, *_] = draw(Drawing(), store)
    with pytest.raises(ValueError, match="there already"):
        store.add("a", group.candidates)


def test_equal_prompts_are_one_and_the_first_reply_is_the_reference():
    def asked(name: str, question: str, reply: str) -> Dialogue:
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
        return Dialogue.model_validate({"id": name, "messages": messages})

    prompts = prompts_of([asked("1", "甲", "一"), asked("2", "乙", "二"), asked("3", "甲", "三")])
    assert [(prompt.messages[-1]["content"], prompt.reference) for prompt in prompts] == [("甲", "一"), ("乙", "二")]
