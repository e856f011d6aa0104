"""Identifiers leave the text and return; doses, values, dates, drugs and places stay. All sentences are our own."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimed_rag.query.rewriting import rewrite
from chimed_rag.safety.redaction import PSEUDONYM, Redactor, without_pseudonyms
from chimed_rag.text import sentence_spans

CARD = "11010519491231002X"  # the example of GB 11643-1999: the check digit of 11010519491231002 is X
OLD_CARD = "110105491231002"


def redacted(text: str) -> str:
    """The redacted text, once everything that must always hold was checked."""
    redactor = Redactor()
    result = redactor.redact(text)
    assert redactor.restore(result.text) == text
    assert redactor.redact(result.text) == (result.text, ())
    for found, after in zip(result.found, result.found[1:], strict=False):
        assert found.end <= after.start
    rebuilt, kept = "", 0
    for found in result.found:
        assert PSEUDONYM.fullmatch(found.pseudonym) and found.kind in found.pseudonym
        rebuilt += text[kept : found.start] + found.pseudonym
        kept = found.end
    assert rebuilt + text[kept:] == result.text
    return result.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"身份证号{CARD}，发热3天", "身份证号〔身份证1〕，发热3天"),
        (f"{CARD.lower()}是我的号码", "〔身份证1〕是我的号码"),
        ("110105 19491231 002X，头晕", "〔身份证1〕，头晕"),
        ("１１０１０５１９４９１２３１００２Ｘ，头晕", "〔身份证1〕，头晕"),
        (f"旧证{OLD_CARD}", "旧证〔身份证1〕"),
        ("身份证号123456789012345678，对不上", "身份证号〔身份证1〕，对不上"),  # check digit and date are wrong
        ("123456789012345678（身份证）", "〔身份证1〕（身份证）"),
        ("手机13812345678", "手机〔手机1〕"),
        ("打138 1234 5678找我", "打〔手机1〕找我"),
        ("+86-138-1234-5678", "〔手机1〕"),
        ("１３８１２３４５６７８能加微信吗", "〔手机1〕能加微信吗"),
        ("座机010-69156114转2，上午在", "座机〔座机1〕，上午在"),
        ("家里电话69156114", "家里电话〔座机1〕"),
        ("香港号码+852 5123 4567", "香港号码〔电话1〕"),
        ("住院号：ZY20240123，出院带药", "住院号：〔住院号1〕，出院带药"),
        ("门诊号是0123456", "门诊号是〔门诊号1〕"),
        ("病案号 778899", "病案号 〔病案号1〕"),
        ("病历号为A-12345", "病历号为〔病历号1〕"),
        ("医保卡号10203040506能用吗", "医保卡号〔医保号1〕能用吗"),
        ("社保卡：330100D156000005", "社保卡：〔社保卡1〕"),
        ("就诊卡号0099887766", "就诊卡号〔就诊卡1〕"),
        ("家住河南省郑州市金水区文化路12号3单元501室，咳嗽", "家住〔住址1〕，咳嗽"),
        ("我住在杭州市西湖区翠苑二区5幢2单元301室，腿疼", "我住在〔住址1〕，腿疼"),
        ("住址：李庄镇张家村3组，独居", "住址：〔住址1〕，独居"),
        ("药寄到望江西路105号可以吗", "药寄到〔住址1〕可以吗"),
        ("发到zhang.san@example.com谢谢", "发到〔邮箱1〕谢谢"),
        ("发到zhang＠example.com谢谢", "发到〔邮箱1〕谢谢"),
        ("车牌京A12345停在急诊", "车牌〔车牌1〕停在急诊"),
        ("车牌粤BD12345", "车牌〔车牌1〕"),
        ("退到6222020200112233446", "退到〔银行卡1〕"),  # Luhn: 6+4+2+4+0+4+0+4+0+0+1+2+2+4+3+6+4+8 doubled where due
        ("银行卡6222020200112233440退费", "银行卡〔银行卡1〕退费"),  # wrong check digit, but the label says it
        ("加微信zhangsan_88", "加微信〔微信1〕"),
        ("加我QQ：12345678", "加我QQ：〔QQ1〕"),
        ("护照号E12345678", "护照号〔护照1〕"),
        ("港澳通行证C12345678", "港澳通行证〔通行证1〕"),
        ("军官证：南字第1234567号", "军官证：〔军官证1〕"),
        ("出生日期：1985年3月5日，身高170cm", "出生日期：〔出生日期1〕，身高170cm"),
        ("孩子2023-05-06出生，能打疫苗吗", "孩子〔出生日期1〕出生，能打疫苗吗"),
    ],
)
def test_identifiers_of_fixed_form(text: str, expected: str) -> None:
    assert redacted(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("我叫王建国，今年45岁", "我叫〔姓名1〕，今年45岁"),
        ("姓 名：李秀兰 性别：女", "姓 名：〔姓名1〕 性别：女"),
        ("联系人：张 三 关系：配偶", "联系人：〔姓名1〕 关系：配偶"),
        ("患者张伟因胸痛2小时入院", "患者〔姓名1〕因胸痛2小时入院"),
        ("患者欧阳文静，女，33岁", "患者〔姓名1〕，女，33岁"),
        ("我儿子王浩宇发烧39度", "我儿子〔姓名1〕发烧39度"),
        ("陈静(女,34岁)：便血一周", "〔姓名1〕(女,34岁)：便血一周"),
        ("找李建国主任看过片子", "找〔姓名1〕主任看过片子"),
        ("主治医生高磊让我停药", "主治医生〔姓名1〕让我停药"),
        ("买买提·艾合买提，男，50岁", "〔姓名1〕，男，50岁"),
        ("王女士您好，谢谢李医生", "〔姓名1〕女士您好，谢谢〔姓名2〕医生"),
        ("同事小李和邻居老张都感冒了", "同事〔姓名1〕和邻居〔姓名2〕都感冒了"),
        ("张某某，男，因腹痛入院", "〔姓名1〕，男，因腹痛入院"),
        ("病人赵XX血压180/110mmHg", "病人〔姓名1〕血压180/110mmHg"),
        ("家属孙丽签字。孙丽要求出院", "家属〔姓名1〕签字。〔姓名1〕要求出院"),
    ],
)
def test_names(text: str, expected: str) -> None:
    assert redacted(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "急救打120，报警110，心理援助12356，卫生热线12320",
        "药厂客服400-820-8820，医保咨询12393",
        "布洛芬0.2g，每4至6小时一次，24小时内不超过4次",
        "白细胞12.5×10^9/L，血红蛋白110g/L，血小板180×10^9/L，肌酐86μmol/L",
        "血压140/90mmHg，血糖7.8mmol/L，INR 2.5，BMI 23.4",
        "诊断：I10.x00 高血压，E11.900 2型糖尿病",
        "2024年3月5日行阑尾切除术，2024-03-12拆线，20240401复查",
        "末次月经2024年1月2日，预产期2024年10月9日",
        "一天1次，一次10片，连用14天，共140片，1380元",
        "身高155 160 165 170 175 180cm各一人",
        "试验编号NCT01234567，DOI 10.1016/j.jacc.2013.11.020",
        "医保卡里还有3000元，住院3天花了12000元",
        "白血病患者出现黄疸，马上抽血",
        "患者高血压十年，何时复查",
        "患者黄疸消退，白天安静，平时常有腹胀",
        "安宫牛黄丸和马应龙痔疮膏能一起用吗",
        "患者阿司匹林过敏，改用氯吡格雷",
        "张口呼吸会让下颌后缩吗",
        "孩子小便黄，宝宝黄疸15mg/dL",
        "由于医生说小于5mm不用管，任何医生都这么说",
        "谢谢大夫，感谢医生，连医生也没办法",
        "要多少钱医生？检查医生说没事",
        "小叶增生，肾小管，骨小梁，小柴胡颗粒",
        "血压老高，老年人，老是咳嗽",
        "北京协和医院在哪里？河南省有哪些三甲医院",
        "住在农村，住在ICU病区3号床，住在三楼",
        "张仲景的方子和李时珍的《本草纲目》",
        "周三复查，每周二门诊，3周医生再看",
        "",
        "。",
    ],
)
def test_what_stays(text: str) -> None:
    assert redacted(text) == text


def test_one_original_has_one_pseudonym_throughout_a_session_in_any_spelling() -> None:
    redactor = Redactor()
    assert redactor.redact("手机13812345678").text == "手机〔手机1〕"
    assert redactor.redact("另一个是13912345678").text == "另一个是〔手机2〕"
    assert redactor.redact("就打138-1234-5678吧").text == "就打〔手机1〕吧"
    assert Redactor().redact("13912345678").text == "〔手机1〕"


def test_a_whole_name_is_found_again_without_its_cue_but_a_word_of_two_characters_is_not() -> None:
    redactor = Redactor()
    redactor.redact("患者王建国，男，45岁")
    assert redactor.redact("昨天问过，王建国不想住院").text == "昨天问过，〔姓名1〕不想住院"
    redactor.redact("姓名：高兴")
    assert redactor.redact("孩子很高兴").text == "孩子很高兴"


def test_pseudonyms_that_came_with_a_text_are_neither_used_again_nor_restored() -> None:
    redactor = Redactor()
    result = redactor.redact("病历里写着〔姓名1〕，我叫王建国")
    assert result.text == "病历里写着〔姓名1〕，我叫〔姓名2〕"
    assert redactor.restore(result.text) == "病历里写着〔姓名1〕，我叫王建国"
    assert redactor.restore("〔姓名9〕〔手机1〕") == "〔姓名9〕〔手机1〕"


def test_offsets_are_those_of_the_original_and_nothing_shows_it() -> None:
    text = f"我叫王建国，身份证{CARD}，电话13812345678，家住河南省郑州市文化路12号"
    redactor = Redactor()
    result = redactor.redact(text)
    assert [text[found.start : found.end] for found in result.found] == [
        "王建国", CARD, "13812345678", "河南省郑州市文化路12号",
    ]  # fmt: skip
    shown = f"{result!r} {redactor!r} {redactor}"
    assert not [part for part in ("王建国", CARD, "1381234", "文化路") if part in shown]
    with pytest.raises(TypeError):
        pickle.dumps(redactor)


def test_pseudonyms_survive_sentences_and_rewriting_and_can_be_left_out_of_a_search() -> None:
    result = Redactor().redact("我叫王建国。手机13812345678！家住郑州市文化路12号3单元501室；血压高怎么办")
    assert len(result.found) == 3
    parts = [result.text[begin:end] for begin, end in sentence_spans(result.text)]
    assert [match[0] for part in parts for match in PSEUDONYM.finditer(part)] == [f.pseudonym for f in result.found]
    assert without_pseudonyms("〔姓名1〕医生说血压高") == " 医生说血压高"
    assert "〔姓名1〕" in "".join(
        query for query in (rewrite("〔姓名1〕拉肚子").text, rewrite("〔姓名1〕拉肚子").original)
    )


def test_threads_share_one_session() -> None:
    redactor = Redactor()
    numbers = [f"1381234{number:04}" for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda number: redactor.redact(f"电话{number}").text, numbers * 2))
    assert texts[:200] == texts[200:]
    assert len(set(texts)) == 200
    assert [redactor.restore(text) for text in texts[:200]] == [f"电话{number}" for number in numbers]


PIECES = [
    "患者",
    "张",
    "伟",
    "〔姓名1〕",
    "我叫",
    "，",
    "13812345678",
    "男",
    "45岁",
    "北京市",
    "路12号",
    "@",
    "a.b",
    "·",
    "某",
    "医生",
    "〔",
    "1〕",
    "Ａ",
    "住在",
]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([*PIECES, CARD, "\n", "1 "]), max_size=30).map("".join) | st.text(max_size=40))
def test_any_text_is_redacted_once_and_restored(text: str) -> None:
    redacted(text)


@pytest.mark.parametrize(
    "piece",
    [
        "1 ",
        "1",
        "a",
        "a.",
        "@",
        "王",
        "患者",
        "我叫王",
        "北京市朝阳区路",
        "住在路1号",
        "身份证",
        "138-",
        "张某",
        "〔",
        "微信a",
        "王医生",
    ],
)
def test_a_hundred_thousand_characters_do_not_hang(piece: str) -> None:
    began = time.perf_counter()
    Redactor().redact(piece * (100_000 // len(piece)))
    assert time.perf_counter() - began < 20  # 0.02 to 1.5 s; a quadratic pattern takes hours


def test_many_names_in_one_session_do_not_hang() -> None:
    given = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚英华鹏辉玲婷宇浩凯健俊帆雪琳晨倩琴云莹"
    text = "".join(f"姓名：王{a}{b}；" for a in given for b in given for _ in range(3))
    began = time.perf_counter()
    assert len({found.pseudonym for found in Redactor().redact(text).found}) == len(given) ** 2
    assert time.perf_counter() - began < 20


def test_the_libraries_of_numbers_are_imported_when_a_candidate_was_seen() -> None:
    code = (
        "import sys; from chimed_rag.safety.redaction import Redactor as R; R().redact('血压140/90，我叫王建国');"
        "print(*(name in sys.modules for name in ('stdnum', 'phonenumbers', 'numpy')));"
        f"R().redact('13812345678 {CARD}'); print(*(name in sys.modules for name in ('stdnum', 'phonenumbers')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.split(r"\s+", done.stdout.strip()) == ["False", "False", "False", "True", "True"]


def test_identifiers_without_a_gap_between_them() -> None:
    assert Redactor().redact("11010519491231002X" * 9).text == "〔身份证1〕" * 9
