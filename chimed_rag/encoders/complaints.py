"""What a sentence of a literature says of symptoms, in a form that a patient can tell as a complaint.

Not covered: grammar. A fragment counts as a symptom if it holds a word of pain or disorder and none of a textbook's.
"""

from __future__ import annotations

import random
import re

SHORTEST, LONGEST = 4, 12  # characters of a complaint

_BREAK = re.compile(r"[，。；：！？、,;:!?\s（）()\[\]【】“”\"《》]+|以及|和|及|或|并|伴有?(?!随)")
_LEAD = re.compile(
    "^(?:患者|病人|部分|少数|多数|大多数?|往往|主要|典型|早期|晚期|初期|严重时?|重者|轻者|此时|甚至|逐渐|通常|同时|其中|一般|表现为?|包括|症状"
    "|出现|可见|可有|可|常见|常|多|会|有|还|也|则|为|是|如|以|的|时|后|尤其|特别|例如|其他|其它|局部|明显|不同程度的?)+"
)
_TRAIL = re.compile(
    "(?:等.*|为主.*|(?:较|最|更)?(?:多|常)见.*|为(?:特征|主).*|的?(?:症状|表现|感觉|现象|特点)|明显|加重|之一|时|者)+$"
)
_SYMPTOM = re.compile(
    "[疼痛痒肿胀麻晕咳喘]|发[热烧冷抖黄绀红]|低热|高热|寒战|[呕想]吐|恶心|反酸|烧心|乏力|无力|疲[劳倦乏]|出[血汗]|血[尿便]|便血|黑便|流[涕泪脓]|心[悸慌]"
    "|不适|困难|腹泻|便秘|皮疹|红斑|丘疹|水[疱肿]|尿频|尿急|失眠|多梦|盗汗|消瘦|瘦|食欲|声音?嘶哑|耳鸣|模糊|重影|抽[搐筋]|发抖|震颤|僵硬|口[干渴苦臭]|鼻塞|打喷嚏"
    "|气[短促急]|憋|胸闷|嗜睡|烦躁|健忘|脱[发皮屑]|白带|月经|闭经|肿块|结节|溃烂|化脓|分泌物|黄疸|嗳气|打嗝|不[清稳]|异味|灼"
)
_UNFIT = re.compile(
    r"[\dA-Za-z%％～~<>≥≤]|治|病[人因理变程情]|患者|诊|检|引起|所致|导致|因|由|与|于|药|术|感染|综合|率|型|期|者|宜|应|能|若|禁|避免|预防|临床|史|[其该此本您]"
    r"|细胞|组织|障碍$|压痛|反跳|叩|触及|体征|出血点|可逆|或|如|称|指|即|分为|没有|无明显|不伴|不(?:会|痛|痒|明显)|功能|损害|疾病|衰竭|炎|癌|瘤|中毒|治愈|给予|使用|口服|服"
)


def complaint_in(sentence: str, name: str, rng: random.Random) -> str:
    """One to three symptoms of the sentence that stand side by side, 4 to 12 characters together; "" if it tells none.

    What only says the entry's own name again is no complaint.
    """
    told = [_symptom(part, name) for part in _BREAK.split(sentence)]
    starts = [place for place, part in enumerate(told) if part]
    if not starts:
        return ""
    first = starts[int(rng.random() * len(starts))]
    text, wanted = told[first], 1 + int(rng.random() * 3)
    for part in told[first + 1 : first + wanted + 1]:
        if not part or (len(text) >= SHORTEST and wanted == 1) or len(text) + len(part) + 1 > LONGEST:
            break
        text += "，、 "[int(rng.random() * 2.3)] + part
    return text if SHORTEST <= len(text) <= LONGEST else ""


def _symptom(part: str, name: str) -> str:
    """The part without a textbook's first and last words, if it tells of a symptom; else ""."""
    if not 2 <= len(part) <= LONGEST + 6 or not _SYMPTOM.search(part):
        return ""
    bare = _TRAIL.sub("", _LEAD.sub("", part))
    fits = 2 <= len(bare) <= LONGEST and _SYMPTOM.search(bare) and not _UNFIT.search(bare)
    return bare if fits and bare not in name and name not in bare else ""
