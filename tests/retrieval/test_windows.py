"""The reranker in the wheel: how passages are cut into windows, which one is read, what its scores are and do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chimed_rag import MedQA
from chimed_rag.encoders.compact import PASSAGE, QUESTION, CompactTransformer
from chimed_rag.errors import EncoderError
from chimed_rag.indexing.segment import Head, StoredChunk
from chimed_rag.records import Chunk, RankEntry
from chimed_rag.retrieval.rerank import Reranker, load_reranker, rerank
from chimed_rag.retrieval.retrievers import Ranked
from chimed_rag.retrieval.windows import LONGEST, SHIPPED, WindowReranker, best_windows, readable, windows
from tests.contracts.reranker_contract import PASSAGES, QUERY, RerankerContract
from tests.tiny_compact import make

ODD = ["", " ", "\n\n", "🙂🙂", "\ud800", "🙂。🙂", "\0", "，", "。" * 200, "\u3000" * 200]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("windows") / "tiny")


@pytest.fixture(scope="module")
def reranker(folder: Path) -> WindowReranker:
    return WindowReranker(folder)


# --- windows ---------------------------------------------------------------------------------------------------------


def _numbered(pattern: str) -> str:
    """Each x as a Chinese character of its own, so that it can be found again."""
    return "".join(chr(0x4E00 + place) if sign == "x" else sign for place, sign in enumerate(pattern))


# Of an x there are many, so that there are sentences, and longer ones than a window.
PATTERNS = st.text(st.sampled_from("xxxxxxxxxx，、：:。！？；;….\n（）“”《》1a🙂\ud83d \u3000"), max_size=90)


@given(PATTERNS.map(_numbered), st.integers(1, 20))
@example("", 5)
@example(" \n ", 1)
@example("，" * 30, 4)
@example(_numbered("x" * 30 + "。" + "x，" * 20), 7)
@settings(max_examples=300, deadline=None)
def test_windows_hold_all_of_a_text(text: str, longest: int) -> None:
    found = windows(text, longest)
    assert found and all(len(window) <= longest and window in text for window in found)
    covered = Counter(sign for window in found for sign in window)
    assert all(covered[sign] >= count for sign, count in Counter(text).items() if not sign.isspace())
    begins = [text.index(window) for window in found if window and window[0] >= "\u4e00" and window[0] <= "\u9fff"]
    assert begins == sorted(set(begins))


@given(st.text(st.characters(codec=None), max_size=300))
@settings(max_examples=100, deadline=None)
def test_any_text_has_windows(text: str) -> None:
    found = windows(text)
    assert found and all(len(window) <= LONGEST and window in text for window in found)


def test_a_window_begins_at_each_sentence() -> None:
    text = "头痛三天。发热一天。咳嗽有痰。食欲不振。"
    assert windows(text, 10) == ["头痛三天。发热一天。", "发热一天。咳嗽有痰。", "咳嗽有痰。食欲不振。"]
    assert windows(text, 9) == ["头痛三天。", "发热一天。", "咳嗽有痰。", "食欲不振。"]


def test_a_run_that_ends_where_the_former_did_is_left_out() -> None:
    assert windows("高血压要限盐。按时服药。") == ["高血压要限盐。按时服药。"]
    assert windows("头痛三天。发热。咳嗽。", 9) == ["头痛三天。发热。", "发热。咳嗽。"]


def test_a_long_sentence_is_cut_at_commas() -> None:
    text = "高血压患者应当低盐饮食，规律运动，按时服药，定期测量血压，保持心情舒畅"
    assert windows(text, 12) == ["高血压患者应当低盐饮食，", "规律运动，按时服药，", "定期测量血压，", "保持心情舒畅"]
    assert windows("适应症：头痛、牙痛、神经痛和关节痛", 8) == ["适应症：头痛、", "牙痛、", "神经痛和关节痛"]


def test_a_long_sentence_without_commas_is_cut_by_length() -> None:
    assert windows("布洛芬用于缓解轻至中度疼痛", 5) == ["布洛芬用于", "缓解轻至中", "度疼痛"]


def test_a_window_has_no_blank_edges() -> None:
    assert windows("  头痛。\n\n 发热。 \n") == ["头痛。\n\n 发热。"]
    assert windows("头痛。\n发热。", 4) == ["头痛。", "发热。"]


def test_the_numbers_of_a_list_and_decimals_are_not_torn() -> None:
    assert windows("成人一次0.2g，一日3次。孕妇禁用。", 14) == ["成人一次0.2g，一日3次。", "孕妇禁用。"]


@pytest.mark.parametrize("text", ["", " ", "\n\n"])
def test_a_blank_text_has_one_window(text: str) -> None:
    assert windows(text) == [text]


# --- what is read of a passage ---------------------------------------------------------------------------------------

FEVER = "体温超过38.5℃可以服退热药，同时多喝水，注意休息，衣被不要过厚，室内保持通风。"
RASH = "皮疹发痒时不要抓挠，可外用炉甘石洗剂，剪短指甲，穿宽松的棉质衣服，忌食辛辣食物。"
SEIZURE = "孩子抽搐时让他侧卧，不要往嘴里塞东西，记下抽搐的时间，超过五分钟立即呼叫急救。"


def test_title_and_headings_stand_before_each_window() -> None:
    passage = f"小儿急症\n常见处理\n{FEVER}{RASH}\n{SEIZURE}"
    assert readable(passage) == [f"小儿急症 常见处理\n{body}" for body in (FEVER, RASH, SEIZURE)]


def test_a_passage_of_one_line_has_no_names() -> None:
    assert readable("高血压") == ["高血压"]
    assert readable("高血压要限盐。") == ["高血压要限盐。"]


def test_sentences_and_long_lines_are_no_names() -> None:
    assert readable("头痛三天。\n发热。") == ["头痛三天。\n发热。"]
    assert readable("症状：\n发热。") == ["症状：\n发热。"]
    most, more = "题" * 30, "题" * 31
    assert readable(f"{most}\n发热。") == [f"{most}\n发热。"]
    assert readable(f"布洛芬\n{most}\n发热。") == [f"布洛芬 {most}\n发热。"]
    assert readable(f"布洛芬\n{more}\n发热。") == [f"布洛芬\n{more}\n发热。"]


def test_the_last_line_is_no_name() -> None:
    assert readable("布洛芬\n禁忌") == ["布洛芬\n禁忌"]
    assert best_windows("禁忌", ["布洛芬\n用药\n禁忌"]) == ["布洛芬 用药\n禁忌"]


def test_four_lines_are_names_at_most() -> None:
    assert readable("布洛芬\n芬必得\n用药\n禁忌\n孕妇\n孕晚期禁用。") == ["布洛芬 芬必得 用药 禁忌\n孕妇\n孕晚期禁用。"]


def test_names_alone_are_read() -> None:
    assert readable("布洛芬\n") == ["布洛芬"]


@pytest.mark.parametrize(
    ("query", "body"), [("宝宝发烧体温39度要吃退热药吗", FEVER), ("皮疹痒", RASH), ("小孩抽搐怎么急救", SEIZURE)]
)
def test_the_window_that_shares_most_with_the_query_is_read(query: str, body: str) -> None:
    assert best_windows(query, [f"小儿急症\n{FEVER}{RASH}{SEIZURE}"]) == [f"小儿急症\n{body}"]


def test_rare_words_count_more() -> None:
    common = "遇到这种情况怎么办，多数人会先问问身边的朋友，也可以打电话给附近的卫生院，说明年龄和经过。"
    rare = "肾结石小于六毫米时常能自行排出，每天饮水两升以上，适当跳跃，疼痛剧烈时到泌尿外科就诊。"
    assert best_windows("肾结石怎么办", [common + rare]) == [rare]  # as many n-grams of the one as of the other


def test_a_window_without_words_shares_nothing() -> None:
    assert best_windows("痒", ["🙂" * LONGEST + "痒"]) == ["痒"]


@pytest.mark.parametrize("query", ["", "🙂", "\ud800", "肝豆状核变性"])
def test_the_first_window_is_read_where_none_shares_anything(query: str) -> None:
    assert best_windows(query, [FEVER + RASH]) == [FEVER]


def test_each_passage_gives_one_window_in_order() -> None:
    passages = [*ODD, f"急症\n{FEVER}{RASH}", *PASSAGES, *ODD]
    for query in (QUERY, *ODD):
        found = best_windows(query, passages)
        assert len(found) == len(passages)
        assert all(window in readable(passage) for window, passage in zip(found, passages, strict=True))
        assert found == [best_windows(query, [passage])[0] for passage in passages]
    assert best_windows(QUERY, []) == []


@given(st.text(max_size=12), st.lists(st.text(st.sampled_from("高血压头痛，。\n 🙂"), max_size=150), max_size=5))
@settings(max_examples=100, deadline=None)
def test_a_window_is_one_that_can_be_read(query: str, passages: list[str]) -> None:
    found = best_windows(query, passages)
    assert all(window in readable(passage) for window, passage in zip(found, passages, strict=True))


# --- the reranker ----------------------------------------------------------------------------------------------------


class TestWindowContract(RerankerContract):
    """The fixture `reranker` stands above: the model is loaded once."""

    tolerance = 1e-5


def test_scores_are_cosines(folder: Path, reranker: WindowReranker) -> None:
    model, passages = CompactTransformer(folder), [*PASSAGES, *ODD, f"小儿急症\n{FEVER}{RASH}"]
    for query in (QUERY, "", "🙂"):
        scores = reranker.score(query, passages)
        assert len(scores) == len(passages) and all(type(score) is float for score in scores)
        assert np.abs(scores).max() <= 1 + 1e-6
        cosines = model.encode(best_windows(query, passages), PASSAGE) @ model.encode([query], QUESTION)[0]
        np.testing.assert_allclose(scores, cosines, atol=1e-6)
        assert reranker.score(query, passages) == scores


def test_only_the_best_window_counts(reranker: WindowReranker) -> None:
    whole, alone, with_other = reranker.score(
        "皮疹痒", [f"小儿急症\n{FEVER}{RASH}", f"小儿急症\n{RASH}", f"小儿急症\n{SEIZURE}{RASH}"]
    )
    assert whole == pytest.approx(alone, abs=1e-6) and with_other == pytest.approx(alone, abs=1e-6)


def test_the_name_windows_means_it(folder: Path, reranker: WindowReranker, tmp_path: Path) -> None:
    found = load_reranker("windows", path=str(folder))
    assert isinstance(found, WindowReranker) and isinstance(found, Reranker)
    assert found.score(QUERY, PASSAGES) == pytest.approx(reranker.score(QUERY, PASSAGES), abs=1e-6)
    with pytest.raises(EncoderError, match="gone"):
        load_reranker("windows", path=tmp_path / "gone")


def test_in_the_flow(ward: Path, reranker: WindowReranker) -> None:
    with MedQA.load(ward, reranker=reranker) as qa:
        found = qa.search("布洛芬的禁忌", k=20)
    texts = ["\n".join((e.title, *e.headings, e.text)) for e in found]
    own = [e.ranks["windows"].score for e in found]
    assert own == pytest.approx(reranker.score("布洛芬的禁忌", texts), abs=1e-5)
    assert sorted(e.ranks["windows"].rank for e in found) == list(range(1, len(found) + 1))
    assert [e.score for e in found] == sorted((e.score for e in found), reverse=True)
    shares = [e.score - WindowReranker.beside_fused * score for e, score in zip(found, own, strict=True)]
    assert max(shares) == pytest.approx(1)
    with MedQA.load(ward) as qa:
        assert {e.chunk_id for e in qa.search("布洛芬的禁忌", k=20)} == {e.chunk_id for e in found}


# --- scores beside the fused ones ------------------------------------------------------------------------------------


class Fixed:
    """Scores by text; notes what it reads."""

    name = "fixed"

    def __init__(self, **scores: float) -> None:
        self.scores, self.read = scores, list[str]()

    def score(self, query: str, passages: Sequence[str]) -> list[float]:
        self.read += passages
        return [self.scores[passage] for passage in passages]


class Beside(Fixed):
    beside_fused = 1.0


class HalfBeside(Fixed):
    beside_fused = 0.5


def reranked(reranker: Reranker, fused: dict[str, float], most: int | None = None) -> list[Ranked]:
    """With each chunk's id as its text; only those that are to be read are at hand."""
    ranked = [
        Ranked(row, fused[id], {"bm25": RankEntry(rank=row + 1, score=fused[id])}) for row, id in enumerate(fused)
    ]
    head = Head("d", "", "", "", "", "", {})
    chunks = [Chunk(id=id, document_id="d", text=id, start=0, end=len(id)) for id in fused]
    return rerank(
        reranker, "", ranked, {row: StoredChunk(chunk, head) for row, chunk in enumerate(chunks[:most])}, most
    )


def test_a_score_beside_the_fused_one_is_added_to_its_share_of_the_best() -> None:
    found = reranked(Beside(a=-0.5, b=0.1, c=0.3), {"a": 10, "b": 8, "c": 5})
    assert [item.row for item in found] == [1, 2, 0]
    assert [item.score for item in found] == pytest.approx([0.9, 0.8, 0.5])
    found = reranked(HalfBeside(a=-0.5, b=0.1, c=0.3), {"a": 10, "b": 8, "c": 5})
    assert [item.row for item in found] == [1, 0, 2]
    assert [item.score for item in found] == pytest.approx([0.85, 0.75, 0.65])


def test_ranks_tell_the_rerankers_own_rank_and_score() -> None:
    found = reranked(Beside(a=-0.5, b=0.1, c=0.3), {"a": 10, "b": 8, "c": 5})
    assert [item.ranks["fixed"] for item in found] == [
        RankEntry(rank=2, score=0.1),
        RankEntry(rank=1, score=0.3),
        RankEntry(rank=3, score=-0.5),
    ]
    assert [item.ranks["bm25"].rank for item in found] == [2, 3, 1]


def test_a_score_that_stands_alone_makes_the_order() -> None:
    found = reranked(Fixed(a=-0.5, b=0.1, c=0.3), {"a": 10, "b": 8, "c": 5})
    assert [(item.row, item.score, item.ranks["fixed"].rank) for item in found] == [
        (2, 0.3, 1),
        (1, 0.1, 2),
        (0, -0.5, 3),
    ]


@pytest.mark.parametrize("best", [0.0, -1.0])
def test_where_no_fused_score_is_above_zero_the_scores_make_the_order(best: float) -> None:
    found = reranked(Beside(a=-0.5, b=0.1, c=0.3), {"a": best, "b": best, "c": best})
    assert [(item.row, item.score) for item in found] == [(2, 0.3), (1, 0.1), (0, -0.5)]


def test_equal_totals_go_by_the_chunks_ids() -> None:
    found = reranked(Beside(b=0.0, a=0.5, c=0.5), {"b": 2, "c": 1, "a": 1})
    assert [(item.row, item.score) for item in found] == [(2, 1.0), (0, 1.0), (1, 1.0)]
    assert [item.ranks["fixed"].rank for item in found] == [1, 3, 2]


@pytest.mark.parametrize("kind", [Fixed, Beside])
def test_nothing_found_stays_nothing(kind: type[Fixed]) -> None:
    assert reranked(kind(), {}) == [] and reranked(kind(), {}, most=3) == []


@pytest.mark.parametrize("kind", [Fixed, Beside])
def test_what_is_not_read_follows_in_its_order(kind: type[Fixed]) -> None:
    reranker = kind(a=-0.5, b=0.4)
    found = reranked(reranker, {"a": 4, "b": 3, "c": 2.5, "d": 1}, most=2)
    assert reranker.read == ["a", "b"]
    assert [item.row for item in found] == [1, 0, 2, 3]
    scores = [item.score for item in found]
    assert np.diff(scores)[1:].tolist() == pytest.approx([-0.5, -1.5])
    assert scores == sorted(scores, reverse=True)
    assert ["fixed" in item.ranks for item in found] == [True, True, False, False]


def test_a_blank_line_is_no_name() -> None:
    assert readable("布洛芬\n\n血压高。") == ["布洛芬\n血压高。"]
    assert readable("\n\n血压高。")[0].strip() == "血压高。"


def test_a_folder_of_ones_own_is_known_by_its_card(folder: Path) -> None:
    assert isinstance(load_reranker(str(folder)), WindowReranker)


# --- the model in the wheel ------------------------------------------------------------------------------------------


class TestTheShippedOne(RerankerContract):
    @pytest.fixture
    def reranker(self) -> WindowReranker:
        return WindowReranker()

    @pytest.mark.parametrize(
        ("asked", "right", "wrong"),
        [
            ("拉肚子怎么办", "腹泻患者应注意补充水分和电解质。", "便秘患者应多吃蔬菜和水果。"),
            ("孩子身上起红点发痒", "小儿荨麻疹表现为皮肤风团和瘙痒。", "小儿肺炎表现为咳嗽和气促。"),
            ("老是睡不着", "失眠症的治疗以改善睡眠习惯为主。", "痔疮患者应保持大便通畅。"),
            ("血糖高吃什么药", "二甲双胍是2型糖尿病的首选药物。", "硝苯地平用于治疗高血压。"),
        ],
    )
    def test_it_knows_clinical_words_for_lay_ones(
        self, reranker: WindowReranker, asked: str, right: str, wrong: str
    ) -> None:
        found, other = reranker.score(asked, [right, wrong])
        assert found > other + 0.05

    def test_its_notice_comes_with_it(self) -> None:
        assert "MIT License" in (SHIPPED / "NOTICE").read_text("utf-8")
