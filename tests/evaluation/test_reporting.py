"""A report of hand-made results: what it says, what it never says, and that no text in it can do anything."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from chimed_rag.errors import InputError
from chimed_rag.evaluation import comparing
from chimed_rag.evaluation.comparing import Comparison
from chimed_rag.evaluation.published import Published
from chimed_rag.evaluation.report import write_report
from chimed_rag.evaluation.reporting import figures, sections, tables
from chimed_rag.evaluation.reporting.canvas import shortened
from chimed_rag.evaluation.reporting.figures import Bar, Line
from chimed_rag.evaluation.reporting.html import LOCAL
from chimed_rag.evaluation.reporting.palette import PALETTE, SERIES
from chimed_rag.evaluation.result import Judged, Result, TaskResult
from chimed_rag.evaluation.samples import Card, Prediction, Sample, Score
from chimed_rag.evaluation.statistics import Interval, Percentiles, proportion
from chimed_rag.evaluation.tasks.loading import Task

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>|[链接](javascript:alert(3))$x^2$\u202e'


def card(name: str = "考试", kind: Any = "choice", **fields: Any) -> Card:
    made = {
        "title": "Made-up questions", "reader": "nowhere:nothing", "source": "made up", "licence": "CC0",
        "split": "test", "main_metric": "accuracy", "contamination": "none: made for this test",
    }  # fmt: skip
    return Card(name=name, kind=kind, **(made | fields))


def judged(
    right: str,
    system: str = "系统",
    *,
    text: str = "答案：A",
    data: str = "d" * 64,
    of: Card | None = None,
    **fields: Any,
) -> TaskResult:
    """A result of samples that ended as the letters say: r(ight), w(rong), i(nvalid), e(rror)."""
    outcomes = [{"r": "correct", "w": "wrong", "i": "invalid", "e": "error"}[one] for one in right]
    of = of or card()
    samples = [
        Sample(id=f"q{n}", text=f"第{n}题", options={"A": "甲", "B": "乙"}, answer="A") for n in range(len(right))
    ]
    predictions = [Prediction(id=one.id, text=text) for one in samples]
    # The surer, the later the sample: .55, .6, ... of the letter that was said.
    sure = [min(0.95, 0.55 + 0.05 * n) for n in range(len(right))]
    scores = [
        Score(id=s.id, outcome=o, said="A", values={"confidence": c})
        for s, o, c in zip(samples, outcomes, sure, strict=True)
    ]
    counts = {one: outcomes.count(one) for one in ("correct", "wrong", "scored", "invalid", "error")}
    made: dict[str, Any] = {
        "protocol": "strict-v1", "metrics": {"accuracy": proportion(counts["correct"], len(right))},
        "latency_ms": Percentiles(p50=2, p95=5), "versions": {"chimed_rag": "0"},
        "baselines": {"always A": {"accuracy": 0.5}},
    }  # fmt: skip
    result = TaskResult(
        task=of.name, system=system, n=len(right), data_sha256=data, card=of, counts=counts, **(made | fields)
    )
    result._run = Judged(Task(of, tuple(samples), data), tuple(predictions), tuple(scores))
    return result


@pytest.fixture(autouse=True)
def _no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """No comparison and nothing published, but where a test says so."""
    monkeypatch.setattr(comparing, "compare_all", lambda pairs, metric=None: [])
    monkeypatch.setattr(sections, "published", lambda task: [])


class Page(HTMLParser):
    """The elements with their attributes, and the text, of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def test_three_files_with_the_rates_of_every_outcome(tmp_path: Path) -> None:
    paths = write_report([judged("rrwie")], tmp_path / "new" / "report")
    assert [path.name for path in paths] == ["report.html", "report.md", "report.json"]
    page = Page(paths[0])
    # Wilson's interval of 2 of 5 by hand, z = 1.96: (.4 + .384 ± 1.96 sqrt(.048 + .0384)) / 1.768 = .4435 ± .3258.
    for said in (
        "0.400",
        "[0.118, 0.769]",
        "40.0%",
        "20.0%",
        "always A",
        "0.500",
        "Contamination: none: made for this test",
    ):
        assert said in page.text
    row = next(line for line in paths[1].read_text("utf-8").splitlines() if line.startswith("| 系统 | strict-v1"))
    assert row.split(" | ")[-7:] == ["5", "40.0%", "20.0%", "20.0%", "20.0%", "2.0", "5.0 |"]
    stored = json.loads(paths[2].read_text("utf-8"))
    assert TaskResult.model_validate(stored["results"][0]).model_dump() == judged("rrwie").model_dump()


def test_the_page_takes_nothing_from_outside_and_runs_nothing(tmp_path: Path) -> None:
    page = Page(write_report([judged("rrww"), judged("rwww", "另一个")], tmp_path)[0])
    assert not {tag for tag, _ in page.elements} & {
        "script",
        "link",
        "iframe",
        "object",
        "embed",
        "img",
        "form",
        "base",
    }
    addresses = [
        value for _, had in page.elements for name, value in had.items() if name in ("href", "src", "xlink:href")
    ]
    assert addresses and all(str(one).startswith("#") for one in addresses)
    assert "http" not in re.sub(r"http://www.w3.org/\S+|http-equiv", "", (tmp_path / "report.html").read_text("utf-8"))
    ids = [had["id"] for _, had in page.elements if "id" in had]
    targets = {str(one)[1:] for one in addresses}
    assert targets <= set(ids)
    # matplotlib repeats a clip path where two axes are of one size; all else stands once.
    again = {one for one in ids if ids.count(one) > 1}
    assert not again


def test_hostile_texts_are_inert(tmp_path: Path) -> None:
    hostile = judged(
        "rwie", HOSTILE, text=HOSTILE, of=card(HOSTILE, title=HOSTILE, source=HOSTILE), warning=HOSTILE,
        notes=(HOSTILE,), groups={HOSTILE: {HOSTILE: proportion(1, 4)}},
        baselines={HOSTILE: {"accuracy": 0.1, HOSTILE: 0.2}}, system_versions={HOSTILE: HOSTILE},
    )  # fmt: skip
    paths = write_report([hostile, judged("rrrr", "b", of=hostile.card)], tmp_path, examples=5)
    assert len(paths) == 4
    for path in (paths[0], paths[3]):
        page = Page(path)
        assert not {tag for tag, _ in page.elements} & {"script", "img"}
        assert not [name for _, had in page.elements for name in had if name.startswith("on")]
        assert "\u202e" not in page.text
        assert "alert(1)" in page.text
    written = paths[1].read_text("utf-8")
    assert "<script" not in written and "](javascript" not in written.replace("\\]", "")
    # Every line of a table has as many cells as its head.
    widths: list[int] = []
    for line in written.splitlines():
        if line.startswith("|"):
            widths.append(len(re.findall(r"(?<!\\)\|", line)))
        else:
            assert len(set(widths)) <= 1
            widths = []


def test_failures_are_in_the_local_page_alone(tmp_path: Path) -> None:
    secret = "只在本地的回答"
    paths = write_report([judged("rrwwi", text=secret)], tmp_path, examples=1)
    assert paths[-1].name == "report.local.html"
    for path in paths[:-1]:
        assert secret not in path.read_text("utf-8") and "第" not in path.read_text("utf-8")
        assert LOCAL not in path.read_text("utf-8")
    local = Page(paths[-1])
    assert LOCAL in local.text and secret in local.text
    # One wrong and one invalid of each, in the order of ids.
    assert [had for tag, had in local.elements if tag == "details"] == [{}, {}]
    assert "q2" in local.text and "q4" in local.text and "q3" not in local.text
    with pytest.raises(InputError, match="load_run"):
        write_report([TaskResult.model_validate_json(judged("rw").model_dump_json())], tmp_path, examples=1)


def test_the_lowest_values_are_the_failures_of_what_is_scored(tmp_path: Path) -> None:
    of = card(kind="open_qa", main_metric="rougeL")
    result = judged("rrr", of=of, metrics={"rougeL": Interval(value=0.3, low=0.1, high=0.6)})
    values = [0.5, 0.1, 0.3]
    scores = tuple(Score(id=f"q{n}", outcome="scored", values={"rougeL": value}) for n, value in enumerate(values))
    result._run = Judged(result.run.task, result.run.predictions, scores)
    text = Page(write_report([result], tmp_path, examples=1)[-1]).text
    assert "scored rougeL 0.100, q1" in text and "q2" not in text


def test_other_data_stand_apart_and_nothing_is_averaged(tmp_path: Path) -> None:
    first, second = judged("rrrr", data="a" * 64), judged("wwww", data="b" * 64)
    other = judged("rw", of=card("别的"))
    paths = write_report([first, second, other], tmp_path)
    page = Page(paths[0])
    assert [had["id"] for tag, had in page.elements if tag == "section"] == ["task-1", "task-2", "task-3"]
    assert f"考试 on data {'a' * 12}" in page.text and f"考试 on data {'b' * 12}" in page.text
    assert page.text.count("was measured on several sets of data") == 2
    # Means of 1, 0 and .5 would be .5 or .667; .5 is also the baseline and the third result.
    assert "0.667" not in page.text and "Nothing is averaged over tasks." in page.text


def test_protocols_of_one_task_never_share_an_axis(tmp_path: Path) -> None:
    official = judged("rrww", protocol="cmb-official", warning="credits any letter")
    text = Page(write_report([judged("rwww"), official], tmp_path)[0]).text
    assert "cmb-official: credits any letter" in text
    assert "accuracy (strict-v1) with" in text and "accuracy (cmb-official) with" in text
    assert tables.labels([judged("rw"), official]) == ["系统 (strict-v1)", "系统 (cmb-official)"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([{}, {"system": "b"}], ["a", "b"]),
        ([{}, {"data_sha256": "f" * 64}], ["a (data dddddd)", "a (data ffffff)"]),
        ([{}, {"seed": 1}], ["a (seed 0)", "a (seed 1)"]),
        ([{}, {}], ["a (no. 1)", "a (no. 2)"]),
    ],
)
def test_every_label_is_unique(changes: list[dict[str, Any]], expected: list[str]) -> None:
    assert tables.labels([judged("rw", "a").model_copy(update=change) for change in changes]) == expected


def test_pairs_are_compared_by_protocol_and_with_the_baseline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[list[tuple[str, str]]] = []

    def compare_all(pairs: Any, metric: str | None = None) -> list[Comparison]:
        asked.append([(a.system, b.system) for a, b in pairs])
        gain = Interval(value=0.25, low=0.1, high=0.4)
        return [
            Comparison(
                task=a.task, protocol=a.protocol, metric="accuracy", a=a.system, b=b.system, n=4, groups=4,
                difference=gain, p=0.01, p_holm=0.03 if b.system != "c" else 0.2, test="mcnemar", only_a=1, only_b=2,
            )
            for a, b in pairs
        ]  # fmt: skip

    monkeypatch.setattr(comparing, "compare_all", compare_all)
    results = [judged("rrww", "a"), judged("rwww", "b"), judged("rrrr", "c"), judged("rrrr", "d", protocol="lm-eval")]
    text = Page(write_report(results, tmp_path)[0]).text
    assert asked == [[("a", "b"), ("a", "c"), ("b", "c")]]
    assert "accuracy (strict-v1)" in text and "b is higher" in text and "not separated" in text and ".0300" in text
    asked.clear()
    write_report(results, tmp_path, baseline="c")
    assert asked == [[("c", "a"), ("c", "b")]]
    assert len(json.loads((tmp_path / "report.json").read_text("utf-8"))["comparisons"]) == 2


def test_a_refused_comparison_is_told_and_spoils_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def compare(a: TaskResult, b: TaskResult) -> None:
        if a.n != b.n:
            raise InputError("a has 4 samples, c has 2")

    def compare_all(pairs: Any, metric: str | None = None) -> list[Comparison]:
        for pair in pairs:
            compare(*pair)
        asked.append(len(pairs))
        return []

    asked: list[int] = []
    monkeypatch.setattr(comparing, "compare", compare)
    monkeypatch.setattr(comparing, "compare_all", compare_all)
    text = Page(write_report([judged("rrww", "a"), judged("rwww", "b"), judged("rr", "c")], tmp_path)[0]).text
    assert asked == [1] and text.count("not compared: a has 4 samples, c has 2") == 1
    assert "n = 2, 4" in text


def test_published_rows_stand_beside_with_source_and_caveat(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    row = Published(
        tasks=("考试",),
        system="ChiMed-GPT",
        metric="accuracy",
        value=68.29,
        k=28,
        n=41,
        source="paper",
        note="val split",
    )
    monkeypatch.setattr(sections, "published", lambda task: [row] if task == "考试" else [])
    paths = write_report([judged("rw")], tmp_path)
    line = "| ChiMed-GPT | accuracy | 68.29 | \\[53.0, 80.4\\] | 28 of 41 | paper | val split |"
    assert line in paths[1].read_text("utf-8")
    assert json.loads(paths[2].read_text("utf-8"))["published"]["考试"][0]["value"] == 68.29


def test_results_without_samples_and_of_retrieval_are_reported(tmp_path: Path) -> None:
    read = TaskResult.model_validate_json(judged("rrw").model_dump_json())
    search = Result(
        task="retrieval", system="hybrid", protocol="beir", n=10, data_sha256="c" * 64,
        metrics={"ndcg@10": Interval(value=0.35, low=0.3, high=0.4)},
    )  # fmt: skip
    text = Page(write_report([read, search], tmp_path)[0]).text
    assert "without their samples" in text and "ndcg@10" in text and "[0.300, 0.400]" in text


def test_a_number_that_is_none_is_told_and_not_drawn(tmp_path: Path) -> None:
    nothing = Interval(value=float("nan"), low=float("nan"), high=float("nan"))
    paths = write_report([judged("rw", metrics={"accuracy": nothing}, baselines={})], tmp_path)
    page = Page(paths[0])
    assert "n/a" in page.text and "accuracy (strict-v1) with" not in page.text
    assert json.loads(paths[2].read_text("utf-8"))["results"][0]["metrics"]["accuracy"]["value"] is None


def test_bad_arguments_name_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one"):
        write_report([], tmp_path)
    with pytest.raises(InputError, match="-1"):
        write_report([judged("rw")], tmp_path, examples=-1)
    with pytest.raises(InputError, match="'gpt'; there are: 系统"):
        write_report([judged("rw")], tmp_path, baseline="gpt")
    assert not list(tmp_path.iterdir())


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    results = [judged("rrwie", "a"), judged("rwwwe", "b")]
    first = [path.read_bytes() for path in write_report(results, tmp_path / "1")]
    assert first == [path.read_bytes() for path in write_report(results, tmp_path / "2")]


def test_drawings_follow_what_the_results_have(tmp_path: Path) -> None:
    four = {"n": Interval(value=4, low=4, high=4), "confidence": Interval(value=0.55, low=0.5, high=0.6)}
    bins = {"confidence: 0.5–0.6": four | {"accuracy": proportion(2, 4)}}
    noise = {f"noise {level}": {"accuracy": proportion(k, 10)} for level, k in (("0.0", 9), ("0.4", 7), ("0.8", 5))}
    other = {"subject: 药理": {"accuracy": proportion(1, 2)}}
    page = Page(write_report([judged("rrwwrrww", groups=bins | noise | other)], tmp_path)[0])
    for said in ("accuracy (strict-v1)", "4 of 8 samples", "Risk–coverage (strict-v1)", "accuracy by noise, with"):
        assert said in page.text
    assert "area beneath: 系统" in page.text and "(a confidence that knows nothing 0.500)" in page.text
    assert "accuracy by subject" not in page.text
    assert len([tag for tag, _ in page.elements if tag == "svg"]) == 4


def test_metrics_named_best_of_k_are_a_curve(tmp_path: Path) -> None:
    metrics = {f"judge_best_of_{k}": proportion(k, 10) for k in (1, 2, 4)}
    assert "judge by best_of, with" in Page(write_report([judged("rw", metrics=metrics)], tmp_path)[0]).text


def test_scales_show_constant_responders_beside(tmp_path: Path) -> None:
    of = card("cami", "attitude", main_metric="AU")
    result = judged(
        "rw", of=of, metrics={"AU": Interval(value=32, low=30, high=35), "AU_sum": proportion(1, 10)},
        baselines={"constant A": {"AU": 30.0}, "constant B": {"AU": 30.0}, "stigmatising": {"AU": 50.0}},
    )  # fmt: skip
    page = Page(write_report([result], tmp_path)[0])
    assert "AU with 95 % intervals; dashed: responders without a mind" in page.text and "AU_sum with" not in page.text
    assert "constant A, constant B" in page.text and "stigmatising" in page.text


@pytest.mark.parametrize("name", ["华法林与布洛芬同服" * 8, "$\\frac{1}{2$", "a\nb\x00<&\"'", "", "𠮷野家 🩺"])
def test_any_name_can_be_drawn(name: str) -> None:
    one = figures.bars("x", name, [Bar(name, proportion(1, 3)), Bar("b", 0.5, quiet=True)])
    two = figures.lines("y", name, [Line(name, [(0, 0.5), (1, 0.7)]), Line("b", [(0, 0.5), (1, 0.7)])], x="k", y=name)
    three = figures.scale("z", name, [Bar(name, proportion(1, 3))], {name: 0.4})
    for drawn in (one, two, three):
        texts = [
            found.text or "" for found in ElementTree.fromstring(drawn.svg).iter("{http://www.w3.org/2000/svg}text")
        ]
        assert shortened(name) in texts
        assert drawn.svg in drawn._repr_html_()


def linear(shade: str) -> NDArray[np.float64]:
    channels = np.array([int(shade[n : n + 2], 16) / 255 for n in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def luminance(shade: str) -> float:
    return float(np.array([0.2126, 0.7152, 0.0722]) @ linear(shade))


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_colours_have_the_contrast_that_is_promised(dark: bool) -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    shade = {name: shades[dark] for name, shades in PALETTE.items()}
    for name in (*SERIES, "ink", "soft"):  # names beside curves are written in their colours
        assert contrast(shade[name], shade["paper"]) >= 4.5, name
    for tint in ("tint", "bad-tint", "warn-tint"):
        assert contrast(shade["ink"], shade[tint]) >= 7, tint
    # A drawing's colours are found again by their shades.
    assert len({light for light, _ in PALETTE.values()}) == len(PALETTE)


CONES = {
    "all": np.eye(3),
    "no red": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "no green": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
    ),
    "no blue": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]]
    ),
}
"""Machado, Oliveira and Fernandes 2009, severity 1, of linear RGB."""


def lab(colour: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE 1976 L*a*b* of linear RGB, white D65."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(colour, 0, 1) / np.array([0.9505, 1, 1.089])
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("cones", CONES)
def test_series_stay_apart_for_all_eyes(cones: str, dark: bool) -> None:
    assert lab(np.ones(3)) == pytest.approx([100, 0, 0], abs=0.1)
    seen = [lab(CONES[cones] @ linear(PALETTE[name][dark])) for name in SERIES]
    assert min(float(np.linalg.norm(one - other)) for one, other in combinations(seen, 2)) >= 20
