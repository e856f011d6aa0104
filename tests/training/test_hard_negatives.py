"""Hard negatives: one thing wrong, the rest untouched."""

from __future__ import annotations

import difflib
from collections import Counter

import pytest

from training.contracts import RankedList, Reply
from training.negatives import KINDS, hard_negatives, spoilt

REPLY = (
    "孕妇禁用布洛芬。成人每次口服0.2克，每日3次，饭后服用。若伴有高血压，不宜长期使用，应立即就医。\n"
    "该药可能引起胃部不适，多数人可以耐受。"
)


def ranked(number: int, text: str = REPLY) -> RankedList:
    return RankedList(
        id=str(number),
        prompt=[{"role": "user", "content": f"问题{number}"}],
        replies=[Reply(text=f"{number}。{text}", rank=1), Reply(text="不清楚。", rank=2)],
    )


@pytest.mark.parametrize("unseen", [False, True])
def test_each_kind_changes_one_place(unseen: bool) -> None:
    found = spoilt(REPLY, 1, unseen=unseen)
    assert {"dose", "drug", "disease", "negation", "strength", "population"} == set(KINDS)
    assert set(found) == set(KINDS)
    for wrong in found.values():
        assert wrong.text != REPLY
        changes = difflib.SequenceMatcher(None, REPLY, wrong.text, autojunk=False).get_opcodes()
        touched = [REPLY[a:b] for tag, a, b, _, _ in changes if tag != "equal"]
        assert sum(map(len, touched)) <= 12
        assert REPLY.startswith(wrong.right)
        assert wrong.text.startswith(wrong.wrong)
        assert wrong.wrong != wrong.right
    assert "布洛芬" not in found["drug"].text
    assert "高血压" not in found["disease"].text
    assert (
        ("0.2克" not in found["dose"].text) or ("每日3次" not in found["dose"].text) or "饭后" not in found["dose"].text
    )


def test_the_same_seed_spoils_alike_and_another_one_otherwise() -> None:
    assert spoilt(REPLY, 1) == spoilt(REPLY, 1)
    assert any(spoilt(REPLY, 1) != spoilt(REPLY, seed) for seed in range(2, 6))


def test_kinds_are_balanced_and_short_right_beats_long_wrong() -> None:
    pairs, counts = hard_negatives([ranked(n) for n in range(24)], 24, 3)
    assert len(pairs) == 24 == sum(counts.values())
    assert {kind: sum(pair.kind.endswith(kind) for pair in pairs) for kind in KINDS} == dict.fromkeys(KINDS, 4)
    forms = Counter(pair.kind.partition(":")[0] for pair in pairs)
    assert forms["hard"] >= 12
    assert min(forms["short"], forms["long"]) >= 2
    for pair in pairs:
        assert pair.weight == 1
        one, other = len(pair.chosen), len(pair.rejected)
        if pair.kind.startswith("short:"):
            assert one <= 0.8 * other
        elif pair.kind.startswith("long:"):
            assert other <= 0.8 * one
        else:
            assert abs(one - other) <= 8


def test_what_is_measured_is_made_by_rules_that_nothing_is_learned_from() -> None:
    lists = [ranked(n) for n in range(24)]
    seen, unseen = (hard_negatives(lists, 24, 3, unseen=part)[0] for part in (False, True))
    assert {pair.kind for pair in unseen} == {f"unseen:{kind}" for kind in KINDS}
    assert not {pair.rejected for pair in seen} & {pair.rejected for pair in unseen}


def test_what_cannot_be_spoilt_is_counted() -> None:
    pairs, counts = hard_negatives([ranked(1), ranked(2, "嗯")], 2, 3)
    assert len(pairs) == 1
    assert counts["cannot be spoilt"] == 1


@pytest.mark.parametrize("text", ["", "嗯", "A"])
def test_a_reply_without_anything_to_spoil(text: str) -> None:
    assert spoilt(text, 1) == {}
