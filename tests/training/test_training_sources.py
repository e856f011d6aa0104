"""Rows of our own forms: errors, cleaning, shares, redaction, the split, and that every row is accounted for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chimed_rag.errors import ConfigError, CorpusError, InputError, UnknownNameError
from training.contracts import Dialogue, RankedList, Row, Text
from training.files import Ledger
from training.settings import ROOT
from training.sources import read_rows, split
from training.stages import Data


def written(path: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A source of rows of our own."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    forms = {"text": "texts", "messages": "dialogues", "prompt": "ranked"}
    form = next((form for field, form in forms.items() if rows and field in rows[0]), "texts")
    return {"path": str(path), "form": form}


def read(kind: type[Row], *sources: dict[str, Any], evaluation: str | None = None, **data: Any) -> tuple[Any, Ledger]:
    hygiene = {"evaluation": evaluation, **data.pop("hygiene", {})}
    asked = Data.model_validate({"sources": sources, "hygiene": hygiene, "redact": False, **data})
    ledger: Ledger = []
    rows = read_rows(asked, kind, seed=1, ledger=ledger)
    assert all(entry.read == entry.kept + sum(entry.dropped.values()) for entry in ledger)
    assert sum(entry.kept for entry in ledger) == len(rows)
    return rows, ledger


def text(id_: str, said: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "text": said, **more}


def dialogue(id_: str, *said: str, **more: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"id": id_, "messages": [{"role": roles[n % 2], "content": one} for n, one in enumerate(said)], **more}


def ranked(id_: str, prompt: str, *replies: str) -> dict[str, Any]:
    texts = [{"text": reply, "rank": n} for n, reply in enumerate(replies, 1)]
    return {"id": id_, "prompt": [{"role": "user", "content": prompt}], "replies": texts}


# --- reading ---------------------------------------------------------------------------------------------------


def test_our_forms_come_through_as_they_are(tmp_path: Path) -> None:
    (one,), (account,) = read(
        Dialogue,
        written(tmp_path / "a.jsonl", [dialogue("1", "头痛怎么办 ", "先休息。", task="qa")]) | {"licence": "CC0"},
    )
    assert one == Dialogue(
        id="1",
        source="a",
        licence="CC0",
        task="qa",
        messages=[{"role": "user", "content": "头痛怎么办 "}, {"role": "assistant", "content": "先休息。"}],
    )
    assert (account.rows, account.read, account.kept, account.characters) == (1, 1, 1, 10)
    (two,), _ = read(Text, written(tmp_path / "b.jsonl", [text("1", "一段话。", source="书")]) | {"domain": "general"})
    assert (two.source, two.domain) == ("书", "general")
    (three,), _ = read(RankedList, written(tmp_path / "c.jsonl", [ranked("1", "头痛怎么办", "先休息。", "不知道。")]))
    assert [reply.rank for reply in three.replies] == [1, 2]


def test_files_of_one_name_keep_their_rows_apart(tmp_path: Path) -> None:
    for n in range(2):
        (tmp_path / str(n)).mkdir()
        written(tmp_path / str(n) / "a.jsonl", [text("1", f"第{n}段话。")])
    rows, ledger = read(Text, {"path": str(tmp_path / "*" / "a.jsonl"), "form": "texts"})
    assert [(row.source, row.id) for row in rows] == [("a", "1"), ("a-2", "1")]
    assert len(ledger) == 2


TWICE = [{"role": "user", "content": "甲"}, {"role": "user", "content": "乙"}, {"role": "assistant", "content": "丙"}]


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        (
            Dialogue,
            {"id": "2", "messages": TWICE},
            r"messages: turn 2 is the user's .*; the form turns joins and trims",
        ),
        (Dialogue, dialogue("2", "甲", "乙", "丙"), "the last turn has to be the assistant's"),
        (Dialogue, dialogue("2", "甲", " "), "turn 2 is empty"),
        (Dialogue, dialogue("1", "甲", "乙"), "the id 1 stands on line 1 too"),
        (Dialogue, dialogue("2", "甲", "乙", mood="good"), "mood: Extra inputs are not permitted"),
        (RankedList, ranked("2", "甲", "相同", "相同"), "two replies have the same text"),
        (Text, {"text": "没有编号"}, "id: Field required"),
        (Text, text("2", ""), "text: String should have at least 1 character"),
    ],
)
def test_a_malformed_row_names_file_and_line(
    tmp_path: Path, kind: type[Row], row: dict[str, Any], message: str
) -> None:
    good = {Dialogue: dialogue("1", "问题", "回答"), RankedList: ranked("1", "问", "答", "不"), Text: text("1", "话")}
    with pytest.raises(CorpusError, match=rf"x\.jsonl, line 2: .*{message}"):
        read(kind, written(tmp_path / "x.jsonl", [good[kind], row]))


def test_what_cannot_be_read_at_all(tmp_path: Path) -> None:
    good = written(tmp_path / "a.jsonl", [text("1", "一段话。")])
    with pytest.raises(CorpusError, match=r"e\.jsonl: holds no row"):
        read(Text, good, written(tmp_path / "e.jsonl", []))
    with pytest.raises(UnknownNameError, match=r"no form of data is called 'csv'; there are: .*jsonl"):
        read(Text, good | {"form": "csv"})
    with pytest.raises(ConfigError, match=r"gives rows of Text, but this stage learns from Dialogue; .*alpaca"):
        read(Dialogue, good)
    with pytest.raises(ConfigError, match="the form jsonl has no field body; there are: title, section, text"):
        read(Text, good | {"form": "jsonl", "fields": {"body": "x"}})
    with pytest.raises(ConfigError, match=r"data\.tokens counts texts, not rows of Dialogue"):
        read(Dialogue, written(tmp_path / "d.jsonl", [dialogue("1", "问", "答")]), tokens=5)
    silent = tmp_path / "n.jsonl"
    silent.write_text('{"instruction": "问题一个", "output": ""}\n', "utf-8")
    with pytest.raises(InputError, match=r"no row is left of: .*n\.jsonl \(dropped: \{'no reply': 1\}\)$"):
        read(
            Dialogue,
            written(tmp_path / "d.jsonl", [dialogue("1", "问题", "回答")]),
            {"path": str(silent), "form": "alpaca"},
        )
    with pytest.raises(InputError, match=r"no row is left of: .*s\.jsonl \(dropped: \{'too short': 1\}\)"):
        read(Text, written(tmp_path / "s.jsonl", [text("1", "短")]))


# --- cleaning --------------------------------------------------------------------------------------------------

LONG = "".join(chr(0x4E00 + 13 * n) for n in range(120))


def test_what_is_dropped_and_why(tmp_path: Path) -> None:
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "q.jsonl").write_text(
        '{"q": "孩子半夜突然发高烧应该怎么处理才好", "a": "一共疼了多久"}', "utf-8"
    )
    rows = [
        dialogue("1", "这个病怎么治", LONG),
        dialogue("2", "这个病怎么治？", LONG + "。"),  # the same skeletons
        dialogue("3", "这个病怎么治", LONG[:50] + "改" + LONG[51:]),
        dialogue("4", "另一个问题是什么", LONG),  # the same reply to another question
        dialogue("5", "这个病怎么治", "看医生。"),  # another reply to the same question
        dialogue("6", "请问孩子半夜突然发高烧应该怎么处理", "先测体温。"),
        dialogue("7", "肚子疼", "一共疼了多久", "两天", "去查一下。"),  # a short turn that stands anywhere
        dialogue("8", "一共疼了多久", "三天。"),  # but this is what the evaluation asks
        dialogue("9", "？？", "问号。"),
        dialogue("10", "腹泻", "腹泻。"),
        dialogue("11", "头痛", "嗯。"),
    ]
    kept, (account,) = read(Dialogue, written(tmp_path / "a.jsonl", rows), evaluation=str(tmp_path / "eval"))
    assert [row.id for row in kept] == ["1", "4", "5", "7"]
    assert account.dropped == {
        "duplicate": 1,
        "near duplicate": 1,
        "evaluation": 2,
        "empty": 1,
        "repeats itself": 1,
        "too short": 1,
    }
    with pytest.raises(ConfigError, match="holds no evaluation file"):
        read(Dialogue, written(tmp_path / "b.jsonl", rows), evaluation=str(tmp_path / "gone"))


def test_a_reply_of_a_ranked_list_is_checked_too(tmp_path: Path) -> None:
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "q.txt").write_text(LONG[:30], "utf-8")
    rows = [ranked("1", "怎么治呢", "看医生。", LONG), ranked("2", "怎么治呢", "看医生。", "不用治。")]
    kept, (account,) = read(RankedList, written(tmp_path / "a.jsonl", rows), evaluation=str(tmp_path / "eval"))
    assert [row.id for row in kept] == ["2"] and account.dropped == {"evaluation": 1}


def test_identifiers_go_and_one_person_stays_one(tmp_path: Path) -> None:
    phone, other = "13800138000", "13900139000"
    rows = [
        dialogue("1", f"我的手机号是{phone}，头痛", "多久了？", f"打{phone}联系我，两天", "好。"),
        dialogue("2", "头痛怎么办", "先休息。"),
    ]
    kept, (account,) = read(Dialogue, written(tmp_path / "a.jsonl", rows), redact=True)
    assert [message["content"] for message in kept[0].messages] == [
        *("我的手机号是〔手机1〕，头痛", "多久了？", "打〔手机1〕联系我，两天", "好。")
    ]
    assert account.changed == {"redacted": 1}
    lists = [
        ranked("1", "怎么联系医生", f"手机{phone}。", f"手机{other}。"),
        ranked("2", "怎么联系医生", f"手机{phone}。", f"手机{phone}，别打。"),
    ]
    kept, (account,) = read(RankedList, written(tmp_path / "b.jsonl", lists), redact=True)
    assert [reply.text for reply in kept[0].replies] == ["手机〔手机1〕。", "手机〔手机2〕。"]
    assert [reply.text for reply in kept[1].replies] == ["手机〔手机1〕。", "手机〔手机1〕，别打。"]
    texts, _ = read(Text, written(tmp_path / "c.jsonl", [text("1", f"联系电话{phone}。")]), redact=True)
    assert phone not in texts[0].text


def test_a_limit_draws_the_same_rows_again(tmp_path: Path) -> None:
    source = written(tmp_path / "a.jsonl", [text(str(n), f"第{n}段话") for n in range(40)]) | {"limit": 7}
    rows, (account,) = read(Text, source)
    assert len(rows) == 7 and rows == read(Text, source)[0]
    assert account.dropped == {"beyond the limit": 33}


# --- shares ----------------------------------------------------------------------------------------------------


def test_shares_of_texts_are_of_their_characters(tmp_path: Path) -> None:
    one = written(tmp_path / "a.jsonl", [text(str(n), f"{n:010}") for n in range(100)])
    two = written(tmp_path / "b.jsonl", [text(str(n), f"b{n:03}" * 5) for n in range(100)])
    rows, ledger = read(
        Text, one | {"share": 0.25}, two | {"share": 0.75}, tokens=800, hygiene={"near_duplicates": None}
    )
    assert [entry.characters for entry in ledger] == [200, 600]
    assert [entry.dropped["beyond the share"] for entry in ledger] == [80, 70]
    assert {row.source for row in rows[:10]} == {"a", "b"}
    data = Data.model_validate(
        {"sources": [one], "hygiene": {"evaluation": None, "near_duplicates": None}, "tokens": 12, "redact": False}
    )
    assert len(read_rows(data, Text, seed=1, ledger=[], count=lambda row: 2)) == 6
    with pytest.raises(InputError, match=r"a\.jsonl: 2,000 characters asked for \(1 of 2,000\), 1,000 are there"):
        read(Text, one, tokens=2000, hygiene={"near_duplicates": None})


def test_shares_of_other_rows_are_of_their_number(tmp_path: Path) -> None:
    sources = [
        written(tmp_path / f"{name}.jsonl", [dialogue(str(n), f"{name}的第{n}个问题", f"{n}的回答") for n in range(40)])
        for name in "ab"
    ]
    _, ledger = read(Dialogue, sources[0], sources[1] | {"share": 0.2}, hygiene={"near_duplicates": None})
    assert [entry.kept for entry in ledger] == [40, 10]


said = st.text(alphabet="甲乙丙 ，a", min_size=1, max_size=6).filter(lambda text: bool(text.strip()))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(said, said, st.booleans()), max_size=20),
    limit=st.integers(1, 10),
    share=st.sampled_from([None, 0.3]),
)
def test_every_row_is_accounted_for(
    tmp_path: Path, rows: list[tuple[str, str, bool]], limit: int, share: float | None
) -> None:
    made = [{"instruction": q, "output": a if full else " "} for q, a, full in rows]
    anchors = [{"instruction": f"一定留下的问题{n}", "output": f"{n}一定留下的回答"} for n in range(4)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*anchors, *made]), "utf-8")
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in anchors), "utf-8")
    one = {"path": str(tmp_path / "a.jsonl"), "form": "alpaca", "limit": limit}
    two = {"path": str(tmp_path / "b.jsonl"), "form": "alpaca", "share": share}
    try:
        _, ledger = read(Dialogue, one, two)  # the account is checked there
    except InputError as error:
        assert share is not None and ("asked for" in str(error) or "no row is left to mix" in str(error))
    else:
        assert ledger[0].read == len(rows) + 4 and ledger[1].read == 4


# --- the split -------------------------------------------------------------------------------------------------


def rows_of(kind: type[Row], made: list[dict[str, Any]]) -> list[Any]:
    return [kind.model_validate(row) for row in made]


def test_a_split_keeps_the_rows_of_a_prompt_together() -> None:
    rows = rows_of(
        Dialogue, [dialogue(f"{n}.{m}", f"问题{n}" + "？" * m, f"回答{m}") for n in range(30) for m in range(3)]
    )
    for seed in range(5):
        training, held_out = split(rows, 10, seed)
        assert len(held_out) == 9 and len(training) == 81  # three prompts of three rows; a fourth would be too many
        prompts = [{row.messages[0]["content"].rstrip("？") for row in side} for side in (training, held_out)]
        assert not prompts[0] & prompts[1]
        backwards = split(rows[::-1], 10, seed)
        assert backwards[1] == held_out[::-1]
    assert split(rows, 10, 1) != split(rows, 10, 2)
    assert split(rows, 0, 1) == (rows, [])
    assert split([], 10, 1) == ([], [])


def test_a_split_that_leaves_nothing_is_an_error() -> None:
    rows = rows_of(RankedList, [ranked(str(n), "同一个问题", f"{n}好", f"{n}坏") for n in range(4)])
    with pytest.raises(InputError, match="3 rows held out of 4 with 1 different prompts leave nothing to measure"):
        split(rows, 3, 1)
    with pytest.raises(InputError, match="leave nothing to train on"):
        split(rows, 4, 1)


def test_no_torch_is_needed_to_read() -> None:
    heavy = "{'torch', 'transformers', 'datasets', 'trl'}"
    code = "import sys, training.sources as s; s.FORMS.get('turns'); s.FORMS.get('jsonl'); "
    subprocess.run([sys.executable, "-c", f"{code} assert not {heavy} & set(sys.modules)"], check=True, cwd=ROOT)


@pytest.mark.real_data
def test_the_real_preferences_are_read(shared_data: Path) -> None:
    source = {"path": str(shared_data / "preference" / "*.jsonl.gz"), "form": "chosen_rejected", "limit": 100}
    rows, ledger = read(RankedList, source, redact=True)
    assert [entry.read for entry in ledger] == [2795, 326]
    assert ledger[1].dropped["same text"] == 1
    training, held_out = split(rows, 40, 1)
    assert len(held_out) == 40 and len(training) + 40 == len(rows)
