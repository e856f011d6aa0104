"""Asks a system every sample, and makes a prediction of whatever happens: a reply, a failure, or too long a silence.

Not covered: keeping the predictions (`run_folder`), and judging them (`protocols`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from time import perf_counter
from typing import Any

from chimed_rag.errors import MissingExtraError
from chimed_rag.evaluation.samples import Prediction, Sample
from chimed_rag.evaluation.systems.base import BatchSystem

Ask = Callable[[Sample], Any]


def name_of(system: Any) -> str:
    """What a result calls a system: its `name`, the function's own, or else its class's."""
    return str(getattr(system, "name", None) or getattr(system, "__name__", None) or type(system).__name__)


def versions_of(system: Any) -> dict[str, str]:
    """What its predictions depend on, where it tells."""
    return dict(getattr(system, "versions", None) or {})


def ask_all(system: Any, samples: Sequence[Sample], timeout: float | None = None) -> Iterator[Prediction]:
    """A prediction for each sample, in order, as they come.

    An exception of the system is an error of that sample, and the next is asked; only a library that is missing stops
    the run, since it fails them all. With a timeout each sample is asked alone, in a thread of its own, also where the
    system could take many at once; a thread that takes too long cannot be stopped, only left behind: it goes on using
    the machine until it ends by itself.

    Raises:
        MissingExtraError: the system needs a library that is not installed.
    """
    if timeout is None and isinstance(system, BatchSystem):
        yield from _in_batches(system, samples)
        return
    for sample in samples:
        yield _asked(system, sample) if timeout is None else _asked_in_time(system, sample, timeout)


def _in_batches(system: BatchSystem, samples: Sequence[Sample]) -> Iterator[Prediction]:
    done = 0
    while done < len(samples):
        began = perf_counter()
        try:
            for said in system.predict(samples[done:]):
                if done == len(samples):
                    return  # more than was asked for
                yield _prediction(said, samples[done], perf_counter() - began)
                done, began = done + 1, perf_counter()
            failure = "missing: the system gave no prediction"
        except MissingExtraError:
            raise
        except Exception as error:
            failure = told(error)
        if done < len(samples):
            # Whose fault it was is not known; the one that was due carries it, and the others are asked again.
            yield Prediction(id=samples[done].id, error=failure, seconds=perf_counter() - began)
            done += 1


def _asked(system: Ask, sample: Sample) -> Prediction:
    began = perf_counter()
    try:
        said = system(sample)
    except MissingExtraError:
        raise
    except Exception as error:
        return Prediction(id=sample.id, error=told(error), seconds=perf_counter() - began)
    return _prediction(said, sample, perf_counter() - began)


def _asked_in_time(system: Ask, sample: Sample, timeout: float) -> Prediction:
    answers: SimpleQueue[Prediction | BaseException] = SimpleQueue()

    def work() -> None:
        try:
            answers.put(_asked(system, sample))
        except BaseException as error:
            answers.put(error)

    Thread(target=work, name=f"sample {sample.id}", daemon=True).start()
    try:
        said = answers.get(timeout=timeout)
    except Empty:
        return Prediction(id=sample.id, error=f"timeout: more than {timeout:g} s", seconds=timeout)
    if isinstance(said, MissingExtraError):
        raise said
    return said if isinstance(said, Prediction) else Prediction(id=sample.id, error=told(said))


def _prediction(said: Any, sample: Sample, seconds: float) -> Prediction:
    """What a system gave, as a prediction of this sample; a plain text is one."""
    if isinstance(said, str):
        return Prediction(id=sample.id, text=said, seconds=seconds)
    if not isinstance(said, Prediction):
        wrong = f"TypeError: the system gave {type(said).__name__}, neither a Prediction nor a text"
    elif said.id != sample.id:
        wrong = f"ValueError: the system was asked {sample.id!r} and answered {said.id!r}"
    else:
        return said if said.seconds is not None else said.model_copy(update={"seconds": seconds})
    return Prediction(id=sample.id, error=wrong, seconds=seconds)


def told(error: BaseException) -> str:
    """An exception in one line that begins with its kind."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first}"
