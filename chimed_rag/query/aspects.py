"""What a question can ask about a disease or drug (treatment, cause, dose, ...): how one asks and what answers it.

Not covered: the matter itself (`query.question`). Patterns see the surface only: several aspects may be found at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from chimed_rag.text import fold


@dataclass(frozen=True)
class Aspect:
    """One thing a question can ask about a disease or drug: how it is asked for and what answers it.

    Args:
        asked: pattern in the question.
        answered: pattern in a sentence that answers it.
        heading: pattern in a heading under which the answer stands.
    """

    asked: re.Pattern[str]
    answered: re.Pattern[str]
    heading: re.Pattern[str]


def _aspect(asked: str, answered: str, heading: str) -> Aspect:
    return Aspect(re.compile(asked), re.compile(answered), re.compile(heading))


ASPECTS: dict[str, Aspect] = {
    "department": _aspect(
        r"[哪什么啥]个?科|科室|挂[^，。]{0,3}[号科]|哪家医院|去哪[里儿]?(?:看|治|查)",
        r"科室|就诊于|[内外儿妇]科|专科",
        r"就诊|科室|分诊",
    ),
    "dose": _aspect(
        r"(?:吃|服|用|喝|打|注射|补)[^，。？]{0,4}(?:多少|几[片粒颗次袋支毫克滴])|怎么(?:吃|服|用)"
        r"|如何(?:服|使)用|用法|用量|剂量|一[天日]几次",
        r"(?:每|一)[日天次晚]|\d\s*(?:mg|g|ml|毫克|克|毫升|片|粒|袋|滴|次)|首剂|顿服|口服|疗程",
        r"用法|用量|剂量|给药",
    ),
    "side_effect": _aspect(
        r"副作用|不良反应|有害|伤(?:身|肝|肾|胃)",
        r"副作用|不良反应|可[引致]|[常偶罕]见",
        r"不良反应"
        r"|副作用|注意事项",
    ),
    "indication": _aspect(
        r"治(?:疗)?(?:什么|哪些|啥)|功效|作用是?什么|什么(?:作用|功效|用)|主治|适应[症证]|管什么|干什么用",
        r"适用|用于|主治|治疗|适应|缓解|功能主治|功效|(?<!相互)作用",
        r"适应[症证]|主治|功效|药理|^作用",
    ),
    "diet": _aspect(
        r"吃什么(?!药)|吃(?:些|点|哪些)|饮食|食物|食疗|食谱|忌口|营养品|补充营养|水果"
        r"|能(?:不能)?[吃喝](?!.{0,4}[药片丸])|可以[吃喝](?!.{0,4}[药片丸])",
        r"[吃食饮喝]|忌|蔬菜|水果|高?蛋白(?!尿)质|清淡|辛辣",
        r"饮食|食疗|膳食|营养|忌口",
    ),
    "permission": _aspect(
        r"能(?:不能|否|够)?[^，。？治好查]{1,14}[吗？?]|可(?:不可)?以[^，。？]{0,14}[吗？?]|可否|能否"
        r"|能不能|禁忌|要忌|行吗|行不行|安全吗"
        r"|(?:有|没)(?:什么)?影响[吗？?]|[吃喝用服][^，。？]{0,8}[吗？?]",
        r"禁[用忌止服食]|慎用|忌|避免|可以|不(?:[宜应要]|能(?!称|区|排|确|除))|不可(?![逆避缺分能少])|不得(?!不)|[切请]勿|适宜"
        r"|安全|影响|风险|可[用服食]|咨询医|遵医嘱|[医药]师",
        r"禁忌|注意|特殊人群|孕|哺乳|儿童|老年|相互作用|饮食|护理",
    ),
    "treatment": _aspect(
        r"怎么?么?办|咋办|怎么?没办|[怎咋][么样]?(?:医|治|调|处理|缓解|解决|消除|恢复|去除|减)|(?:如何"
        r"|怎样|怎么样)[^，。？]{0,6}(?:治|处理|缓解|调|解决|减|消|恢复)"
        r"|治疗|医治|急救|疗法|(?:什么|哪种|啥|哪些)[^，。？]{0,4}药|用药|治好|治愈|根治|办法|偏方|怎样[才能可以]",
        r"治疗|处理|[应宜需](?!激|力|求)|可(?:以|用|服|选|予|给|采|行|口服|外)|给予|采[用取](?!国际)|服用"
        r"|口服|外用|手术|首选|疗法|缓解|热敷|冷敷|休息|就[医诊]|控制|选用|使用|药物|停[药用]|立即|拨打",
        r"治疗|处理|疗法|用药|急救|护理|康复",
    ),
    "symptom": _aspect(
        r"症状|表现|征兆|前兆|迹象|有什么感觉|什么样子|特征|特点|(?:怎么|如何|怎样)(?:识别|判断|辨认)",
        r"症状|表现|体征|可[见有出]|出现|伴有?|常[有见]|疼痛|特征",
        r"症状|表现|临床|体征|识别",
    ),
    "prevention": _aspect(
        r"预防|(?:如何|怎[么样])(?:才能)?(?:避免|防止|保护|保养|护理)|注意(?:什么|哪些|事项)",
        r"预防|避免|防止|注意|保持|接种|减少|应",
        r"预防|护理|保健|注意",
    ),
    "examination": _aspect(
        r"(?:什么|哪些|啥)检查|检查(?:什么|哪些|项目)|(?:怎么|如何|怎样)(?:检查|诊断|确诊|鉴别|判断|区分"
        r"|查)|诊断|化验|查什么|查[得的]?出|需要查",
        r"检查|检测|诊断|化验|试验|测定|[BX]超|CT|MRI|造影|鉴别|确诊",
        r"检查|诊断|鉴别|化验",
    ),
    "prognosis": _aspect(
        r"治[得的]?好[吗？?]|能(?:不能)?(?:治(?![什啥哪疗])|根治|治好|治愈|痊愈|恢复|自愈)|严重[吗？?]"
        r"|危险|后果|后遗症|复发|活多久|生存|寿命|死亡?[吗率]|预后|癌变|并发症",
        r"预后|治愈|痊愈|复发|恢复|生存|死亡|后遗症|并发|良性|恶[性变]|自愈|存活",
        r"预后|概述|并发|治疗|就诊",
    ),
    "contagion": _aspect(r"传染|传给|传播|遗传", r"传染|传播|遗传|隔离", r"就诊|传播|传染|遗传"),
    "duration": _aspect(
        r"多久|(?<![这前近后好])几(?:[天周]|年(?!前))|(?<![这前近后好])几个[月星小](?!前)|多长时间"
        r"|什么时候|何时|疗程",
        r"\d[^，。；]{0,4}(?:分钟|小时|[天日周月年])"
        r"|[一二两三四五六七八九十数几半][~～-]?[一二两三四五六七八九十]?个?(?:小时|[天日周月年星])",
        r"疗程|病程|周期|预后|治疗",
    ),
    "reference": _aspect(
        r"正常(?:值|范围|数值|是多少|多少)|参考(?:值|范围)|标准值?|偏[高低]",
        r"(?:参考(?:值|范围)|正常(?:值|范围|上限|下限|人)|界值|标准)[^。]*\d",
        r"参考|正常|标准|范围",
    ),
    "quantity": _aspect(
        r"多少|指标|多[高大重]|百分之|比例",
        r"\d\s*(?:[～~%％/–-]|[a-zμ℃×]|毫|微|[克升次度岁片粒名例]|小时)|百分之",
        r"检查|诊断|就诊|用量|概率|发病率",
    ),
    "cause": _aspect(
        r"病因|原因|为什么|为何|怎么?么?回事|咋回事|怎么会|怎么引起|如何引起|引起的|导致|造成|是什么病"
        r"|什么毛病|怎么了|什么情况|怎么得",
        r"病因|原因|引起|导致|由于|所致|因|诱[发因]|造成|感染|有关|缺乏",
        r"病因|原因|发病|机制|概述|诱因",
    ),
    "definition": _aspect(
        r"是什么(?!原因|病|药|情况|引|症|时)|什么是|什么叫|什么意思|是啥|简介|介绍一?下",
        r"^[^，。]{1,20}(?:是|指|为|即|又称|简称)",
        r"概述|定义|简介|概念",
    ),
}
"""The aspects of a question in the order in which they are looked for; `aspects` returns keys of this table."""

FORM_LABELS = re.compile(r"曾经.{0,2}治疗情况(?:和.{0,2}效果?)?|想得到.{0,5}帮助|化验检查结果|发病时间")
"""Labels of the forms in which patients write on consultation sites; they ask for nothing."""


def aspects(question: str) -> tuple[str, ...]:
    """Which of `ASPECTS` the question asks about, in the order of that table; empty if none is recognised."""
    folded = FORM_LABELS.sub(" ", fold(question))
    found = [name for name, aspect in ASPECTS.items() if aspect.asked.search(folded)]
    return tuple(name for name in found if name != "quantity" or "reference" not in found)


@lru_cache(maxsize=4096)  # an encyclopedia has the same few headings under every disease
def told_by(headings: tuple[str, ...]) -> tuple[str, ...]:
    """Which of `ASPECTS` the text under these headings speaks of, in the order of that table."""
    folded = fold(" ".join(headings))
    return tuple(name for name, aspect in ASPECTS.items() if aspect.heading.search(folded))
