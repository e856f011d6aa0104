"""Hard negatives: one thing wrong, the rest untouched."""

from __future__ import annotations

import difflib

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


def test_each_kind_changes_one_place() -> None:
    found = spoilt(REPLY, 1)
    assert {"dose", "drug", "disease", "negation", "strength", "population"} == set(KINDS) == set(found)
    for wrong in found.values():
        assert wrong.text != REPLY
        changes = difflib.SequenceMatcher(None, REPLY, wrong.text, autojunk=False).get_opcodes()
        touched = [REPLY[a:b] for tag, a, b, _, _ in changes if tag != "equal"]
        assert sum(map(len, touched)) <= 12
        assert REPLY.startswith(wrong.right)
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
    short = [pair for pair in pairs if pair.kind.startswith("short:")]
    assert 4 <= len(short) <= 12
    for pair in pairs:
        assert pair.weight == 1
        if pair.kind.startswith("short:"):
            assert len(pair.chosen) <= 0.8 * len(pair.rejected)
        else:
            assert pair.kind.startswith("hard:")
            assert abs(len(pair.chosen) - len(pair.rejected)) <= 8


def test_what_cannot_be_spoilt_is_counted() -> None:
    pairs, counts = hard_negatives([ranked(1), ranked(2, "嗯")], 2, 3)
    assert len(pairs) == 1
    assert counts["cannot be spoilt"] == 1


@pytest.mark.parametrize("text", ["", "嗯", "A"])
def test_a_reply_without_anything_to_spoil(text: str) -> None:
    assert spoilt(text, 1) == {}
