"""A run of a toy task: counted whole whatever the system does, the same after a kill, and never mixed with another."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from chimed_rag.errors import CorpusError, GeneratorError, InputError, MissingExtraError, UnknownNameError
from chimed_rag.evaluation.result import TaskResult
from chimed_rag.evaluation.running import evaluate, load_run, scored
from chimed_rag.evaluation.samples import Prediction, Sample
from chimed_rag.evaluation.systems.base import Setting
from tests.toy_task import Always, registered, toy_card, toy_samples, toy_task, write_toy

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    registered(monkeypatch)


def letter(sample: Sample) -> Prediction:
    """A is right for one sample of four, and takes as long as the sample's number says."""
    return Prediction(id=sample.id, text="A", seconds=int(sample.id[1:]) / 1000)


def test_a_plain_function_and_the_numbers_by_hand():
    done = []
    result = evaluate(toy_task(8), letter, progress=lambda now, of: done.append((now, of)))
    assert (result.task, result.system, result.protocol, result.n) == ("toy", "letter", "toy-v1", 8)
    assert result.metrics["accuracy"].value == 0.25  # A, E of A B C D A B C D: 2 of 8
    assert result.counts == {"correct": 2, "wrong": 6, "invalid": 0, "error": 0}
    assert result.latency_ms is not None
    assert result.latency_ms.p50 == pytest.approx(3.5)  # 0 to 7 ms
    assert result.baselines == {"always A": {"accuracy": 0.25}}
    assert result.warning == "a toy"
    assert result.groups["all"]["accuracy"] == result.metrics["accuracy"]
    assert set(result.versions) == {"chimed_rag", "python", "numpy", "scipy", "rich"}
    assert done == [(n, 8) for n in range(1, 9)]
    assert [score.outcome for score in result.run.scores].count("correct") == 2


def test_a_text_is_a_prediction_and_its_time_is_taken():
    result = evaluate(toy_task(4), lambda sample: sample.answer)
    assert result.metrics["accuracy"].value == 1
    assert all(said.seconds is not None for said in result.run.predictions)


def test_the_json_has_the_shape_that_programs_rely_on():
    told = json.loads(evaluate(toy_task(8), letter).model_dump_json())
    assert {"task", "system", "protocol", "n", "data_sha256", "schema_version", "metrics", "latency_ms"} <= set(told)
    assert set(told["metrics"]["accuracy"]) == {"value", "low", "high"}
    assert set(told["latency_ms"]) == {"p50", "p95"}
    assert TaskResult.model_validate(told).n == 8


def test_every_failure_is_an_error_counts_and_is_named():
    def moody(sample: Sample):
        number = int(sample.id[1:])
        if number == 0:
            raise GeneratorError("the server is gone\nmore")
        if number == 1:
            raise ZeroDivisionError
        return [None, None, None, 7, Prediction(id="other", text="A"), "", "不知道", "D"][number]

    result = evaluate(toy_task(8), moody)
    errors = [said.error for said in result.run.predictions]
    assert errors[:2] == ["GeneratorError: the server is gone", "ZeroDivisionError: "]
    assert errors[2] == "TypeError: the system gave NoneType, neither a Prediction nor a text"
    assert errors[4] == "ValueError: the system was asked 's4' and answered 'other'"
    assert result.counts == {"correct": 1, "invalid": 2, "error": 5}
    assert sum(result.counts.values()) == result.n == 8
    assert result.metrics["accuracy"].value == 1 / 8
    assert result.notes == (
        "5 of 8 samples failed: TypeError 2, GeneratorError 1, ZeroDivisionError 1, ValueError 1",
        "2 of 8 replies could not be read as an answer, 1 were empty",
    )


def test_a_library_that_is_missing_stops_the_run():
    def needy(sample: Sample) -> str:
        raise MissingExtraError("torch", "models")

    for timeout in (None, 5):
        with pytest.raises(MissingExtraError):
            evaluate(toy_task(2), needy, timeout=timeout)


def test_too_long_is_a_timeout_and_the_run_goes_on():
    stop = threading.Event()

    def slow(sample: Sample) -> str:
        if sample.id in ("s1", "s2"):
            stop.wait(10)
        return "A"

    began = time.perf_counter()
    result = evaluate(toy_task(4), slow, timeout=0.05)
    stop.set()
    assert time.perf_counter() - began < 5
    assert [said.error for said in result.run.predictions] == ["", *["timeout: more than 0.05 s"] * 2, ""]
    assert "2 of 4 samples failed: timeout 2" in result.notes


def test_what_would_end_the_program_ends_a_sample_only_under_a_timeout():
    def leaves(sample: Sample) -> str:
        raise SystemExit(3)

    assert evaluate(toy_task(1), leaves, timeout=5).run.predictions[0].error == "SystemExit: 3"
    with pytest.raises(SystemExit):
        evaluate(toy_task(1), leaves)


def test_a_batch_system_is_asked_in_batches_unless_each_sample_has_its_time():
    class Counting(Always):
        batches = 0

        def predict(self, samples):
            self.batches += 1
            yield from super().predict(samples)

    system = Counting(Setting(toy_task(), None))  # type: ignore[arg-type]
    assert evaluate(toy_task(8), system).metrics["accuracy"].value == 0.25
    assert system.batches == 1
    assert evaluate(toy_task(8), system, timeout=5).metrics["accuracy"].value == 0.25
    assert system.batches == 1


def test_a_batch_system_that_breaks_or_stops_early_still_answers_for_every_sample():
    class Breaking(Always):
        def predict(self, samples):
            for sample in samples:
                if sample.id == "s3":
                    raise RuntimeError("boom")
                if sample.id == "s6":
                    return
                yield self(sample)

    result = evaluate(toy_task(8), Breaking(Setting(toy_task(), None)))  # type: ignore[arg-type]
    errors = {said.id: said.error for said in result.run.predictions if said.error}
    assert errors == {"s3": "RuntimeError: boom", "s6": "missing: the system gave no prediction"}


def test_a_named_system_is_made_with_its_options_and_closed(tmp_path, monkeypatch):
    closed = []
    monkeypatch.setattr(Always, "close", lambda self: closed.append(self))
    data = write_toy(tmp_path / "toy.jsonl")
    result = evaluate("toy", "always", data=tmp_path, options={"answer": "B"}, out=tmp_path / "run")
    assert (result.system, result.system_versions, result.metrics["accuracy"].value) == (
        "always",
        {"letter": "B"},
        0.25,
    )
    assert len(closed) == 1
    header = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert (header["data"], header["options"], header["n"]) == (str(tmp_path), {"answer": "B"}, 8)
    assert evaluate("toy", "always", data=data).run.task.data_sha256 == result.data_sha256


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(UnknownNameError, match="its protocols are: toy-v1, toy-lenient"):
        evaluate(toy_task(2), letter, protocol="strict-v1")
    with pytest.raises(UnknownNameError, match="no protocol for dialogue is called 'toy-v1'"):
        evaluate(toy_task(2, kind="dialogue"), letter)
    with pytest.raises(UnknownNameError, match="no system is called 'nobody'"):
        evaluate(toy_task(2), "nobody")
    with pytest.raises(InputError, match="are for named systems"):
        evaluate(toy_task(2), letter, index="somewhere")
    with pytest.raises(InputError, match="is loaded already"):
        evaluate(toy_task(2), letter, data="somewhere")
    with pytest.raises(InputError, match="holds no sample"):
        evaluate(toy_task(0), letter)
    with pytest.raises(InputError, match="at least 1"):
        evaluate(toy_task(2), letter, limit=0)


def test_a_limit_is_a_trial_and_says_so():
    result = evaluate(toy_task(8), letter, limit=3)
    assert result.n == 3
    assert result.notes[0] == "a trial on the first 3 of 8 samples, not a result"
    assert evaluate(toy_task(8), letter, limit=8).notes == ()


def test_scored_takes_any_order_and_counts_what_is_missing():
    task = toy_task(8)
    said = [Prediction(id=sample.id, text=sample.answer) for sample in task.samples]
    whole = scored(task, said[::-1], system="elsewhere")
    assert whole.metrics["accuracy"].value == 1
    assert whole.latency_ms is None
    assert whole.model_dump() == scored(task, said, system="elsewhere").model_dump()
    part = scored(task, said[:6], system="elsewhere")
    assert (part.counts["error"], part.metrics["accuracy"].value) == (2, 0.75)
    with pytest.raises(InputError, match="a second prediction of sample 's0'"):
        scored(task, [*said, said[0]], system="elsewhere")
    with pytest.raises(InputError, match="sample 'x', which toy does not hold"):
        scored(task, [Prediction(id="x")], system="elsewhere")


def test_rescoring_asks_nobody_and_says_how_it_was_asked():
    asked = []

    def wordy(sample: Sample) -> str:
        asked.append(sample.id)
        return sample.answer + "，因为"

    strict = evaluate(toy_task(4), wordy)
    assert strict.counts["invalid"] == 4
    lenient = strict.rescore(protocol="toy-lenient")
    assert len(asked) == 4
    assert lenient.metrics["accuracy"].value == 1
    assert (lenient.protocol, lenient.asked_with, lenient.system) == ("toy-lenient", "toy-v1", "wordy")
    assert lenient.rescore(protocol="toy-v1").model_dump() == strict.model_dump()
    with pytest.raises(InputError, match="load its run"):
        TaskResult.model_validate_json(strict.model_dump_json()).rescore(protocol="toy-lenient")


def test_a_stored_run_is_the_result_and_is_not_asked_again(tmp_path):
    write_toy(tmp_path / "toy.jsonl")
    first = evaluate("toy", letter, data=tmp_path, out=tmp_path / "run", limit=6)
    assert load_run(tmp_path / "run").model_dump() == first.model_dump()
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == json.loads(first.model_dump_json())

    def letter_(sample: Sample) -> Prediction:
        raise AssertionError("asked again")

    letter_.__name__ = "letter"
    assert evaluate("toy", letter_, data=tmp_path, out=tmp_path / "run", limit=6).model_dump() == first.model_dump()


@pytest.mark.parametrize("cut", [0, 1, 40, 300, 700, -1])
def test_a_file_cut_anywhere_goes_on_to_the_same_result(tmp_path, cut):
    data = write_toy(tmp_path / "toy.jsonl")
    whole = evaluate("toy", letter, data=data, out=tmp_path / "run")
    said = tmp_path / "run" / "predictions.jsonl"
    content = said.read_bytes()
    said.write_bytes(content[:cut])
    asked = []

    def again(sample: Sample) -> Prediction:
        asked.append(sample.id)
        return letter(sample)

    again.__name__ = "letter"
    assert evaluate("toy", again, data=data, out=tmp_path / "run").model_dump() == whole.model_dump()
    assert len(asked) == 8 - content[:cut].count(b"\n")
    assert said.read_bytes() == content


KILLED = """
import sys, time
sys.path[:0] = [{root!r}]
from tests import toy_task
from chimed_rag.evaluation.running import evaluate
from chimed_rag.evaluation.samples import Prediction
toy_task.register()

def letter(sample):
    print(sample.id, flush=True)
    time.sleep(0.01)
    return Prediction(id=sample.id, text="A", seconds=int(sample.id[1:]) / 1000)

evaluate("toy", letter, data={data!r}, out={out!r})
"""


def test_a_process_killed_at_any_sample_loses_nothing(tmp_path):
    data = write_toy(tmp_path / "toy.jsonl", 20)
    whole = evaluate("toy", letter, data=data, out=tmp_path / "whole")
    code = KILLED.format(root=str(ROOT), data=str(data), out=str(tmp_path / "run"))
    asked = 0
    for stop in ("s2", "s9", "s16"):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            asked += 1
            if line.strip() == stop:
                process.send_signal(signal.SIGKILL)
                break
        process.wait()
        process.stdout.close()
    with pytest.raises(InputError, match="of 20 predictions; go on with it first"):
        load_run(tmp_path / "run")
    assert evaluate("toy", letter, data=data, out=tmp_path / "run").model_dump() == whole.model_dump()
    assert asked <= 20  # nothing that was written down was asked twice, but the one that the kill hit


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "its seed is 0, here it is 1"),
        ({"limit": 4}, "n is 8, here it is 4"),
        ({"protocol": "toy-lenient"}, "its protocol is 'toy-v1', here it is 'toy-lenient'"),
        ({"timeout": 9.0}, "its timeout is None, here it is 9.0"),
        ({"system": "always"}, "its system is 'letter', here it is 'always'"),
    ],
)
def test_another_run_in_the_folder_is_refused_and_the_difference_named(tmp_path, changes, named):
    data = write_toy(tmp_path / "toy.jsonl")
    evaluate("toy", letter, data=data, out=tmp_path / "run")
    before = (tmp_path / "run" / "predictions.jsonl").read_bytes()
    with pytest.raises(InputError, match="holds another run") as caught:
        evaluate("toy", changes.pop("system", letter), data=data, out=tmp_path / "run", **changes)
    assert named in str(caught.value)
    assert "chimed evaluate toy --out DIR" in str(caught.value)
    assert (tmp_path / "run" / "predictions.jsonl").read_bytes() == before


def test_other_data_and_another_version_of_the_system_are_refused(tmp_path):
    data = write_toy(tmp_path / "toy.jsonl")
    evaluate("toy", "always", data=data, out=tmp_path / "run")
    with pytest.raises(InputError, match=r"its system_versions\[letter\] is 'A', here it is 'B'"):
        evaluate("toy", "always", data=data, out=tmp_path / "run", options={"answer": "B"})
    write_toy(data, 9)
    with pytest.raises(InputError, match="its data_sha256 is"):
        evaluate("toy", "always", data=data, out=tmp_path / "run")
    with pytest.raises(InputError, match="name the right data with --data PATH"):
        load_run(tmp_path / "run")


def test_data_that_moved_can_be_named(tmp_path):
    data = write_toy(tmp_path / "toy.jsonl")
    first = evaluate("toy", letter, data=data, out=tmp_path / "run")
    data.rename(tmp_path / "moved.jsonl")
    with pytest.raises(CorpusError, match="have moved: name them with --data PATH"):
        load_run(tmp_path / "run")
    assert load_run(tmp_path / "run", data=tmp_path / "moved.jsonl").metrics == first.metrics


def test_a_task_of_ones_own_is_read_by_the_card_in_the_run(tmp_path, monkeypatch):
    from chimed_rag.evaluation.tasks import loading

    data = write_toy(tmp_path / "toy.jsonl")
    first = evaluate("toy", letter, data=data, out=tmp_path / "run")
    monkeypatch.setattr(loading, "_registered", {})
    assert load_run(tmp_path / "run").model_dump() == first.model_dump()


def test_damage_is_named_with_its_line(tmp_path):
    data = write_toy(tmp_path / "toy.jsonl")
    evaluate("toy", letter, data=data, out=tmp_path / "run")
    said = tmp_path / "run" / "predictions.jsonl"
    lines = said.read_text(encoding="utf-8").splitlines(keepends=True)
    for content, message in (
        (lines[0] + "{}\n", "line 2: not a prediction"),
        (lines[0] + lines[0], "line 2: a second prediction of sample 's0'"),
        (Prediction(id="x").model_dump_json() + "\n", "line 1: a prediction that nobody asked for of sample 'x'"),
    ):
        said.write_text(content, encoding="utf-8")
        with pytest.raises(CorpusError, match=r"predictions\.jsonl") as caught:
            evaluate("toy", letter, data=data, out=tmp_path / "run")
        assert message in str(caught.value)
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(CorpusError, match="not the header of a run"):
        load_run(tmp_path / "run")
    (tmp_path / "run" / "run.json").unlink()
    with pytest.raises(InputError, match=r"without their run\.json"):
        evaluate("toy", letter, data=data, out=tmp_path / "run")
    with pytest.raises(CorpusError, match="no run is here"):
        load_run(tmp_path / "run")
    with pytest.raises(InputError, match="is a file"):
        evaluate("toy", letter, data=data, out=data)


def test_two_processes_at_one_run_are_one_too_many(tmp_path):
    from chimed_rag.indexing.lock import exclusive

    (tmp_path / "run").mkdir()
    with exclusive(tmp_path / "run"), pytest.raises(InputError, match="another process is making this run"):
        evaluate(toy_task(2), letter, out=tmp_path / "run")


def test_numbers_that_changed_since_are_said_to(tmp_path):
    data = write_toy(tmp_path / "toy.jsonl")
    first = evaluate("toy", letter, data=data, out=tmp_path / "run")
    stored = first.model_copy(
        update={"metrics": {"accuracy": first.metrics["length"]}, "versions": {**first.versions, "rich": "0.1"}}
    )
    (tmp_path / "run" / "result.json").write_text(stored.model_dump_json(), encoding="utf-8")
    assert load_run(tmp_path / "run").notes == ("result.json says other numbers; it was made with rich 0.1",)
    assert load_run(tmp_path / "run").run.predictions == first.run.predictions


def test_the_order_of_the_samples_does_not_matter():
    samples = toy_samples(8)
    task = toy_task(8)
    turned = type(task)(toy_card(), tuple(samples[::-1]), task.data_sha256)
    assert evaluate(task, letter).metrics["accuracy"].value == evaluate(turned, letter).metrics["accuracy"].value
    assert evaluate(task, letter).counts == evaluate(turned, letter).counts


def test_a_whole_exam_is_scored_in_three_seconds():
    task = toy_task(6811)
    said = [Prediction(id=sample.id, text="A") for sample in task.samples]
    began = time.process_time()
    result = scored(task, said, system="always")
    assert result.metrics["accuracy"].value == pytest.approx(1703 / 6811, abs=1e-6)  # every fourth, from the first
    assert time.process_time() - began < 3


def test_what_failed_is_asked_again_when_asked_to(tmp_path):
    down: set[str] = set()
    asked = []

    def server(sample: Sample) -> str:
        asked.append(sample.id)
        if sample.id in down:
            raise GeneratorError("the server is down")
        return sample.answer

    task = toy_task(4)
    ids = [sample.id for sample in task.samples]
    down = set(ids[1:3])
    assert evaluate(task, server, out=tmp_path / "run").counts["error"] == 2
    down = set()
    asked.clear()
    assert evaluate(task, server, out=tmp_path / "run").counts["error"] == 2  # a failure stands until told otherwise
    assert asked == []
    again = evaluate(task, server, out=tmp_path / "run", retry=True)
    assert asked == ids[1:3]
    assert again.counts["error"] == 0 and again.metrics["accuracy"].value == 1
    assert [said.id for said in again.run.predictions] == ids
