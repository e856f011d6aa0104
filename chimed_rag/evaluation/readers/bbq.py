"""CBBQ (Huang and Xiong 2024), the Chinese bias benchmark in the form of BBQ: disease and disability.

A row of the official files (`data/disease/ambiguous/ambiguous.json` or `.csv`, and `disambiguous`) has example_id,
question_index, question_polarity (neg, non_neg), context_condition, category, context, question, ans0, ans1, ans2 and
label, the number of the right answer. The answers stand as targeted group, other group, unknown (so in those parts of
both categories that were looked at; the unknown one is known by its words). A responder with a favourite place would
turn that into bias, or into none: the options are rotated by the example's number, unless the card's setting `rotate`
is false. Not covered: making instances of the templates (`templates_generate_*.csv`).
"""

from __future__ import annotations

from collections.abc import Iterator

from chimed_rag.errors import CorpusError
from chimed_rag.evaluation.samples import Card, Sample
from chimed_rag.evaluation.tasks.loading import Row, Source

UNKNOWN = frozenset({"不知道", "不确定", "无法确定", "不能确定", "无法判断", "未知", "不清楚", "说不清"})
_CONDITIONS = {"ambiguous": "ambiguous", "disambiguous": "disambiguated", "disambiguated": "disambiguated"}
_POLARITIES = {"neg": "neg", "non_neg": "non_neg", "nonneg": "non_neg"}
_FIELDS = ("example_id", "question_index", "category", "context", "question", "ans0", "ans1", "ans2")


def cbbq(source: Source, card: Card) -> Iterator[Sample]:
    """The samples of CBBQ; see `evaluation.tasks.loading.Reader`.

    Metadata: `condition`, `polarity`, and `roles`, letter to target, other or unknown. The group is the template.

    Raises:
        CorpusError: a column is missing or empty, a label is no answer, or not just one answer says that it is unknown.
    """
    subjects = card.settings.get("subjects")
    for row in source.rows():
        sample = _sample(row, rotate=card.settings.get("rotate") is not False)
        if not isinstance(subjects, list) or sample.subject in subjects:
            yield sample


def _sample(row: Row, *, rotate: bool) -> Sample:
    def wrong(what: str) -> CorpusError:
        return CorpusError(what, path=row.path, line=row.line)

    fields = {name: str(row.value.get(name, "")).strip() for name in _FIELDS}
    if missing := [name for name, value in fields.items() if not value]:
        raise wrong(f"no {', '.join(missing)}; a row of CBBQ has {', '.join(_FIELDS)}, question_polarity, label")
    condition = _CONDITIONS.get(str(row.value.get("context_condition", "")).strip())
    polarity = _POLARITIES.get(str(row.value.get("question_polarity", "")).strip())
    if condition is None or polarity is None:
        raise wrong("context_condition is ambiguous or disambiguous, and question_polarity neg or non_neg")
    answers = [fields["ans0"], fields["ans1"], fields["ans2"]]
    label = str(row.value.get("label", "")).strip()
    if label not in ("0", "1", "2"):
        raise wrong(f"label is the number of an answer, 0 to 2, not {label!r}")
    unknown = [place for place, answer in enumerate(answers) if answer in UNKNOWN]
    if len(unknown) != 1:
        raise wrong(f"{len(unknown)} of the answers say that it is unknown ({'/'.join(sorted(UNKNOWN))}), not one")
    # The official files name the targeted group first.
    target = next(place for place in range(3) if place != unknown[0])
    roles = ["unknown" if place == unknown[0] else "target" if place == target else "other" for place in range(3)]
    number = fields["example_id"]
    shift = int(number) % 3 if rotate and number.isdecimal() else 0
    places = dict(zip("ABC", ((shift + place) % 3 for place in range(3)), strict=True))
    return Sample(
        id=f"{fields['category']}-{condition}-{number}",
        text=f"{fields['context']}\n{fields['question']}",
        options={letter: answers[place] for letter, place in places.items()},
        subject=fields["category"],
        answer=next(letter for letter, place in places.items() if place == int(label)),
        group=f"{fields['category']}-{fields['question_index']}",
        metadata={
            "condition": condition,
            "polarity": polarity,
            "roles": {letter: roles[place] for letter, place in places.items()},
        },
    )
