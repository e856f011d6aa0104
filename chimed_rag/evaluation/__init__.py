"""Numbers one can defend: tasks, metrics, statistics, reports.

    from chimed_rag.evaluation import compare, evaluate

    result = evaluate("cmexam", my_function, data="cmexam_test.jsonl")     # Sample -> Prediction, or text
    print(result.metrics["accuracy"], result.counts)

What is named here is imported when it is first used. Not covered: what each part does; see its module.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chimed_rag.evaluation.comparing import Comparison, compare, compare_all
    from chimed_rag.evaluation.contamination import overlap
    from chimed_rag.evaluation.report import write_report
    from chimed_rag.evaluation.result import Result, TaskResult
    from chimed_rag.evaluation.running import evaluate, load_run, scored
    from chimed_rag.evaluation.samples import Card, Entity, Prediction, Sample, Score
    from chimed_rag.evaluation.tasks.loading import Task, load_card, load_task, task_names

_PLACES = {
    "comparing": ("Comparison", "compare", "compare_all"),
    "contamination": ("overlap",),
    "report": ("write_report",),
    "result": ("Result", "TaskResult"),
    "running": ("evaluate", "load_run", "scored"),
    "samples": ("Card", "Entity", "Prediction", "Sample", "Score"),
    "tasks.loading": ("Task", "load_card", "load_task", "task_names"),
}
_WHERE = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [
    "Card",
    "Comparison",
    "Entity",
    "Prediction",
    "Result",
    "Sample",
    "Score",
    "Task",
    "TaskResult",
    "compare",
    "compare_all",
    "evaluate",
    "load_card",
    "load_run",
    "load_task",
    "overlap",
    "scored",
    "task_names",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
