"""What an answer costs over the bare model: prompt, streaming, proof and records beside `model.generate`, on the CPU.

    python benchmarks/generation.py

The model is tiny (`generation.tiny`) and has learned one reply for each question by heart: sentences of the evidence
with their marks, about 200 tokens, so that there is something to prove. A model this small takes a millisecond for a
token, as a 13B one takes ten on a GPU: what is added weighs more here than it will there. Each round asks every
question in every way, one after the other in changing order; `over bare` is the median of the ratios within a round.
Bare is transformers' `generate` with the same prompt tokens, for as many tokens, on the same cores: greedy, and not
one of our objects around it. Searching (rewriting and retrieval, from the trace) is no part of what is added to a
model; `less search` leaves it out, and the goal is for that.
Not measured: what the answers are worth, many questions at once, GPUs (`gpu_generation.py`).
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

from _common import Row, parser, report

QUESTIONS = ("血钾的正常范围是多少？", "布洛芬一天最多吃几次？", "高血压怎么诊断？", "糖尿病人能吃西瓜吗？")
TOKENS = 200
GOAL = 0.20
SEARCH = ("rewriting", "retrieval")
COLUMNS = [
    "way", "ms p50", "over bare", "less search", "cpu over bare", "goal", "first ms p50", "tokens", "sentences",
    "proved", "n",
]  # fmt: skip


@dataclass
class Asked:
    """A question, what the model was told, and the reply that it learned."""

    question: str
    messages: list[Any]
    reply: str


@dataclass
class Took:
    """One answer: seconds, of them searching, until the first piece or sentence; sentences, and those proved.

    `cpu` is the time of the processor, of all threads: it does not grow when others use the machine.
    """

    seconds: float
    search: float = 0.0
    first: float | None = None
    sentences: int = 0
    proved: int = 0
    cpu: float = 0.0


def prepared(folder: Path, questions: Sequence[str], settings: Any) -> list[Asked]:
    """The conversations that `MedQA` makes of the questions, each with a reply out of its evidence."""
    from chimed_rag import MedQA
    from chimed_rag.generation.chimed_gpt import ChiMedGPT
    from chimed_rag.generation.tiny import make_tiny_model

    heard: list[tuple[Any, Any]] = []

    class Listening(ChiMedGPT):
        def generate_many(self, asked: Any, **how: Any) -> Any:
            heard.extend((self._messages(question, evidence), evidence) for question, evidence in asked)
            return super().generate_many(asked, **how)

    with closing(Listening(make_tiny_model(folder), settings=settings, style="native", device="cpu")) as llm:
        for question in questions:
            MedQA(generator=llm).ask(question)
            if len(heard) == 0 or len(heard) > len(questions):
                sys.exit(f"{question}: not asked of the model")
        return [
            Asked(question, messages, _reply(evidence, lambda text: llm.count_tokens([_said(text)])))
            for question, (messages, evidence) in zip(questions, heard, strict=True)
        ]


def _said(text: str) -> Any:
    return {"role": "user", "content": text}


def _reply(evidence: Sequence[Any], count: Callable[[str], int]) -> str:
    """Sentences of the evidence, best passage first, each with its mark, until they make `TOKENS` tokens."""
    from chimed_rag.text import sentence_spans

    reply, tags = "", count("。") - 1
    for passage in evidence:
        for begin, end in sentence_spans(passage.text):
            sentence = passage.text[begin:end].strip()
            if len(sentence) > 8 and sentence.endswith("。") and "\n" not in sentence:
                reply += f"{sentence}[{passage.number}]"
            if reply and count(reply) - tags >= TOKENS:
                return reply
    return reply


class Ways:
    """The same replies by different means, each called with an `Asked`."""

    def __init__(self, folder: Path, settings: Any) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from chimed_rag import MedQA
        from chimed_rag.generation.chat import Renderer
        from chimed_rag.generation.chimed_gpt import ChiMedGPT

        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
        self._renderer = Renderer(AutoTokenizer.from_pretrained(folder), "native")
        self._llm = ChiMedGPT(folder, settings=settings, style="native", device="cpu")
        self._qa = MedQA(generator=self._llm)
        self.tokens: dict[str, int] = {}
        self.all: dict[str, Callable[[Asked], Took]] = {
            "transformers generate (bare)": self.bare,
            "ChiMedGPT.complete": self.complete,
            "ChiMedGPT.stream": self.stream,
            "MedQA.ask": self.ask,
            "MedQA.stream": self.stream_answer,
        }

    def close(self) -> None:
        """Ends the model's thread."""
        self._llm.close()

    def learn_lengths(self, asked: Sequence[Asked]) -> None:
        """Notes how many tokens each reply has; all ways have to write the same."""
        for one in asked:
            done = self._llm.complete(one.messages)
            if done.text != one.reply or done.finish != "stop" or not done.new_tokens:
                sys.exit(f"{one.question}: the model has not learned its reply")
            self.tokens[one.question] = done.new_tokens

    def bare(self, one: Asked) -> Took:
        import torch

        ids = torch.tensor([self._renderer.prompt(one.messages)])
        began = perf_counter()
        out = self._model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=self.tokens[one.question]
        )
        took = perf_counter() - began
        assert out.shape[1] - ids.shape[1] == self.tokens[one.question]
        return Took(took)

    def complete(self, one: Asked) -> Took:
        began = perf_counter()
        done = self._llm.complete(one.messages)
        took = perf_counter() - began
        assert done.text == one.reply
        return Took(took)

    def stream(self, one: Asked) -> Took:
        began = perf_counter()
        text, first = "", None
        for piece in self._llm.stream(one.messages):
            first = first or perf_counter() - began
            text += piece
        took = perf_counter() - began
        assert text == one.reply
        return Took(took, first=first)

    def ask(self, one: Asked) -> Took:
        began = perf_counter()
        answer = self._qa.ask(one.question)
        return self._answered(answer, perf_counter() - began)

    def stream_answer(self, one: Asked) -> Took:
        began = perf_counter()
        first, answer = None, None
        for event in self._qa.stream(one.question):
            if event.kind == "sentence":
                first = first or perf_counter() - began
            elif event.kind == "done":
                answer = event.answer
        return self._answered(answer, perf_counter() - began, first)

    def _answered(self, answer: Any, took: float, first: float | None = None) -> Took:
        if answer.generator != self._llm.name:
            sys.exit(f"{answer.question}: answered by {answer.generator}, not by the model")
        search = sum(step.milliseconds for step in answer.trace if step.step in SEARCH) / 1000
        proved = sum(one.verdict == "supported" for one in answer.sentences)
        return Took(took, search, first, len(answer.sentences), proved)


def measured(ways: Ways, asked: Sequence[Asked], rounds: int) -> list[Row]:
    """One row for each way; all ways take turns."""
    names = list(ways.all)
    took: dict[str, list[Took]] = {name: [] for name in names}
    for one in asked:
        for name in names:
            ways.all[name](one)  # tables, patterns and kernels are made ready once in a process
    for number in range(rounds):
        for one in asked:
            for place in range(len(names)):
                name = names[(number + place) % len(names)]
                began = process_time()
                result = ways.all[name](one)
                result.cpu = process_time() - began
                took[name].append(result)
    return [_row(name, took[name], took[names[0]], ways) for name in names]


def _row(name: str, took: Sequence[Took], bare: Sequence[Took], ways: Ways) -> Row:
    row: Row = {
        "way": name,
        "ms p50": statistics.median(one.seconds for one in took) * 1000,
        "tokens": statistics.mean(ways.tokens.values()),
        "n": len(took),
    }
    if took[0].first is not None:
        row["first ms p50"] = statistics.median(one.first or 0.0 for one in took) * 1000
    if name.endswith("(bare)"):
        return row
    pairs = list(zip(took, bare, strict=True))
    row["over bare"] = statistics.median(one.seconds / alone.seconds - 1 for one, alone in pairs)
    row["less search"] = statistics.median((one.seconds - one.search) / alone.seconds - 1 for one, alone in pairs)
    row["cpu over bare"] = statistics.median(one.cpu / alone.cpu - 1 for one, alone in pairs)
    row["goal"] = GOAL
    if took[0].sentences:
        row |= {"sentences": sum(one.sentences for one in took), "proved": sum(one.proved for one in took)}
    return row


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=15, help="how often each question is asked in each way")
    options.add_argument("--questions", type=int, default=len(QUESTIONS), help="how many; each takes seconds to learn")
    chosen = options.parse_args(arguments)
    import torch

    from chimed_rag.config import Generation
    from chimed_rag.generation.tiny import make_tiny_model

    settings = Generation(seconds=None)
    with TemporaryDirectory(prefix="chimed-bench-") as temporary:
        work = Path(temporary)
        asked = prepared(work / "blank", QUESTIONS[: chosen.questions], settings)
        print("... learning the replies by heart", file=sys.stderr)
        folder = make_tiny_model(work / "learned", lessons=[(one.messages, one.reply) for one in asked])
        with closing(Ways(folder, settings)) as ways:
            ways.learn_lengths(asked)
            rows = measured(ways, asked, chosen.rounds)
    report(
        "Answers by a tiny model, beside the bare model", COLUMNS, rows,
        about={"questions": len(asked), "rounds": chosen.rounds, "threads": torch.get_num_threads()},
        notes=[
            "over bare: (way - bare) / bare, median over pairs; less search: without rewriting and retrieval",
            "cpu over bare: the same of the processor's time, search and all; steadier where others use the machine",
            "first ms: to the first piece of text (ChiMedGPT.stream), to the first proved sentence (MedQA.stream)",
            "bare begins with the tokens of the prompt; making them is part of what the others add",
        ],
        packages=("torch", "transformers"), json_file=chosen.json_file,
    )  # fmt: skip


if __name__ == "__main__":
    main()
