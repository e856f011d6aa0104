"""What title and heading of a literature tell of it: the plain name, what kind of thing it names, whom it concerns.

Not covered: names whose form tells nothing (most herbs, signs and proper names); their kind stays open.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_COUNT = "一二三四五六七八九十百零〇"
_NUMBERING = re.compile(
    rf"^(?:第[{_COUNT}\d]+(?:部分|[章节篇部编卷回讲课条])|[（(][{_COUNT}\d]+[)）]|[{_COUNT}]+[、.．]|\d+[)）、．]|\d+(?:[.．]\d+)*[.．]?\s+"
    r"|\d+(?:[.．]\d+)*[.．](?=[^\d])|\d+(?:[.．]\d+)+(?=[\u4e00-\u9fff])|[①-⑳]|附[录:：]|[【\[〔《\s:：、.·*#-])+"
)
_TAIL = re.compile(r"(?:[（(][^（()）]*[)）]|[】\]〕》\s:：。、]|(?:药品)?说明书|百科)+$")
_PATH = re.compile(r"\s*(?:[>＞→»|｜/\\]|::)+\s*")
_UNTELLING = re.compile(r"(?:总论|绪论|概论|前言|附录|目录|小结|思考题|复习题|习题|参考文献|正文|其他|其它|appendix)?")

_DRUG = re.compile(
    r"(?:片|胶囊|颗粒|冲剂|丸|散|膏|贴|丹|锭|栓|酊|糖浆|口服液|注射液|溶液|滴眼液|滴剂|喷雾剂|气雾剂|乳膏|凝胶|洗剂|合剂|粉|针剂?|疫苗|胰岛素|维生素.{0,2}"
    r"|西林|霉素|环素|沙星|洛尔|地平|普利|沙坦|他汀|替尼|单抗|列净|列汀|格列.|双胍|拉唑|康唑|硝唑|替丁|西泮|唑仑|昔布|洛芬|司琼|韦|嗪|芬|酮|啶|胺|碱|酯"
    r"|[酸盐]盐?|钠|钙片|[^热]汤|饮|素|药|酶|肽|醇|林|辛|平|莫司|米松|肝素|法林|格雷)$"
)
_TEST = re.compile(
    r"(?:检查|检测|测定|试验|化验|造影|活检|穿刺|扫描|摄影|筛查|评分|测量|血压计|[腔胃肠宫喉气]镜|胃肠镜|超声?|心电图|脑电图|肌电图|CT|MRI|核磁(?:共振)?|X线|[XB]光"
    r"|常规|功能|抗[原体]|标[志记]物|细胞计数|计数|血红蛋白|肌酐|尿素氮?|尿酸|胆红素|胆固醇|甘油三酯|转氨酶|蛋白|白细胞|红细胞|血小板|血[糖脂钾钠钙磷镁氧沉]|激素"
    r"|切除术?|[^手]术|移植|化疗|放疗|透析|针灸|拔罐|推拿|刮痧|艾灸|疗法)$"
)
_DONE = re.compile(
    r"镜|超|CT|MRI|磁|X|[电]图|造影|穿刺|活检|扫描|检查|试验|筛查|术$|移植|疗|透析|针灸|拔罐|推拿|刮痧|艾灸"
)
_SYMPTOM = re.compile(
    r"(?:[疼痛痒]|发[热烧]|咳嗽?|咳痰|咯血|腹泻|便秘|呕吐|恶心|呕血|便血|血尿|尿频|尿急|水肿|肿胀|头晕|眩晕|心悸|胸闷|气[短促]|乏力|失眠|盗汗|多汗|耳鸣|鼻塞"
    r"|腹胀|打嗝|呃逆|抽搐|昏迷|晕厥|麻木|出血|呼吸困难|嗳气|反酸|打鼾|流泪|消瘦|厌食|脱发|口[臭干苦])$"
)
_SUDDEN = re.compile(
    r"骨折|脱位|扭伤|烫伤|烧伤|[咬蜇刺割撞挫裂电击冻外]伤|伤$|中毒|溺水|触电|休克|骤停|中暑|误[吞服食]|异物|窒息|梗死|破裂|扭转|穿孔|急性|急症"
)
_DISEASE = re.compile(
    r"(?:[病炎症征癌瘤疹疮癣疣痔瘘疝疽痈疖疸痨疟痢疱斑痣]|结石|感染|过敏|不全|不良|不足|衰竭|障碍|梗[死塞]|溃疡|囊肿|息肉|增生|肿大|脱垂|下垂|狭窄|硬化|萎缩"
    r"|扩张|畸形|缺损|栓塞|血栓|综合征|缺乏|亢进|减退|减少|增多|紊乱|失调|积液|积水|穿孔|破裂|梗阻|扭转|突出|骨赘|粘连|反流|高血压|低血压|感冒|流感|哮喘|肺气肿|卒中"
    r"|近视|远视|散光|弱视|斜视|失明|失聪|耳聋|不孕|不育|流产|早产|阳痿|早泄|肥胖|贫血|痛风|偏瘫|面瘫|痴呆|麻痹|粉刺|痉挛|癫痫|惊厥|抑郁|焦虑|自闭|多动|龋齿|牙周|痤疮)$"
)
_VERBS = (
    (re.compile(r"注射|针剂?$|胰岛素|单抗$|疫苗$|肝素|肽$"), "打", "针"),
    (re.compile(r"滴[眼耳鼻]"), "滴", "滴"),
    (re.compile(r"[软乳药眼]膏|凝胶|搽剂|洗剂|酊$"), "抹", "次"),
    (re.compile(r"贴|栓|喷雾|气雾|吸入|洗液|鼻喷"), "用", "次"),
    (re.compile(r"口服液|合剂|糖浆"), "喝", "支"),
    (re.compile(r"颗粒|冲剂|散$"), "喝", "袋"),
    (re.compile(r"[汤饮]$"), "喝", "副"),
    (re.compile(r"丸$|丹$"), "吃", "丸"),
    (re.compile(r"胶囊"), "吃", "粒"),
)
_WHOM = (
    ("child", re.compile(r"小儿|新生儿|婴|幼儿|儿童|早产儿|宝宝|少年|川崎|手足口|疳")),
    (
        "woman",
        re.compile(
            r"宫|卵巢|妊娠|阴道|乳[腺头房]|月经|产[后褥前程]|[怀受宫]孕|孕[期妇]|白带|外阴|[痛闭]经|经[期前]|输卵管|盆腔|女性|妇|更年|流产|早产|胎|分娩|不孕"
        ),
    ),
    ("man", re.compile(r"前列腺|睾|阴[茎囊]|包[皮茎]|[遗早射死少弱]精|精[子索囊液]|阳痿|早泄|龟头|男|勃起|不育")),
    ("elder", re.compile(r"老年|阿尔茨海默|帕金森|痴呆|黄斑变性|老花")),
)
_STAGE = re.compile(
    r"急性期|缓解期|发作期|稳定期|恢复期|早期|中期|晚期|术后|术前|产后|中医|西医|放疗后|化疗后|出院后|夜间|运动后|饭后"
)


@dataclass(frozen=True)
class Entry:
    """What is told of one entry.

    Args:
        name: its name without numbering and path; "" if nothing is left.
        kind: disease, symptom, drug, test, or "" where the form does not tell.
        verb: what one does with a drug (吃, 打, ...) or a test (做, 查).
        unit: what one counts of a drug.
        sudden: an injury or an attack, which one does not have for years.
        whom: child, woman, man, elder, or "" for everyone.
    """

    name: str
    kind: str
    verb: str
    unit: str
    sudden: bool
    whom: str


def plain(part: str) -> str:
    """A title or heading without numbering, brackets and what stands in them at the end."""
    part = " ".join(part.split())
    bare = _TAIL.sub("", _NUMBERING.sub("", part))
    return bare if bare or not part.strip("（）()【】[]《》 ") else _NUMBERING.sub("", part).strip("（）()【】[]《》 ")


def parts(title: str) -> list[str]:
    """The telling parts of a book path, the plain last one last: 内科学 > 第二篇 > 一、肺炎 gives 内科学, 肺炎."""
    return [part for part in map(plain, _PATH.split(title)) if not _UNTELLING.fullmatch(part)]


def stage(heading: str) -> str:
    """A stage or school that a heading names beside its aspect (急性期, 术后, 中医), or ""."""
    found = _STAGE.search(heading)
    return found[0] if found else ""


def kind_of(name: str) -> str:
    """disease, symptom, drug, test, or "" where the form of the name does not tell."""
    for kind, form in (("symptom", _SYMPTOM), ("disease", _DISEASE), ("test", _TEST), ("drug", _DRUG)):
        if form.search(name):
            return kind
    return "disease" if _SUDDEN.search(name) else ""


def describe(name: str, kind: str = "") -> Entry:
    """The entry of that plain name; `kind` counts where the name does not tell."""
    kind = kind_of(name) or kind
    verb, unit = ("做" if _DONE.search(name) else "查", "次") if kind == "test" else ("吃", "片")
    if kind == "drug":
        verb, unit = next(((verb, unit) for form, verb, unit in _VERBS if form.search(name)), (verb, unit))
    whom = next((group for group, words in _WHOM if words.search(name)), "")
    return Entry(name, kind, verb, unit, bool(_SUDDEN.search(name)), whom)
