"""Sentences that their passage supports: untouched ones, and the same said otherwise without changing what it means.

Covered: synonyms, equal names, numerals, units and their conversion, frequencies, order of clauses and lists, frames, a
subject that the title supplies, dropped additions, merged sentences, bullets, punctuation. Hedges (一般, 通常) are
exchanged but never dropped: 一般不超过5天 and 不超过5天 do not say the same.
Not covered: summaries over several sentences, and conclusions that a reader would draw.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from chimed_rag.quantities import quantities
from tools.proof_numbers import measured, shown
from tools.proof_records import DEVELOPMENT, TEST, Candidate, Spot, Template, table

_HAN_DIGITS = "零一二三四五六七八九十"
_CONTRA = re.compile("禁用|慎用|不宜|不应使用|不可")
Rewrite = Callable[[str], str | None]


def whole(rewrite: Callable[[Spot], str | None]) -> Template:
    """A template that says the whole sentence anew, or does not apply."""

    def candidates(spot: Spot) -> Iterator[Candidate]:
        new = rewrite(spot)
        if new and new != spot.sentence:
            yield Candidate(new, spot.sentence, new)

    return candidates


def kept(condition: Callable[[str], bool]) -> Template:
    """The sentence as it is, where it is of a kind."""

    def candidates(spot: Spot) -> Iterator[Candidate]:
        if condition(spot.sentence):
            yield Candidate(spot.sentence, "", "")

    return candidates


def synonyms(rules: list[list[str]], count: int) -> Template:
    """Several harmless exchanges of words at once, at least `count` of them."""
    compiled = [(re.compile(old), new) for old, new in rules]

    def candidates(spot: Spot) -> Iterator[Candidate]:
        text, changes, taken = spot.sentence, [], set()
        for pattern, new in compiled:
            match = pattern.search(text)
            # What one rule wrote no other rewrites, and a passage that already has the new word may mean another thing.
            if not match or match.expand(new) in text or match[0] in taken:
                continue
            word = match.expand(new)
            text = text[: match.start()] + word + text[match.end() :]
            taken.add(word)
            changes.append((match[0], word))
            if len(changes) == max(count, 2):
                break
        if len(changes) >= count:
            yield Candidate(text, "、".join(old for old, _ in changes), "、".join(new for _, new in changes))

    return candidates


def single(rules: list[list[str]]) -> Template:
    """One harmless exchange of words, wherever in the sentence the same word stands; a candidate for each rule."""
    compiled = [(re.compile(old), new) for old, new in rules]

    def candidates(spot: Spot) -> Iterator[Candidate]:
        for pattern, new in compiled:
            match = pattern.search(spot.sentence)
            if match:
                yield Candidate(pattern.sub(new, spot.sentence), match[0], match.expand(new))

    return candidates


# --- numbers that stay what they are -------------------------------------------------------------------------------


_SMALL = re.compile(
    r"(?<![\d.～~/／×第月年至到-])([1-9]|10)"
    r"( ?(?:次(?!/)|天|周(?![岁围])|年(?!\d)|片|粒|小时|岁(?!以[上下])|个月))(?!\d)"
)


def _to_han(spot: Spot) -> str | None:
    """Small counts in Chinese: 3次 -> 三次, 2周 -> 两周."""

    def han(match: re.Match[str]) -> str:
        number = int(match[1])
        return ("两" if number == 2 else _HAN_DIGITS[number]) + match[2]

    return _SMALL.sub(han, spot.sentence)


_LARGE = re.compile(
    "(?<![第一二两三四五六七八九十每同这那下某任进数几])[二两三四五六七八九十](?=(?:次|天|周(?![期围])|年|片|粒|个月|小时|种|类))(?!次或)"
)


def _to_digits(spot: Spot) -> str | None:
    def digit(match: re.Match[str]) -> str:
        return str("_一二三四五六七八九十".find(match[0].replace("两", "二")))

    return _LARGE.sub(digit, spot.sentence)


_CONVERSIONS = {
    "mg": ("g", 1e-3),
    "g": ("mg", 1e3),
    "μg": ("mg", 1e-3),
    "mL": ("L", 1e-3),
    "kg": ("g", 1e3),
    "cm": ("mm", 10.0),
    "L": ("mL", 1e3),
}
_CHINESE = {"g": "克", "mg": "毫克", "L": "升", "mm": "毫米", "mL": "毫升", "μg": "微克"}


def _converted(spot: Spot) -> Iterator[Candidate]:
    """One dose in another unit of the same kind: 0.2克 -> 200毫克, both ends of a range."""
    text = spot.sentence
    for q in quantities(text):
        if (
            q.unit not in _CONVERSIONS
            or not re.fullmatch(r"[\d.～]+ ?[^\d]+", q.text)
            or text[q.end : q.end + 1] in "/每"
        ):
            continue
        unit, factor = _CONVERSIONS[q.unit]
        if not 0.01 <= q.low * factor <= 5000 or q.high * factor > 5000:
            continue
        low, high = shown(q.low * factor), shown(q.high * factor)
        new = (low if q.low == q.high else f"{low}～{high}") + _CHINESE.get(unit, unit)
        yield Candidate(text[: q.start] + new + text[q.end :], q.text, new)


_ALONE = r"(?<![\d～第.])"
_SPANS = [
    *([_ALONE + old, new] for old, new in (
        ("24小时", "1天"), ("48小时", "2天"), ("72小时", "3天"), ("2周(?![岁围])", "14天"), ("1周(?![岁围])", "7天"),
        ("4周(?![岁围])", "28天"), ("12个月", "1年"), ("6个月", "半年"), ("30分钟", "半小时"), ("1小时", "60分钟"),
        ("7天", "1周"), ("14天", "两周"), (r"2年(?!\d)", "24个月"),
    )),
    ["半小时", "30分钟"], ["两周(?![岁围])", "14天"], ["半年", "6个月"],
]  # fmt: skip

# --- order ---------------------------------------------------------------------------------------------------------

_ITEM = "[^，。、；和与或及的（）：在时后前]{2,7}"
_LIST = re.compile(
    rf"(?:有|如|包括|出现|表现为|引起|可见|伴|导致|避免|常见(?!于|原因|症状|病因|的)|检查|见于|含)(({_ITEM}、)+{_ITEM}(和|或|与){_ITEM})(?=[，。])"
)


def _relisted(spot: Spot) -> Iterator[Candidate]:
    """A list in another order: 恶心、呕吐和腹泻 -> 腹泻、恶心和呕吐."""
    match = _LIST.search(spot.sentence)
    if not match:
        return
    items = re.split(f"、|{match[3]}", match[1])
    if len(items) < 3 or any(
        re.search("严重|轻|急|慢|明显|没有|不|新|持续|反复|其他|等|看|有|使用|要", item) for item in items
    ):
        return
    moved = [items[-1], *items[:-1]]
    new = "、".join(moved[:-1]) + match[3] + moved[-1]
    yield Candidate(spot.sentence[: match.start(1)] + new + spot.sentence[match.end(1) :], match[1], new)


def _contra_turned(spot: Spot) -> str | None:
    """有X的人禁用Y。 -> Y禁用于有X的人。"""
    match = re.fullmatch(r"([^，。]{2,40}?)(一般)?(应)?(禁用|慎用)([^，。]{2,16})。", spot.sentence)
    if not match or re.search("使用|和|、", match[5]) or re.search("[都也]$|在", match[1]):
        return None
    verb = (match[2] or "") + (match[3] or "") + match[4]
    return f"{match[5]}{verb}于{match[1]}。"


def _caused(spot: Spot) -> str | None:
    """X可引起Y。 -> Y可由X引起。"""
    match = re.fullmatch(r"([^，。、]{2,20}?)(可能|可以|可|会)?(引起|导致|造成)([^，。]{2,20})。", spot.sentence)
    if not match or re.search("[也还不可因用能会是]", match[1]) or match[4].startswith("的") or "更" in match[4]:
        return None
    return f"{match[4]}{match[2] or ''}由{match[1]}{match[3]}。"


def _condition(spot: Spot) -> str | None:
    """怀疑X时，应Y。 -> 如果怀疑X，应Y。 Only where one comma parts condition and advice."""
    match = re.fullmatch(r"([^，。]{4,30}?)(?<!小)时，((?:应|不要|可|不应|必须|宜)[^，。]{4,40})。", spot.sentence)
    return f"如果{match[1].removeprefix('当')}，{match[2]}。" if match else None


def _when_first(spot: Spot) -> str | None:
    """X，应立即Y。 -> 应立即Y的情况包括：X。"""
    match = re.fullmatch(r"([^。]{6,60})，(应(?:立即|尽快|及时|尽早)[^，。]{2,16})。", spot.sentence)
    return f"{match[2]}的情况：{match[1]}。" if match else None


# --- frames and pieces ---------------------------------------------------------------------------------------------

_ADDITIONS = re.compile(
    r"，(?:各实验室略有不同|(?:用药)?(?:应|须)?遵医嘱(?:或按说明书)?|用药按说明书(?:或遵医嘱)?|应遵医嘱|须遵医嘱|剂量和疗程(?:应|必须)遵医嘱|具体由医生决定|由医生决定"
    r"|由医生[^，。]{2,12}|间隔由医生决定|具体间隔由医生决定|不应自行[^，。]{2,6}|以免[^，。]{2,16}|以防[^，。]{2,16}|必须由医生决定|用药应遵医嘱[^，。]{0,6})。$"
)


def _without_addition(spot: Spot) -> str | None:
    shorter = _ADDITIONS.sub("。", spot.sentence)
    return shorter if shorter != spot.sentence else None


def _without_subject(spot: Spot) -> str | None:
    title = spot.passage.title
    rest = spot.sentence.removeprefix(title)
    return (
        rest
        if rest != spot.sentence and re.match("[应可是常多不宜用会对在由需每传]", rest) and not rest.startswith("的人")
        else None
    )


def _pronoun(spot: Spot) -> str | None:
    """本品 or 该病 where the title stands first."""
    title, sentence = spot.passage.title, spot.sentence
    if (
        not sentence.startswith(title)
        or sentence.count(title) > 1
        or not re.match("[应可是常多不宜的会在由需每传目主俗分与]", sentence[len(title) :])
    ):
        return None
    if spot.passage.kind == "drug":
        return "该药" + sentence[len(title) :]
    return "这种病" + sentence[len(title) :] if spot.passage.kind == "disease" else None


def _about_title(spot: Spot) -> str | None:
    return f"关于{spot.passage.title}：{spot.sentence}" if spot.passage.title in spot.sentence else None


def _subject_added(spot: Spot) -> str | None:
    """The title put before a sentence that leaves it out, where the entry is one disease or drug."""
    title = spot.passage.title
    if (
        any(name in spot.sentence for name in spot.passage.names)
        or spot.passage.kind not in ("disease", "drug")
        or len(title) > 9
    ):
        return None
    return f"在{title}方面，{spot.sentence}"


def merged(sign: str) -> Template:
    """A sentence and the next of its passage as one."""

    def candidates(spot: Spot) -> Iterator[Candidate]:
        following = spot.passage.sentences[spot.place + 1 : spot.place + 2]
        if following and len(spot.sentence + following[0]) <= 90:
            yield Candidate(spot.sentence.rstrip("。") + sign + following[0], "。", sign)

    return candidates


def _english_marks(spot: Spot) -> str | None:
    return spot.sentence.translate(str.maketrans("，。；（）：", ",.;():"))


def _wide(spot: Spot) -> str | None:
    return re.sub(r"\d", lambda m: chr(ord(m[0]) + 0xFEE0), spot.sentence)


def controls() -> dict[str, tuple[str, Template]]:
    """Every template by name, with its part."""
    found: dict[str, tuple[str, Template]] = {
        "untouched.plain": (DEVELOPMENT, kept(lambda text: not measured(text) and not _CONTRA.search(text))),
        "untouched.number": (TEST, kept(lambda text: bool(measured(text)))),
        "untouched.contraindication": (DEVELOPMENT, kept(lambda text: bool(_CONTRA.search(text)))),
        "untouched.two_negations": (TEST, kept(lambda text: len(re.findall("[不无没未]", text)) > 1)),
        "paraphrase.equal_name": (TEST, _equal),
        "paraphrase.han_numerals": (DEVELOPMENT, whole(_to_han)),
        "paraphrase.digits": (TEST, whole(_to_digits)),
        "paraphrase.converted": (TEST, _converted),
        "paraphrase.time_span": (DEVELOPMENT, single(_SPANS)),
        "paraphrase.list_order": (DEVELOPMENT, _relisted),
        "paraphrase.contraindication_turned": (TEST, whole(_contra_turned)),
        "paraphrase.passive": (DEVELOPMENT, whole(_caused)),
        "paraphrase.condition": (TEST, whole(_condition)),
        "paraphrase.advice_first": (DEVELOPMENT, whole(_when_first)),
        "paraphrase.addition_dropped": (TEST, whole(_without_addition)),
        "paraphrase.subject_dropped": (DEVELOPMENT, whole(_without_subject)),
        "paraphrase.pronoun": (TEST, whole(_pronoun)),
        "paraphrase.about": (DEVELOPMENT, whole(_about_title)),
        "paraphrase.subject_added": (TEST, whole(_subject_added)),
        "paraphrase.frame_polite": (DEVELOPMENT, whole(lambda spot: f"根据资料，{spot.sentence}")),
        "paraphrase.frame_source": (TEST, whole(lambda spot: f"您好，文献中提到，{spot.sentence}")),
        "paraphrase.connective": (TEST, whole(lambda spot: f"另外，{spot.sentence}")),
        "paraphrase.connective_also": (DEVELOPMENT, whole(lambda spot: f"需要注意的是，{spot.sentence}")),
        "paraphrase.merged_semicolon": (DEVELOPMENT, merged("；")),
        "paraphrase.merged_comma": (TEST, merged("，同时，")),
        "paraphrase.bullet": (DEVELOPMENT, whole(lambda spot: "- " + spot.sentence.rstrip("。"))),
        "paraphrase.numbered": (TEST, whole(lambda spot: f"（2）{spot.sentence}")),
        "paraphrase.bold": (TEST, whole(lambda spot: f"**{spot.sentence.rstrip('。')}**")),
        "paraphrase.english_marks": (TEST, whole(_english_marks)),
        "paraphrase.wide_digits": (DEVELOPMENT, whole(_wide)),
    }
    for name, settings in table("proof_paraphrases").items():
        count = settings["count"]
        template = synonyms(settings["rules"], count) if count > 1 else single(settings["rules"])
        found[name] = (settings["part"], template)
    return found


def _equal(spot: Spot) -> Iterator[Candidate]:
    """Trade for generic name, full name for abbreviation, as the literature's readers say it."""
    text = spot.sentence
    for old, new in table("proof_names")["equal"]:
        if (
            old in text
            and new not in text
            and not re.search(rf"{old}(?:病毒|疫苗|球菌|酯)|(?:急性|妊娠期|左|慢性|甲状腺功能){old}", text)
        ):
            yield Candidate(text.replace(old, new), old, new)
