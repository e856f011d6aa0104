"""The parts of `gpu_generation.py` that measure our own object: `ChiMedGPT` around the random model.

`complete_many` gives no time of its first token, so a step is the difference between two lengths of reply. Not covered:
loading from a folder, many threads.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial
from importlib.util import find_spec
from time import perf_counter
from typing import Any

from _common import Row
from _gpu_bench import AbsentError, Bench, Prompts, compared

SPARED = 90
"""Seconds that compiling for larger batches leaves to the parts that follow."""
QUESTION = "布洛芬一天最多吃几次？"


def chimed(bench: Bench) -> list[Row]:
    return _decoded(bench, "chimed", static=False)


def static(bench: Bench) -> list[Row]:
    return _decoded(bench, "static", static=True)


def _decoded(bench: Bench, part: str, *, static: bool) -> list[Row]:
    llm, rows, new = _make(bench, static=static), [], bench.sizes.new
    way = f"ChiMedGPT, static={static}"
    try:
        for size in bench.sizes.batches:
            context = bench.fitting(size)
            prompts = bench.prompts([context] * size)
            begin = perf_counter()
            replies(llm, prompts, new)
            first = perf_counter() - begin
            # The longer reply first: a static cache of that length then serves the shorter one too.
            long, short = (bench.median(partial(replies, llm, prompts, n), warm=False) for n in (new, new // 2))
            step, note = (long - short) / (new - new // 2), f"first call {first:.1f} s"
            rows.append(bench.decode_row(part, way, size, context, step, note))
            bench.tidy()
            if static and bench.left() < 2 * first + SPARED:
                rows.append({"part": part, "way": way, "note": f"larger left out: {bench.left():.0f} s are left"})
                break
        if not static:  # there every new length of a prompt may be compiled anew
            rows.append(compared(bench, part, way, lambda some: replies(llm, some, new // 2), new // 2))
    finally:
        llm.close()
    return rows


def _make(bench: Bench, *, static: bool | None, scripted: bool = False) -> Any:
    try:
        from chimed_rag.config import Generation
        from chimed_rag.generation.chimed_gpt import ChiMedGPT
    except ImportError as error:
        raise AbsentError(f"chimed_rag.generation.chimed_gpt: {error}") from None
    kind: Any = _scripted(ChiMedGPT) if scripted else ChiMedGPT
    return kind.from_parts(
        bench.model, bench.tokenizer, name="random-weights", settings=Generation(seconds=None), style="native",
        max_batch=bench.sizes.many, static=static,
    )  # fmt: skip


def replies(llm: Any, prompts: Prompts, new: int) -> list[list[str]]:
    """The characters of each reply of so many tokens; a prompt becomes a message of as many tokens, tags included."""
    from chimed_rag.config import Generation

    tags = llm.count_tokens([{"role": "user", "content": "一"}]) - 1
    asked = []
    for prompt in prompts:
        said = "".join(chr(0x4E00 + token % 2000) for token in prompt[: max(1, len(prompt) - tags)])
        asked.append([{"role": "user", "content": said}])
    done = llm.complete_many(asked, settings=Generation(max_new_tokens=new, seconds=None))
    for one in done:
        if isinstance(one, Exception):
            raise one
    return [list(one.text) for one in done]


# --- the first sentence --------------------------------------------------------------------------------------------


def sentence(bench: Bench) -> list[Row]:
    """What random weights write proves nothing, so each piece takes the model's time and the evidence's words."""
    llm = _make(bench, static=False, scripted=True)
    try:
        evidence = _evidence()
        took = bench.median(lambda: next(iter(llm.write(QUESTION, evidence))))
        rows = [_first(bench, llm, "write", evidence, took)]
        if missing := [name for name in ("faiss", "tantivy", "ahocorasick_rs") if find_spec(name) is None]:
            return [*rows, {"part": "sentence", "note": f"MedQA not measured: {', '.join(missing)} not installed"}]
        from chimed_rag import MedQA

        qa = MedQA(generator=llm)
        took = bench.median(lambda: _first_proven(qa))
        return [*rows, _first(bench, llm, "MedQA.stream, proven", _first_proven(qa), took)]
    finally:
        llm.close()


def _first(bench: Bench, llm: Any, way: str, evidence: Sequence[Any], took: float) -> Row:
    prompt = llm.count_tokens(llm._messages(QUESTION, evidence))
    new = len(llm.script.split("]")[0]) + 1
    least = bench.shape.prefill_operations(prompt) / bench.operations
    least += new * bench.shape.step_bytes(1, prompt) / bench.reads
    return {
        "part": "sentence", "way": f"first sentence of {way}", "batch": 1, "prompt": prompt, "new": new,
        "ms": took * 1000, "rate": took, "unit": "s", "floor": least, "of floor": least / took,
        "note": f"a sentence of {new} tokens, one a character",
    }  # fmt: skip


def _first_proven(qa: Any) -> Sequence[Any]:
    """Asks, leaves after the first sentence, and gives the evidence."""
    evidence: Sequence[Any] = ()
    with closing(qa.stream(QUESTION)) as events:
        for event in events:
            if event.kind == "evidence":
                evidence = event.evidence
            if event.kind == "notice" and event.notice.kind == "extractive":
                break
            if event.kind == "sentence":
                return evidence
    raise RuntimeError("no sentence was proven")


def _evidence() -> list[Any]:
    from chimed_rag.records import Evidence

    text = (
        "成人每次口服一片，每日最多三次，两次之间至少间隔六小时。" + "饭后服用可以减轻胃部不适，服药期间不要饮酒。" * 4
    )
    return [
        Evidence(number=n, chunk_id=f"{n}", document_id=f"{n}", text=text, start=0, end=len(text), score=1 / n)
        for n in range(1, 9)
    ]


def _scripted(base: type) -> type:
    """A ChiMedGPT that says the first sentence of the evidence, a character for each the model has written."""

    class Scripted(base):  # type: ignore[misc]
        script = ""

        def write(self, question: str, evidence: Sequence[Any], **how: Any) -> Any:
            from chimed_rag.text import sentence_spans

            begin, end = sentence_spans(evidence[0].text)[0]
            self.script = f"{evidence[0].text[begin:end]}[{evidence[0].number}]\n" + "以上内容摘自文献。" * 3
            return super().write(question, evidence, **how)

        def stream(self, messages: Any, **how: Any) -> Generator[str, None, Any]:
            place = 0
            pieces = super().stream(messages, **how)
            try:
                while place < len(self.script):
                    try:
                        piece = next(pieces)
                    except StopIteration as end:
                        return end.value
                    yield self.script[place : place + len(piece)]
                    place += len(piece)
            finally:
                pieces.close()
            from chimed_rag.generation.language_model import Completion

            return Completion(self.script)

    return Scripted
