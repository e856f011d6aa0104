"""Red flags: what raises an alarm, and what looks like one but is none."""

from __future__ import annotations

import gzip
import json
import random
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chimed_rag.encoders.ngram_weights import NgramWeights
from chimed_rag.errors import ConfigError
from chimed_rag.safety.expressions import alternatives, needles, pieces, required, spell_out
from chimed_rag.safety.red_flags_score import FILE, MADE_BY, plain, score, weights
from chimed_rag.safety.triage import CALM, RedFlag, _Clause, book, read_red_flags, red_flags, triage
from tools import red_flag_needles as needles_tool

if sys.version_info >= (3, 11):
    from re import _parser as parser  # type: ignore[attr-defined]
else:
    import sre_parse as parser
FLAGS = red_flags()
# Rule (or - where nothing may be raised), tab, sentence. Written apart from the rules, which were then mended where
# they missed one: these sentences guard what is reached, they do not measure what is found.
SENTENCES = [
    line.split("\t") for line in Path(__file__).with_name("red_flag_sentences.tsv").read_text("utf-8").splitlines()
]


# The same, but any rule may answer for them; the weights were fitted on these sentences as well.
ANY = [line.split("\t") for line in Path(__file__).with_name("red_flag_any.tsv").read_text("utf-8").splitlines()]


def _raised(question: str) -> list[str]:
    return [notice.rule for notice in triage(question)]


def test_there_are_96_rules_and_the_general_one_comes_last() -> None:
    assert len(FLAGS) == 96
    assert [flag.id for flag in FLAGS if flag.general] == [FLAGS[-1].id] == ["danger_words"]


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.id)
class TestRule:
    def test_each_trigger_raises_it(self, flag: RedFlag) -> None:
        for sentence in flag.triggers:
            assert flag.id in _raised(sentence), sentence

    def test_no_near_miss_raises_anything(self, flag: RedFlag) -> None:
        for sentence in flag.near_misses:
            assert _raised(sentence) == [], sentence

    def test_it_says_what_to_do_and_whom_to_call(self, flag: RedFlag) -> None:
        assert "120" in flag.what_to_do
        assert flag.what_to_do.endswith("。")
        mind = {"self_harm", "psychosis_harm", "postpartum_psychosis", "violence_rape"}
        assert ("12356" in flag.what_to_do) == (flag.id in mind)


# Written apart from the rules, which were then mended where they missed one: not a measure of what they find.
EMERGENCIES = [
    ("chest_pain", "三年前做过支架，今天胸痛又犯了"),
    ("chest_pain", "胸痛能吃布洛芬吗"),
    ("chest_pain", "我没有高血压，但是突然胸痛"),
    ("chest_pain", "患者胸骨后压榨性疼痛40分钟，伴大汗淋漓"),
    ("stroke", "爸爸早上醒来半边身子动不了"),
    ("stroke", "刚才右手突然没劲，筷子都拿不住，说话也不清楚"),
    ("breathing", "怀孕四个月了，突然喘不上气"),
    ("breathing", "血氧只有85%，呼吸急促"),
    ("anaphylaxis", "吃了头孢后全身起风团，喉咙发紧"),
    ("major_bleeding", "咯血一大碗，怎么办"),
    ("major_bleeding", "腿被刀砍了，血一直喷"),
    ("unconscious", "妈妈无缘无故晕过去了"),
    ("unconscious", "奶奶没吃早饭晕倒了"),
    ("seizure", "孩子发烧没吃药，抽搐了"),
    ("self_harm", "我攒了很多安眠药，想一了百了"),
    ("self_harm", "朋友在群里说要自杀怎么办"),
    ("poisoning", "吃了野蘑菇，上吐下泻"),
    ("poisoning", "我吃了一整瓶安眠药"),
    ("carbon_monoxide", "家里用煤炉取暖，早上起来头疼恶心"),
    ("battery_magnet", "宝宝吞了纽扣电池"),
    ("choking", "宝宝被花生米卡住喉咙，说不出话"),
    ("drowning", "我弟掉到河里，刚救上来"),
    ("electric_shock", "爸爸被高压电打到了"),
    ("severe_burn", "宝宝被热汤烫了，后背起了好多水泡"),
    ("heat_stroke", "军训时晕倒，体温41度，说胡话"),
    ("ectopic", "月经推迟十天，一侧下腹撕裂样疼痛，阴道流血"),
    ("pregnancy", "怀孕8个月，宝宝从早上到现在没有胎动"),
    ("postpartum_bleeding", "剖腹产后一周，大量出血有血块"),
    ("infant_fever", "我家宝宝才40天，体温38.5"),
    ("infant_fever", "宝宝两个月，发烧38.6度，能吃布洛芬吗"),
    ("hypoglycemia", "打了胰岛素没吃饭，现在心慌手抖出冷汗"),
    ("thunderclap_headache", "突然头痛欲裂，从来没这么痛过"),
    ("acute_abdomen", "突然上腹部剧痛，肚子硬得像木板"),
    ("head_injury", "宝宝从沙发摔下来头着地，一直吐"),
    ("bites", "被流浪猫抓破了，流血"),
]

EVERYDAY = [
    "孕妇感冒发烧能吃布洛芬吗？",
    "什么是心肌梗死",
    "脑卒中的危险因素有哪些",
    "华法林会引起出血吗",
    "没有发热、咳嗽、胸痛和呼吸困难",
    "否认恶心、呕吐、腹痛、黑便、呕血",
    "我外婆二十年前脑出血，去世了，会遗传吗",
    "十年前中风过，现在一切正常，能坐飞机吗",
    "糖化血红蛋白多少正常",
    "附子为什么要先煎",
    "孩子发烧几度用退热药",
    "两岁宝宝发烧38.5度",
    "怀孕四个月，什么时候有胎动",
    "月经量多有血块",
    "安眠药能长期吃吗",
    "每天吃一盒酸奶好吗",
    "猫咪抓沙发怎么办",
    "心肺复苏按压频率是多少",
    "",
    "  \n\t ",
    "。。。？？",
]


@pytest.mark.parametrize(("rule", "question"), EMERGENCIES)
def test_emergencies_in_other_words_are_raised(rule: str, question: str) -> None:
    assert rule in _raised(question)


@pytest.mark.parametrize("question", EVERYDAY)
def test_everyday_questions_stay_calm(question: str) -> None:
    assert _raised(question) == []


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.id)
def test_many_ways_of_telling_raise_the_rule(flag: RedFlag) -> None:
    sentences = [sentence for rule, sentence in SENTENCES if rule == flag.id]
    assert len(sentences) >= 7 or flag.general
    assert [sentence for sentence in sentences if flag.id not in _raised(sentence)] == []


def test_whatever_is_told_in_other_words_raises_something() -> None:
    alarming = [sentence for rule, sentence in ANY if rule != "-"]
    assert len(alarming) >= 350
    missed = [sentence for sentence in alarming if not _raised(sentence)]
    assert len(missed) <= 0.03 * len(alarming), missed


def test_the_weights_learn_from_none_of_the_sentences_that_measure() -> None:
    def runs(file: Path) -> set[str]:
        texts = [re.sub(r"[\W_]+", "", line.split("\t")[1]) for line in file.read_text("utf-8").splitlines()]
        return {text[begin : begin + 13] for text in texts for begin in range(len(text) - 12)}

    here = Path(__file__)
    learned = [file for file in (here.parents[2] / "training/red_flags").glob("*.tsv") if file.name != "judged.tsv"]
    measuring = [here.with_name(f"paraphrases_{part}.tsv") for part in ("test", "blind", "unseen")]
    assert len(learned) >= 14
    assert set.union(*map(runs, learned)).isdisjoint(set.union(*map(runs, measuring)))


def test_everyday_stories_raise_nothing() -> None:
    calm = [sentence for rule, sentence in ANY if rule == "-"]
    assert len(calm) >= 60
    assert [sentence for sentence in calm if _raised(sentence)] == []


def test_a_general_rule_is_silent_where_a_particular_one_is_raised() -> None:
    assert _raised("胸口突然绞痛，脸白得像纸，出冷汗") == ["chest_pain"]
    assert _raised("我姐在浴室里滑倒，脸朝下，怎么弄都没声") == ["danger_words"]


def test_courtesies_do_not_calm_an_alarm() -> None:
    told = "我姐在浴室里滑倒，脸朝下，怎么弄都没声"
    assert _raised(f"医生您好，想咨询一下，{told}，请问这是怎么回事，谢谢") == ["danger_words"]


def test_most_rules_stay_silent_where_the_whole_sounds_calm() -> None:
    back = "孩子上个学期在学校抽搐，检查出是癫痫，现在吃药控制，请问这个病能治愈吗，平时学习和运动要注意什么，"
    back += "饮食有什么讲究"
    assert [flag.id for flag in book().particular(back)] == ["seizure"] and score(back) < CALM
    assert _raised(back) == []
    assert _raised("孩子去年检查出癫痫，刚才又抽了，眼睛往上翻，叫不应") != []
    thought = "得了荨麻疹很多年了，吃什么药都不断根，夏天不能吃海鲜，也不想活了"
    assert "self_harm" in _raised(thought)  # excuses no history: the weights never silence it


def test_the_score_is_the_sum_of_fixed_weights() -> None:
    assert plain("医生您好，血压 180/110！") == "血压000，000"
    assert score("医生您好，血压 180/110！") == pytest.approx(weights().numbers[0] + weights().of("血压000，000"))
    assert score("") == weights().numbers[0]


def test_weights_of_another_encoder_are_told(tmp_path: Path) -> None:
    other = replace(weights(), encoder="0" * 64).save(tmp_path / "weights.safetensors")
    with pytest.raises(ConfigError, match=r"was made for the encoder 0{16}.*tools\.red_flags_weights"):
        NgramWeights.load(other, count=2, made_by=MADE_BY)
    with pytest.raises(ConfigError, match=r"does not hold weights of n-grams and 4 numbers"):
        NgramWeights.load(FILE, count=4, made_by=MADE_BY)
    (tmp_path / "broken").write_bytes(b"half")
    with pytest.raises(ConfigError, match=r"broken: cannot be read"):
        NgramWeights.load(tmp_path / "broken", count=2, made_by=MADE_BY)


def test_what_only_looks_like_an_emergency_stays_calm() -> None:
    calm = [sentence for rule, sentence in SENTENCES if rule == "-"]
    assert len(calm) >= 60
    assert [sentence for sentence in calm if _raised(sentence)] == []


@pytest.mark.parametrize("question", ["怎么预防{}？", "什么是{}", "{}有哪些症状？", "{}的发病机制"])
def test_whoever_wants_to_know_is_not_alarmed(question: str) -> None:
    names = [flag.name for flag in FLAGS]
    assert [name for name in names if _raised(question.format(name))] == []


def test_the_quick_way_leaves_nothing_out() -> None:
    sentences = [sentence for _, sentence in SENTENCES]
    stories = ["。".join(sentences[n : n + 5]) for n in range(0, len(sentences), 5)]
    weeks = [f"孕{week}周，从半夜到现在拉了六次水样便，肚子绞痛，没有发烧，会不会引起早产" for week in (9, 15, 26)]
    for text in stories + weeks:
        assert book().raised(text) == book().raised(text, quick=False), text
    assert [bool(book().raised(text)) for text in weeks] == [True, False, False]


def test_every_expression_compiles_and_repeats_no_group_without_end() -> None:
    for expression in book().expressions():
        re.compile(expression)
        assert not re.search(r"\)[*+]", expression), expression


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("头疼", {"头疼"}),
        ("头(?:很)?疼", {"头"}),
        ("[手脚]麻", {"手麻", "脚麻"}),
        ("昏迷|晕倒", {"昏迷", "晕倒"}),
        ("(?<!不)昏迷(?!吗)", {"昏迷"}),
        ("血?", None),
        (r"\d度", {"度"}),
        ("<pain>得", {"得"}),
        ("(?:疼|[痛酸])得", {"疼得", "痛得", "酸得"}),
        ("(?:[23][0-9]|1[4-9])周", {"周"}),  # nothing that a group holds need touch what follows it
        ("(?:头疼|痛)吐", {"吐"}),
        ("头~(?:疼|痛)", {"头"}),
        ("血压|.", None),
    ],
)
def test_needles_are_in_every_match(expression: str, found: set[str] | None) -> None:
    assert needles(expression, {"pain": frozenset({"疼", "痛"})}) == found


def _made(parsed: Any, chance: random.Random) -> str:
    """A text as an expression describes it, whatever its lookarounds ask for."""
    text = ""
    for code, what in parsed:
        name = str(code)
        if name == "LITERAL":
            text += chr(what)
        elif name in ("ANY", "NOT_LITERAL") or (name == "IN" and str(what[0][0]) == "NEGATE"):
            text += chance.choice("某乙丙")
        elif name == "IN":
            kind, found = chance.choice(what)
            digit = str(kind) == "CATEGORY"
            text += "7" if digit else chr(chance.randint(*found) if str(kind) == "RANGE" else found)
        elif name == "BRANCH":
            text += _made(chance.choice(what[1]), chance)
        elif name == "SUBPATTERN":
            text += _made(what[-1], chance)
        elif name in ("MAX_REPEAT", "MIN_REPEAT"):
            least, most, part = what
            text += "".join(_made(part, chance) for _ in range(chance.randint(least, min(int(most), least + 1))))
    return text


def test_what_an_expression_matches_has_what_it_is_said_to_need() -> None:
    """Of each alternative of each rule by itself: among all of them one that is not seen is seldom missed."""
    chance, found = random.Random(1), 0
    every = sorted({one.source for group in book().groups.values() for one in group.alternatives})
    for source in [source for source in every if not source.isalnum()]:
        said, wanted = needles(source, {}), required(source)
        for text in {_made(parser.parse(source), chance) for _ in range(3)}:
            if match := re.search(source, text):
                found += 1
                assert said is None or not said.isdisjoint(pieces(match[0])), (source, text)
                assert all(not chars.isdisjoint(match[0]) for chars in wanted), (source, text)
    assert found > 5000


def test_a_group_taken_apart_matches_as_its_whole_expression_does() -> None:
    clauses = [_Clause(sentence, book().shared) for _, sentence in SENTENCES[::10]]
    for group in list(book().groups.values())[::5]:
        for clause in clauses:
            found = [match.span() for match in re.finditer(group.source, clause.text)]
            assert found == list(group.spans(clause)), (group.source, clause.text)
            assert bool(found) == group.stands_in(clause), (group.source, clause.text)


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("头|(?:脑|心)痛|[|)]x", ["头", "(?:脑|心)痛", "[|)]x"]),
        (r"头\|脑|", [r"头\|脑", ""]),
    ],
)
def test_alternatives_are_taken_apart(expression: str, found: list[str]) -> None:
    assert alternatives(expression) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("头(?:很)?疼+", [{"头"}, {"疼"}]),
        ("(?:头|胸口)[疼痛](?!吗)", [{"头", "胸"}, {"疼", "痛"}]),
        (r"(?:[23]\d|1[4-9])周", [{"1", "2", "3"}, {"周"}]),
        (r"(?:头|\d)(?:很){1,2}.疼{0,2}", [{"很"}]),
        ("(?<=头)(?:昏|(?:晕)?)", []),
        ("头)", []),
    ],
)
def test_what_is_required_is_in_every_match(source: str, found: list[set[str]]) -> None:
    assert required(source) == found


def test_short_forms_are_spelled_out() -> None:
    expression = spell_out("头~(?:<pain>)…吐", {"pain": "疼|痛"})
    assert re.search(expression, "头很疼还想吐")
    assert not re.search(expression, "头不疼还想吐")
    with pytest.raises(KeyError):
        spell_out("<joy>", {})


def test_signs_far_apart_in_a_story_are_no_single_emergency() -> None:
    near = "左腿突然肿了，胸口疼，喘不上气"
    far = "左腿肿了，" + "天气好，" * 8 + "打喷嚏时气短"
    assert "pulmonary_embolism" in _raised(near)
    assert _raised(far) == []


def test_negation_reaches_through_a_list_but_not_past_a_turn() -> None:
    assert _raised("没有胸痛、呼吸困难和昏迷") == []
    assert _raised("没有发烧，但是突然呼吸困难") == ["breathing"]
    assert _raised("有没有可能是心梗？胸痛得厉害") == ["chest_pain"]


def test_history_is_excused_unless_it_happens_now() -> None:
    assert _raised("五年前昏迷过") == []
    assert _raised("五年前昏迷过，刚才又昏迷了") == ["unconscious"]


def test_a_wish_to_die_is_never_history() -> None:
    assert _raised("以前自杀过") == ["self_harm"]


def test_spaces_and_full_width_characters_change_nothing() -> None:
    assert _raised("宝宝 两个月 发烧 ３８．５ 度") == _raised("宝宝两个月发烧38.5度") == ["infant_fever"]


def test_the_notice_names_its_rule_and_repeats_are_given_once() -> None:
    (notice,) = triage("我想死，真的想死。")
    assert (notice.kind, notice.rule) == ("emergency", "self_harm")
    assert "12356" in notice.text


def test_rules_keep_their_order_and_threads_agree() -> None:
    question = "爸爸突然胸痛，喘不上气，昏迷了"
    order = [flag.id for flag in FLAGS]
    alone = _raised(question)
    assert alone == sorted(alone, key=order.index) == ["chest_pain", "breathing", "unconscious"]
    with ThreadPoolExecutor(8) as pool:
        assert all(found == alone for found in pool.map(_raised, [question] * 64))


def test_the_end_of_a_very_long_question_is_still_read_in_bounded_time() -> None:
    question = "我平时身体很好，没有什么不舒服。" * 20_000 + "刚才突然胸痛得厉害"
    assert _raised(question) == ["chest_pain"]
    assert _timed("没有" * 500_000) < 0.5


def _timed(question: str) -> float:
    begin = time.perf_counter()
    triage(question)
    return time.perf_counter() - begin


@pytest.mark.parametrize(
    "source", ["rules: [", "[]", "words: {}\nshared: {}\nrules: []", "words: {a: <b>}\nshared: {}\nrules: []"]
)
def test_rules_that_cannot_be_read_are_a_configuration_error(source: str) -> None:
    with pytest.raises(ConfigError, match="red flags cannot be read"):
        read_red_flags(source)


@pytest.mark.real_data
def test_few_everyday_questions_are_raised(shared_data: Path) -> None:
    """Under 3 % of real patient questions raise anything.

    86 of 2,984 do, 71 by a particular rule; of 76 read by hand earlier, 41 were emergencies or urgent and 10 more so
    but already in hospital.
    """
    queries = shared_data / "eval/huatuo_retrieval_dev/queries.jsonl.gz"
    with gzip.open(queries, "rt", encoding="utf-8") as lines:
        questions = [json.loads(line)["text"] for line in lines]
    assert sum(bool(triage(question)) for question in questions) < 0.03 * len(questions)


def test_the_needles_kept_are_those_of_the_rules() -> None:
    """After a change of the rules: python -m tools.red_flag_needles."""
    assert json.loads(needles_tool.FILE.read_text("utf-8")) == needles_tool.found()
    kept = {key: None if text is None else frozenset(text.split()) for key, text in needles_tool.found().items()}
    assert kept == book().needles()
