"""The prescription lock: what doses the reader goes unless it is quoted; what is general, or another's words, stays."""

from __future__ import annotations

import time

import pytest

from chimed_rag.records import Citation, Sentence
from chimed_rag.safety.prescription import asks_for_prescription, doses, doses_reader, is_quote, lock

# The first part of each list was written before the patterns. Two more parts were written apart from them and tried
# before any pattern was mended for them: right came out 28 of 43 dosing sentences, 42 of 43 general ones, 14 of 25 and
# 25 of 25 questions. Now all do but two (KNOWN_MISSES).
ASKING = [
    "给我开个药方",
    "帮我开点头孢",
    "我该吃几片",
    "请给我开个处方吧",
    "医生您好，能帮我妈开点降压药吗",
    "我要打多少单位胰岛素",
    "孩子15公斤，布洛芬混悬液喂几毫升",
    "宝宝8个月发烧，美林吃多少毫升",
    "求一个治失眠的药方",
    "我这种情况阿莫西林一次吃几粒合适？",
    "我爸肌酐高，二甲双胍用量该是多少",
    "可以开药吗",
    "麻烦替我配几副中药",
    "请医生给我开个方子",
    "女儿6岁20kg，阿奇霉素用多大剂量",
    "我想让你给我开一盒布洛芬",
    "我妈70岁能吃几片安眠药",
    "能不能帮忙出个药方",
    "我体重60公斤，吃多少毫克合适",
    "儿子三岁发烧，泰诺林要喂多少",
    "你直接告诉我吃几粒就行",
    "给我老婆开点止咳药呗",
    "我现在每天打10个单位，要不要加到12个",
    "麻烦开个中药方子调理月经",
    "宝宝1岁，蒙脱石散每次喂几包",
    "给个治疗胃病的处方",
    "我得了肺炎该用多大剂量的头孢",
    "爸爸高血压，缬沙坦该吃一片还是两片",
    "我这个血糖二甲双胍要吃几片",
    "求开药",
    "麻烦您给我开一下降糖药",
    "宝宝8公斤，对乙酰氨基酚滴剂吃几毫升",
    "大夫，我这病开点什么药",
    "我奶奶血压180，硝苯地平可以吃几片",
    "给我写个治湿疹的药方",
    "要给孩子喂多少益生菌",
    "我能不能一次吃两片",
    "求方子，调理脾胃",
    "我爱人怀孕，叶酸每天吃多少毫克",
    "我该用多大剂量的激素",
]
NOT_ASKING = [
    "布洛芬一天最多吃几次",
    "医生给我开了头孢，饭前吃还是饭后吃",
    "处方药和非处方药有什么区别",
    "开塞露怎么用",
    "开始吃药后多久见效",
    "孕妇一天吃几片叶酸",
    "孩子一天喝多少毫升奶",
    "我血糖多少算正常",
    "医院给我爸开的药能一起吃吗",
    "阿司匹林的常用剂量是多少",
    "什么药需要凭处方购买",
    "我想知道对乙酰氨基酚成人一次吃几片",
    "给我讲讲高血压的治疗",
    "帮我开导一下孩子",
    "我每天该喝多少毫升水",
    "高血压一般吃什么药",
    "医生开的处方看不懂",
    "处方上的bid是什么意思",
    "儿童布洛芬的剂量怎么算",
    "降压药什么时候吃好",
    "我吃了两片布洛芬还是疼",
    "中药方剂学有哪些经典方",
    "开颅手术后注意什么",
    "这个药一盒有几片",
    "帮我查一下头孢的副作用",
    "给孩子吃药怎么喂",
    "胰岛素一支有多少单位",
    "我一天喝多少酒算酗酒",
    "药店买药要处方吗",
    "维生素D过量是多少",
    "叶酸每天吃多少毫克",
    "我吃的药是医生开的",
    "一盒布洛芬多少钱",
    "开药需要带什么证件",
    "孩子每天睡几个小时",
    "我打了三针狂犬疫苗还要打吗",
    "给我介绍一下糖尿病",
    "儿童用药剂量如何按体重计算",
    "我爸做了心脏支架能吃布洛芬吗",
    "中药方里的引经药是什么",
]
DOSING = [
    "你每天吃两片。",
    "我给您开阿莫西林胶囊。",
    "建议您服用布洛芬400mg。",
    "建议您口服阿莫西林，一次0.5g，一日三次。",
    "根据您的体重，每次应服用300毫克。",
    "先吃两片布洛芬，四小时后再吃一片。",
    "您可以停药了。",
    "请把胰岛素减到10单位，您再观察。",
    "给孩子喂5毫升美林。",
    "处方：阿莫西林胶囊0.5g，口服，每日三次。",
    "Rp. 阿莫西林 0.25g×24粒",
    "为您开具处方如下。",
    "您的用药方案：氨氯地平5mg，每天一次。",
    "每晚吃一片安眠药就行。",
    "你这个情况，头孢一次用两粒。",
    "1. 头孢呋辛片 0.25g 口服 每日2次 ×7天",
    "您可以把二甲双胍加到每天三片。",
    "Sig. 0.5g tid po",
    "您一天服三次即可。",
    "宝宝每次喝2.5ml。",
    "药方如下：麻黄9g、桂枝6g。",
    "请服用对乙酰氨基酚１片。",
    "可以给你配七副中药。",
    "您需要的剂量为每日20mg。",
    "您先按每次两粒、每天三次服用阿奇霉素。",
    "考虑到你肝功能正常，可以用到每天1500mg。",
    "您今晚先服半片艾司唑仑。",
    "结合您孩子的体重，退热药每次给4ml。",
    "我帮您拟一个处方：氯雷他定10mg qd。",
    "您的胰岛素从8单位加到10单位。",
    "就吃一片吧，别多吃。",
    "你先停用阿司匹林三天。",
    "阿莫西林你一顿吃三粒，吃五天。",
    "Rx：头孢克肟 100mg bid",
    "这里为你开一张处方。",
    "给老人家每天早上喂一片氨氯地平。",
    "您按这个剂量用：每12小时200mg。",
    "您可以试试每天两次、每次一袋蒙脱石散。",
    "请您每晚睡前口服10mg。",
    "用药方案：①奥美拉唑20mg 每日两次 ②阿莫西林1g 每日两次 ×14天",
    "亲，每次吃2片哦。",
    "您的华法林应减到每天2.5mg。",
    "柴胡12g，黄芩9g，半夏9g，党参6g，五剂，水煎服。",
    "您一次打6个单位就够了。",
    "你应该每日补充5毫克叶酸。",
    "宝宝可以一次吃半包。",
    "您这种情况建议将泼尼松减至每日10mg。",
    "那你就把药量翻倍。",
    "您把降糖药换成格列美脲吧。",
    "布洛芬您这次吃一粒就可以了。",
    "按你孩子20kg算，头孢克洛每天400mg。",
    "建议你把雷贝拉唑改为每天一次。",
    "你可以含一片硝酸甘油，五分钟后再含一片。",
    "您早上注射12单位，晚上注射8单位。",
    "处方内容：布地奈德 1mg 雾化 每日两次",
    "我开的方子是：黄芪30g，当归10g。",
    "您的剂量是每公斤10毫克。",
    "你直接停掉二甲双胍好了。",
    "请在睡前滴两滴左氧氟沙星滴眼液。",
    "那么您每天总共要吃6片。",
    "你妈妈的药可以减到半片。",
    "给您推荐一个方案：阿奇霉素0.5g，连用三天。",
    "今天先打一针，明天再打一针。",
    "您需每日口服维生素D 800IU。",
    "R: 氨溴索 30mg tid",
]
NOT_DOSING = [
    "成人一次0.2g，每日不超过4次。",
    "您不要自行停药。",
    "请您咨询医生或药师后再用药。",
    "需由医生给您开药。",
    "您可以看说明书：成人一次0.2g。",
    "血钾的参考范围为3.5~5.5mmol/L。",
    "您提到每天吃两片，请与医生核对。",
    "请每天喝1500毫升水。",
    "患者每天吃两片，持续一周后好转。",
    "本品须凭处方购买。",
    "您是否停药，请听医生的意见。",
    "误吃两片以上应立即就医。",
    "您的血压是150/95mmHg。",
    "【用法用量】口服，一次1片，一日3次。",
    "您每天测三次血压。",
    "早餐吃两片面包。",
    "您的血糖为7.8mmol/L，尿蛋白3g/L。",
    "处方药必须凭医师处方销售。",
    "请不要一次吃两片。",
    "您如果想减量，请先咨询医生。",
    "儿童按体重一次5~10mg/kg。",
    "您可以开始散步了。",
    "医生可能会把您的药换成氨氯地平。",
    "高血压的治疗方案包括限盐和减重。",
    "成人常用量为一次10mg，一日一次。",
    "您不应自行增加剂量。",
    "具体剂量请您遵医嘱。",
    "说明书建议12岁以下儿童不用本品。",
    "维持量为每日5～10mg。",
    "您可以先测量体温。",
    "指南推荐的起始剂量为每日25mg。",
    "如果您漏服了一次，不要加倍补服。",
    "请您带上处方到药房取药。",
    "医师应根据您的病情决定用量。",
    "您目前服用的二甲双胍需要定期复查肾功能。",
    "对乙酰氨基酚每日总量不超过2g。",
    "本品每片含阿司匹林100mg。",
    "您每天应走6000步。",
    "您可以每周吃两次鱼。",
    "患儿每次吃奶30毫升即吐。",
    "妊娠期妇女每日补充叶酸0.4mg。",
    "您说的两种药可以相隔两小时服用。",
    "高血压患者每日食盐不超过5g。",
    "药师会告诉您每次吃几片。",
    "您若出现皮疹，应停药并就诊。",
    "血红蛋白低于60g/L时可输血。",
    "静脉滴注，每次1g，每8小时一次。",
    "老人一次吃太多药片容易呛咳。",
    "您吸烟每天20支，建议戒烟。",
    "常用剂量为每次1～2片。",
    "您的用药疑问请咨询药师。",
    "您可以向医生说明每天吃了几次药。",
    "患者出院后每日口服阿司匹林100mg。",
    "您一次只能问一个问题。",
    "请勿超过说明书规定的剂量。",
    "您每晚睡眠不足6小时会影响血压。",
    "静脉补钾浓度不超过0.3%。",
    "您需要复查两次肝功能。",
    "成人每日饮水1500～1700ml。",
    "该药每瓶100ml，每盒10支。",
    "一日三次是指每8小时一次。",
    "您应在医生指导下调整剂量。",
    "儿童用量请咨询医师或药师。",
    "三餐前各注射一次胰岛素是常见的方案。",
    "您的肾功能不全，二甲双胍应由医生决定是否停用。",
    "老年人起始剂量减半。",
    "您不可以把胶囊掰开服用。",
]
KNOWN_MISSES = ["每天三次，每次两片，你记得饭后吃。", "老人家吃半片就够。"]


@pytest.mark.parametrize("question", ASKING)
def test_a_question_that_asks_for_a_prescription(question: str) -> None:
    assert asks_for_prescription(question)


@pytest.mark.parametrize("question", NOT_ASKING)
def test_a_question_that_only_asks_to_know(question: str) -> None:
    assert asks_for_prescription(question) is None


@pytest.mark.parametrize("text", DOSING)
def test_a_sentence_that_doses_the_reader(text: str) -> None:
    assert doses_reader(text)


@pytest.mark.parametrize("text", NOT_DOSING)
def test_a_sentence_that_doses_nobody_in_particular(text: str) -> None:
    assert doses_reader(text) is None


@pytest.mark.parametrize("text", KNOWN_MISSES)
def test_what_the_lock_misses_is_still_a_dose_that_patients_get_only_proved(text: str) -> None:
    assert doses(text)
    assert lock([Sentence(text=text, verdict="unsupported")], forms=False, unproven=False).dropped == ("unproven_dose",)


def _sentence(text: str, *quotes: str, verdict: str = "supported", chunks: str = "a") -> Sentence:
    """A sentence with quotes; `chunks` names the chunk of each, the last one for the rest."""
    citations = [
        Citation(number=1, document_id="d", chunk_id=chunks[min(i, len(chunks) - 1)], quote=q, start=0, end=len(q))
        for i, q in enumerate(quotes)
    ]
    return Sentence.model_validate({"text": text, "citations": citations, "verdict": verdict})


def test_invisible_characters_hide_no_dose() -> None:
    assert doses_reader("你每\u200b天 吃两\u2060片") and asks_for_prescription("我该吃\ufeff几 片")


def test_a_quote_is_the_sentence_itself() -> None:
    assert is_quote(_sentence("每次0.2g。", "每次 0.2Ｇ。"))
    assert is_quote(_sentence("每次0.2g，每日三次。", "每次0.2g，", "每日三次。"))  # a page header lay between
    assert is_quote(_sentence("每次0.2g。", "每次0.2g，每日三次。", "每次0.2g。"))
    assert not is_quote(_sentence("每次0.2g，每日三次。", "每次0.2g，", "每日三次。", chunks="ab"))
    assert not is_quote(_sentence("你每次服0.2g。", "每次服0.2g。"))
    assert not is_quote(_sentence("每次0.2g。", "每次0.2g。", verdict="unsupported"))
    assert not is_quote(_sentence("每次0.2g。"))


YOURS, QUOTED = "你每天吃两片。", _sentence("你每天吃两片。", "你每天吃两片。")


@pytest.mark.parametrize("verdict", ["supported", "unsupported", "not_checked"])
@pytest.mark.parametrize(("forms", "unproven"), [(True, True), (False, False)])
def test_a_dose_for_the_reader_goes_unless_it_is_a_quote(verdict: str, forms: bool, unproven: bool) -> None:
    made_up = _sentence(YOURS, "每天吃两片。", verdict=verdict)
    locked = lock([made_up, QUOTED], forms=forms, unproven=unproven)
    assert locked.sentences == (QUOTED,) and locked.dropped == ("addressed",) and locked.dosed


def test_the_form_of_a_prescription_is_quoted_for_doctors_alone() -> None:
    form = "Rp. 阿莫西林0.25g×24粒"
    quoted = _sentence(form, form)
    assert lock([quoted], forms=True, unproven=True).sentences == (quoted,)
    assert lock([quoted], forms=False, unproven=False).dropped == ("template",)
    formula = "处方：麻黄9g，桂枝6g。"  # how books head the herbs of a formula
    assert lock([_sentence(formula, formula)], forms=False, unproven=False).dropped == ()
    assert lock([_sentence(formula)], forms=True, unproven=True).dropped == ("prescribes",)


def test_the_lines_below_a_prescription_go_with_it() -> None:
    lines = [_sentence(text, verdict="not_checked") for text in ("处方：", "氨溴索口服，每次30mg", "多喝水。")]
    assert [kept.text for kept in lock(lines, forms=True, unproven=True).sentences] == ["多喝水。"]


def test_a_general_dose_is_proved_for_patients() -> None:
    general = _sentence("成人一次0.2g，一日三次。", verdict="unsupported")
    assert lock([general], forms=True, unproven=True).sentences == (general,)
    assert lock([general], forms=False, unproven=False).dropped == ("unproven_dose",)


@pytest.mark.parametrize("text", ["血压140/90mmHg以上。", "每天喝水1500毫升。", "多休息。", "尿蛋白3g/24h。", ""])
def test_no_dose(text: str) -> None:
    assert not doses(text)


@pytest.mark.parametrize("text", ["您", "每天吃两片", "1g，", "请", "处方：", "给我开", "甲", "您每次1g×"])
def test_a_hundred_thousand_characters_are_read_in_time(text: str) -> None:
    endless = text * (100_000 // len(text))
    began = time.perf_counter()
    doses_reader(endless)
    doses(endless)
    asks_for_prescription(endless)
    assert time.perf_counter() - began < 5
