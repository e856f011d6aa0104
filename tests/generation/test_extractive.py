import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimed_rag.errors import InputError
from chimed_rag.generation.extractive import ExtractiveGenerator, weighed
from chimed_rag.generation.segments import segments
from chimed_rag.records import RankEntry
from chimed_rag.registry import generators
from tests.contracts.generator_contract import GeneratorContract, passages

HYPERTENSION = (
    "高血压是动脉血压持续升高的慢性病。多数病人与遗传、盐吃得多、肥胖有关，由此引起血管变硬。"
    "常见的表现有头晕、头胀和耳鸣。诊断要看非同日三次测得的血压，不低于140/90毫米汞柱即可确诊。"
    "治疗首选长效降压药，每日一次，配合限盐和运动。孕妇禁用普利类药物。少吃盐、控制体重可以预防本病。"
)


class TestExtractive(GeneratorContract):
    def make(self):
        return ExtractiveGenerator()


def answer(question, *texts, **options):
    evidence = passages(*texts, title=options.pop("title", "高血压"), headings=options.pop("headings", ()))
    return [sentence.text for sentence in ExtractiveGenerator(**options).generate(question, evidence).sentences]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("高血压怎么治？", "治疗首选"),
        ("得了高血压怎么办", "治疗首选"),
        ("高血压有什么症状", "常见的表现"),
        ("为什么会得高血压？", "多数病人与遗传"),
        ("高血压是什么原因引起的", "多数病人与遗传"),
        ("高血压怎么诊断", "诊断要看"),
        ("血压多少算高血压", "诊断要看"),
        ("怎么预防高血压", "少吃盐"),
        ("什么是高血压", "高血压是动脉"),
        ("血压的诊断标准值", "诊断要看"),
        ("高血压孕妇能吃普利类药吗？", "孕妇禁用"),
    ],
)
def test_the_sentence_that_speaks_to_what_is_asked_comes_first(question, expected):
    assert answer(question, HYPERTENSION)[0].startswith(expected)


def test_title_and_heading_are_context():
    evidence = passages("本品为白色片剂，味微苦。适用于头痛、关节痛和发热。", title="甲药", headings=("适应症",))
    draft = ExtractiveGenerator().generate("甲药能治什么？", evidence)
    assert draft.sentences[0].text == "适用于头痛、关节痛和发热。"


def test_the_place_of_a_sentence_tells_what_it_is_for():
    (fitting,) = passages("应多喝水，少吃海鲜，避免饮酒。", title="痛风", headings=("饮食",))
    other = fitting.model_copy(update={"number": 2, "chunk_id": "c2", "document_id": "d2", "headings": ("病因",)})
    one, two = weighed("痛风饮食要注意什么？", [fitting, other])
    assert (one.features.elsewhere, two.features.elsewhere) == (0, 1)
    assert one.features.near > two.features.near
    assert one.relevance > two.relevance
    unasked, _ = weighed("痛风", [fitting, other])
    assert unasked.features.elsewhere == 0  # nothing that a heading could miss


def test_a_title_that_says_more_than_was_asked_counts_less():
    evidence = [
        *passages("典型症状有乏力、腹泻、脱发。", title="妊娠合并甲亢", headings=("症状",)),
        passages("", "典型症状有易怒、失眠、怕热。", title="甲亢", headings=("症状",))[1],
    ]
    evidence = [passage.model_copy(update={"score": 1.0}) for passage in evidence]
    draft = ExtractiveGenerator().generate("甲亢有什么症状", evidence)
    assert draft.sentences[0].citations[0].number == 2


def test_rare_words_weigh_more_than_common_ones():
    texts = ("病人可以每天服用药物来控制病情的发展。", "紫杉醇可以每周静脉滴注，用药前先给抗过敏药。")
    weights = {"紫杉": 9.0, "杉醇": 9.0}
    evidence = passages(*texts, title="")
    draft = ExtractiveGenerator().generate("病人每天服用紫杉醇？", evidence, term_weight=lambda t: weights.get(t, 0.5))
    assert draft.sentences[0].citations[0].number == 2


def test_a_sentence_about_another_drug_does_not_answer_for_the_one_asked_about():
    texts = ("孕妇感冒发烧时可以多喝水，也可以吃感冒清。", "对乙酰氨基酚比布洛芬安全，孕晚期禁用布洛芬。")
    draft = ExtractiveGenerator().generate("孕妇感冒发烧能吃布洛芬吗？", passages(*texts, title="感冒"))
    assert draft.sentences[0].citations[0].number == 2


def test_twins_become_one_sentence_with_both_places():
    text = "体温超过38.5℃时可以服用退热药。"
    evidence = passages(f"第一本书这样说。{text}", f"{text}另一本书也有。", title="发热")
    sentences = ExtractiveGenerator().generate("发热体温多少服用退热药", evidence).sentences
    saying = [sentence for sentence in sentences if sentence.text == text]
    assert len(saying) == 1
    assert {cited.number for cited in saying[0].citations} == {1, 2}
    assert all(evidence[c.number - 1].text[c.begin : c.end] == text for c in saying[0].citations)


@pytest.mark.parametrize("other", ["成人每次服用甲药600毫克来退热。", "成人不要每次服用甲药300毫克来退热。"])
def test_another_number_or_a_negation_is_no_twin(other):
    draft = ExtractiveGenerator().generate(
        "成人每次服用甲药多少毫克退热", passages("成人每次服用甲药300毫克来退热。", other, title="甲药")
    )
    assert {len(sentence.citations) for sentence in draft.sentences} == {1}
    assert len(draft.sentences) == 2


def test_a_sentence_that_refers_back_brings_its_predecessor():
    text = "阿托品是一种抗胆碱药。它可以治疗有机磷中毒引起的流涎。今天天气很好。"
    assert answer("有机磷中毒流涎怎么治疗", text, title="")[:2] == [
        "阿托品是一种抗胆碱药。",
        "它可以治疗有机磷中毒引起的流涎。",
    ]


def test_a_sentence_that_refers_to_nothing_is_avoided():
    texts = ("它可以治疗有机磷中毒引起的流涎。", "有机磷中毒引起的流涎用阿托品治疗。")
    assert answer("有机磷中毒流涎怎么治疗", *texts, title="") == [texts[1]]
    assert answer("有机磷中毒流涎怎么治疗", texts[0], title="") == [texts[0]]  # nothing else is there


def test_a_lead_comes_with_its_list_or_not_at_all():
    text = "糖尿病的急救处理包括：\n1. 立即测定血糖。\n2. 口服葡萄糖水。\n3. 尽快送往医院。\n随后记录病情变化经过。"
    lead_and_items = text[: text.index("\n随后")]
    assert lead_and_items in answer("糖尿病急救怎么处理", text, title="糖尿病")
    short = answer("糖尿病急救怎么处理", text, title="糖尿病", max_chars=20)
    assert short and all("包括" not in sentence and not sentence[0].isdigit() for sentence in short)


def test_headings_contents_and_scraps_are_not_quoted():
    text = "高血压的治疗\n第一节 高血压治疗……12\n高血压。\n|---|---|\n## 高血压治疗\n高血压的治疗以服用降压药为主。"
    assert answer("高血压怎么治疗", text) == ["高血压的治疗以服用降压药为主。"]


def test_best_first_then_by_passage_and_position():
    evidence = passages(HYPERTENSION, "高血压的治疗还要治疗同时有的糖尿病。", title="高血压")
    draft = ExtractiveGenerator(floor=0.0).generate("高血压怎么治疗", evidence)
    places = [(s.citations[0].number, s.citations[0].begin) for s in draft.sentences]
    assert places[1:] == sorted(places[1:])


def test_budgets_hold_and_nothing_is_cut():
    for limit in (20, 40, 80, 200):
        sentences = answer("高血压怎么治疗", HYPERTENSION, max_chars=limit, floor=0.0)
        assert sum(map(len, sentences)) <= limit
        assert all(sentence.endswith("。") for sentence in sentences)
    assert len(answer("高血压怎么治疗", HYPERTENSION, max_sentences=2, floor=0.0)) == 2


def test_a_relevance_floor_keeps_filler_out():
    text = "便秘的治疗可以用乳果糖口服溶液。医院大厅里有很多椅子供休息。"
    assert answer("便秘怎么治疗", text, title="") == ["便秘的治疗可以用乳果糖口服溶液。"]


@pytest.mark.parametrize("options", [{"max_sentences": 0}, {"max_chars": 0}, {"trade_off": 2}, {"floor": -1}])
def test_wrong_settings_are_refused(options):
    with pytest.raises(InputError):
        ExtractiveGenerator(**options)


def test_the_registry_finds_it():
    assert generators.get("extractive") is ExtractiveGenerator


PIECES = st.sampled_from(
    [*"药病治。；：，\n 1.0其它此", "治疗高血压", "可以服用", "包括：\n", "1. ", "（2）", "禁用", "# 标题\n"]
)
TEXT = st.lists(PIECES, max_size=40).map("".join)


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXT, max_size=5), TEXT, st.integers(1, 6), st.integers(1, 200))
def test_every_sentence_is_a_slice_and_no_place_is_quoted_twice(texts, question, most, limit):
    evidence = passages(*texts)
    draft = ExtractiveGenerator(max_sentences=most, max_chars=limit).generate(question, evidence)
    assert len(draft.sentences) <= most
    assert sum(len(sentence.text) for sentence in draft.sentences) <= limit
    seen = []
    for sentence in draft.sentences:
        own, *_ = sentence.citations
        assert evidence[own.number - 1].text[own.begin : own.end] == sentence.text == sentence.text.strip() != ""
        assert all(own.number != number or own.end <= begin or end <= own.begin for number, begin, end in seen)
        seen.append((own.number, own.begin, own.end))


@settings(max_examples=100, deadline=None)
@given(TEXT)
def test_segments_lie_in_the_text_in_order(text):
    begins = [segment.spans[-1][0] for segment in segments(text)]
    assert begins == sorted(begins)
    for segment in segments(text):
        assert all(0 <= begin < end <= len(text) for begin, end in segment.spans)


def test_scores_of_a_reranker_below_zero_keep_their_order():
    """Logits may be negative; a passage that only came with its document (score 0, no ranks) is not the best for it."""
    texts = ("布洛芬用于缓解头痛和发热。", "布洛芬可以缓解头痛。", "布洛芬缓解头痛较快。")
    found = [RankEntry(rank=1, score=-2.0), RankEntry(rank=2, score=-6.0)]
    evidence = [
        passage.model_copy(update={"score": score, "ranks": {"reranker": rank} if rank else {}})
        for passage, score, rank in zip(passages(*texts), (-2.0, -6.0, 0.0), (*found, None), strict=True)
    ]
    scored = weighed("布洛芬缓解头痛吗", evidence)
    assert [candidate.features.passage for candidate in scored] == sorted(
        (candidate.features.passage for candidate in scored), reverse=True
    )
    assert all(0 <= value <= 1 for candidate in scored for value in candidate.features[:-1])
    assert weighed("布洛芬缓解头痛吗", [passage.model_copy(update={"score": -1e6}) for passage in evidence])
