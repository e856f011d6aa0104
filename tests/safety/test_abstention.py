import pytest

from chimed_rag.query.aspects import aspects
from chimed_rag.query.question import content, content_runs, content_terms, substance_names
from chimed_rag.safety.abstention import judge
from tests.contracts.generator_contract import passages

TEXTS = (
    "布洛芬用于缓解轻至中度疼痛，也用于普通感冒引起的发热。孕晚期禁用布洛芬。",
    "HbA1c反映近三个月的血糖水平，低于7%为达标。",
)
VOCABULARY = {term for text in (*TEXTS, "布洛芬") for term in content_terms(text)}


def weight(term):
    """As an index of common words would weigh: light where the literature has the word, heaviest where it has not."""
    return 4.0 if term in VOCABULARY else 12.0


def reason(question, evidence=None):
    abstention = judge(question, passages(*TEXTS) if evidence is None else evidence, term_weight=weight)
    return abstention and abstention.reason


@pytest.mark.parametrize(
    "question",
    [
        "布洛芬能治什么？",
        "孕妇感冒发烧能吃布洛芬吗？",
        "您好医生，请问布洛芬怎么吃",
        "HbA1c",
        "感冒发热怎么办",
        "布洛芬",
    ],
)
def test_questions_that_the_evidence_may_answer(question):
    assert reason(question) is None


@pytest.mark.parametrize(
    "question",
    [
        "股票怎么买",
        "如何修自行车",
        "明天北京天气怎么样",
        "写一首诗",
        "How to cook pasta?",
        "what is diabetes",
        "",
        "？？",
        "1234",
        "你好",
    ],
)
def test_questions_about_other_things(question):
    assert reason(question) == "out_of_scope"


@pytest.mark.parametrize(
    "question",
    [
        "布洛芬多少钱一盒",
        "割包皮哪家医院做得好",
        "发烧打官司能赔多少，可以起诉医院吗",
        "我家猫发烧没精神，能吃布洛芬吗，怎么喂它",
        "感冒的新研究在哪里报名参加",
    ],
)
def test_what_no_medical_literature_tells(question):
    assert reason(question) == "out_of_scope"


@pytest.mark.parametrize(
    "question",
    [
        "被猫抓了发热怎么办",
        "布洛芬怎么吃，大概多少钱",
        "狗咬伤以后发热要吃布洛芬吗",
        "发热要不要吃布洛芬，大概多少费用",
    ],
)
def test_a_price_in_passing_and_bites_are_medicine(question):
    assert reason(question) != "out_of_scope"


def test_nothing_found():
    assert reason("布洛芬能治什么？", []) == "no_evidence"
    assert reason("股票怎么买", []) == "out_of_scope"


@pytest.mark.parametrize("name", ["泽拉普替尼", "洛曲芬那", "格拉西姆单抗", "清风透骨胶囊"])
def test_a_drug_that_the_evidence_does_not_have_is_named(name):
    abstention = judge(f"孕妇感冒能吃{name}吗？", passages(*TEXTS), term_weight=weight)
    assert abstention is not None and abstention.reason == "weak_evidence"
    assert name.removesuffix("胶囊") in abstention.text


def test_a_drug_in_passing_does_not_end_a_long_story():
    story = "孩子昨天晚上开始发热咳嗽，吃了一次阿奇霉素，今天早上又发热，还说头疼肚子疼，感冒引起的发热怎么处理？"
    evidence = passages("感冒引起的发热以休息、饮水为主。", title="感冒")
    assert reason(story, evidence) is None


STENT = passages("漏服利伐沙班当天想起应补服。冠心病支架术后长期服药。", title="冠心病", headings=("用药",))


@pytest.mark.parametrize(
    ("question", "missing"),
    [
        ("家里三代人都有冠心病，我今年也查出来了，放了支架，长期服药，托伐普坦这个药要不要早点吃", "托伐普坦"),
        ("做完支架出院带的替格沙班，今天忘吃了要补吗", "沙班"),
        ("老中医给冠心病的爷爷开了九参安神定心丸，吃了一个礼拜，里头都有啥成分", "九参安神定心丸"),
        ("被诊断为缺窦性冠心炎，冠心病会遗传吗", "缺窦性冠心炎"),
    ],
)
def test_names_that_the_question_is_about_and_no_passage_has(question, missing):
    abstention = judge(question, STENT, term_weight=weight)
    assert abstention is not None and abstention.reason == "weak_evidence" and missing in abstention.text


@pytest.mark.parametrize(
    "question",
    [
        "冠心病支架术后漏服利伐沙班要补吗",
        "冠心病做了支架，术后以前吃过托伐普坦，后来长期服药，现在漏服利伐沙班要补吗",  # the one asked about is there
        "冠心病支架术后吃过替格沙班，冠心病的支架能管多久",  # in passing: nothing is asked about taking it
        "急性冠心病支架术后长期服药吗",  # 急性 makes no name
        "冠心病支架术后吃丸子可以吗",
    ],
)
def test_names_in_passing_and_names_that_are_there(question):
    assert judge(question, STENT, term_weight=weight) is None


def test_a_disease_is_not_missed_where_documents_have_no_titles():
    untitled = passages("冠心病一般不遗传。", title="")
    question = "被诊断为缺窦性冠心炎，冠心病会遗传吗"
    assert judge(question, untitled, term_weight=weight) is None


def test_evidence_on_another_matter_that_shares_the_words_of_the_question():
    evidence = passages("三级手术是指风险较高、过程较复杂的手术。", title="医疗机构管理", headings=("手术分级",))
    weights = {"狐臭": 9.0, "手术": 4.0, "风险": 5.0}
    question = "做狐臭手术能管多久？有风险吗"
    abstention = judge(question, evidence, term_weight=lambda term: weights.get(term, 10.0))
    assert abstention is not None and abstention.reason == "weak_evidence" and "狐臭" in abstention.text
    on_it = passages("狐臭手术的风险有出血、感染和瘢痕。", title="狐臭", headings=("治疗",))
    assert judge(question, on_it, term_weight=lambda term: weights.get(term, 10.0)) is None


def test_sharing_only_what_is_asked_is_sharing_nothing():
    evidence = passages("高血压的治疗包括限盐和服用降压药。", title="高血压", headings=("治疗",))
    assert judge("肺癌怎么治疗？", evidence).reason == "weak_evidence"


def test_a_stretch_of_a_title_makes_it_a_question_to_this_literature():
    evidence = passages("疑似误吞纽扣状的电芯，应立即去急诊。", title="儿童误吞纽扣电池")
    assert judge("纽扣电池掉进嘴里了", evidence) is None
    assert judge("电动车电池用几年", evidence).reason == "out_of_scope"


def test_evidence_that_shares_next_to_nothing():
    assert reason("腰椎间盘突出压迫神经腿麻怎么治疗") == "weak_evidence"


def test_the_message_is_chinese_and_names_what_is_missing():
    abstention = judge("腰椎间盘突出怎么治疗", passages(*TEXTS), term_weight=weight)
    assert abstention is not None
    assert "腰椎间盘突出" in abstention.text and "文献中没有找到" in abstention.text and "建议" in abstention.text


def test_works_without_weights():
    assert judge("布洛芬能治什么？", passages(*TEXTS)) is None
    assert judge("腰椎间盘突出怎么治疗", passages(*TEXTS)) is not None


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("感冒了怎么办", "treatment"),
        ("胃炎有什么症状", "symptom"),
        ("为什么会头晕", "cause"),
        ("孕妇能吃布洛芬吗", "permission"),
        ("血糖正常值是多少", "reference"),
        ("高血压的患病比例是多少", "quantity"),
        ("白癜风会传染吗", "contagion"),
        ("感冒多久能好", "duration"),
        ("怀疑甲亢要做什么检查", "examination"),
        ("怎么预防流感", "prevention"),
        ("布洛芬能治什么", "indication"),
        ("布洛芬有什么副作用", "side_effect"),
        ("布洛芬一天吃几次", "dose"),
        ("痛风吃什么好", "diet"),
        ("胃痛挂什么科", "department"),
        ("什么是甲亢", "definition"),
        ("白癜风能治好吗", "prognosis"),
    ],
)
def test_what_a_question_asks(question, expected):
    assert expected in aspects(question)


def test_this_and_former_days_are_no_question_of_duration():
    assert "duration" not in aspects("这几天头疼，前几年做过手术")


def test_filler_is_no_content():
    assert content_terms("您好医生，请问我最近头晕怎么办呢？") == ["头晕"]
    assert content_terms("他汀类药物和吗啡") == ["他汀", "汀类", "类药", "药物", "物和", "和吗", "吗啡"]


def test_a_lone_character_counts_only_where_nothing_else_is_left():
    assert [run.text for run in content_runs(content("我妈最近老是头晕，血压有点高"))] == ["头晕", "血压"]
    assert [run.text for run in content_runs(content("疼怎么办"))] == ["疼"]
    assert [run.text for run in content_runs("钙 b 12")] == ["b"]  # numbers are no runs either


def test_names_by_sound_and_by_form():
    assert substance_names("阿莫西林和感冒清热颗粒能一起吃吗") == ["阿莫西林"]
    assert substance_names("参松养心胶囊可以降血压吗") == ["参松养心"]
    assert substance_names("身上有好多红片片") == []
