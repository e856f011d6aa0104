"""What a question turns on and the evidence does not hold: diseases by their endings, Latin terms, everyday details.

Covered: a disease (鞘膜积液, 软疣) in no title, alias or heading of the evidence, and a Latin term (ranson) in none of
its text. A sentence that names it and covers half of the rest of the question redeems it, and so does a document that
names it in several sentences. Everyday matters beside the disease (献血, 牌子, 评分: `details.tsv`) are looked for in
the text of the documents that come first.
What a short question asks leave for (能吃榴莲吗) is missed if its characters stand nowhere in the document named.
Not covered: diseases whose names have no such ending (针眼, 网球肘), a specific kind of a disease that has an entry
(the two characters at the ending count, so 萎缩性鼻炎 passes where there is 过敏性鼻炎), drugs (`abstention`), and an
answer that says it in general (对抗性运动 where 踢球 is asked): such a question is refused wrongly.

Failed: a logistic score of ten shares and cosines, the shipped encoder's of every sentence among them (area under the
ROC curve .84). Of what the first two rules leave of questions kept apart it refused 2 to 4 of 15 rightly and 1 to 3 of
39 wrongly. Failed too: the share of the rest of a question that one sentence covers (.58, patients use other words).
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from functools import cache

from chimed_rag.packaged import rows
from chimed_rag.query.aboutness import positive
from chimed_rag.query.question import TermWeight, content, content_runs, matter
from chimed_rag.query.rewriting import clinical, corrected, wordings
from chimed_rag.query.tables import synonyms
from chimed_rag.records import Evidence
from chimed_rag.text import fold, sentence_spans, terms

_ENDING = (
    "综合[征症]|硬化|变性|脱位|撕裂|积液|侧弯|息肉|坏死|囊肿|狭窄|麻痹|缺损|脱离|粘连|栓塞|下垂|脱垂|肌病|血友病|地贫|血症"
    "|软化|脓肿|血肿|紊乱|套叠|闭锁|闭塞|障碍|无力|纤维化|肉瘤|包茎|[炎病癌瘤症疣疹瘘疝癣疮痣痈疽疔疟斑]"
)
_DISEASE = re.compile(
    rf"(?P<before>[\u4e00-\u9fff]{{1,2}}?)(?P<ending>{_ENDING})(?![情毒人床房因菌变例历假子状秃块点])"
)
# What ends alike and names no disease of its own: 看病, 后遗症, 皮疹, 抗癌.
_GENERAL = re.compile(
    "[疾生发得看毛治犯患么这那个种此啥了有是无抗防老大重染性慢肤脏职业什起出长退皮红消急遗轻富怪哪其他各该原百]病"
    "|[炎重急发遗焦该适禁对部]症|[皮红起出发湿色长退丘]疹|[抗防患得查个致肿成变把]癌|肿瘤|[发消抗在正里]炎"
    "|[黑白红色老雀出紫淤瘀有]斑|有(?:积液|囊肿|息肉)|[四双手肢体浑身腿]无力|(?:功能|睡眠|进食|意识|语言)障碍|[能眠食识言]障碍|[长口生疥痔褥冻疳]疮|的"
)
_LATIN = re.compile(r"[a-z][a-z-]{2,}[0-9-]*")
_UNITS = frozenset(
    ("uln", "lln", "mmol", "umol", "nmol", "pmol", "mmhg", "mosm", "kcal", "iii", "vii", "qid", "bid", "tid", "app")
)
_REST = 0.5
"""A sentence that names the thing and covers this share of the rest of the question may answer it."""
_MENTIONS = 2
"""A document that names it in so many sentences is partly about it, whatever its title."""
_FIRST = 3
"""So many documents are read for everyday details."""
_MOST = 8
"""So many names are looked for: a question of nothing but names must not take long."""
_SHORT = 18
"""Longer questions tell a story, in which there is always a word that no text holds (characters)."""
_LEAVE = re.compile("(?:能|可以|适合|可否|要|[吃喝])([^，。？！?!,\\s]{2,12})")
_COMMON = frozenset(
    "我你您他她它们的了着过吗呢吧啊呀么是不没有在就也都还又很太这那哪个和与跟把被让给从对为因但而请怎什样会能可要想去来说看好上下大小天时后"
    "前多少几次一二两三四五六七八九十月年第做完打吃喝用以再行得到最近儿孩人家里面边点些件种非常已经才该算及今早东西子叫"
)
"""Characters of which everyday words are made: a pair with one of them tells nothing when it is missing."""
_LONG = 40
"""In a longer question one disease known is enough, and one often told of is the story around it (characters)."""
_RARE = 0.5
"""Often told of is what weighs less than this share of an unknown term."""


def missing_subjects(question: str, evidence: Sequence[Evidence], term_weight: TermWeight | None = None) -> list[str]:
    """The diseases and Latin terms of the question that the evidence is not about, folded, in order."""
    called = frozenset(terms("\n".join(name for one in evidence for name in (*one.names, *one.headings))))
    rare = _RARE * positive(term_weight)("\0")  # no text holds it: the highest weight there is
    spelled = corrected(question)
    later = wordings(question)[1:] if spelled == question else wordings(question)[2:]
    titled = any(len(name) > 1 and fold(name) in spelled for one in evidence for name in one.names)
    read = [_diseases(content(wording), called) for wording in ((spelled,) if titled else (spelled, *later))]
    lost = [{name: pair for name, pair in named.items() if pair not in called} for named in read if named]
    if len(question) > _LONG:
        lost = [
            {
                name: pair
                for name, pair in each.items()
                if len(each) == len(named) and positive(term_weight)(pair) >= rare
            }
            for each, named in zip(lost, filter(None, read), strict=True)
        ]
    diseases = lost[0] if all(lost) and lost else {}  # 冠心病 has an entry, whatever its full name holds
    names = dict.fromkeys([*diseases, *_unknown_latin(question, evidence)])
    return [name for name in list(names)[:_MOST] if not _spoken_of(name, question, evidence, term_weight)]


def _diseases(said: str, called: Container[str]) -> dict[str, str]:
    """Names of diseases, each with the pair of characters that tells its kind: 膜积 of 鞘膜积液, 截瘫 of 截瘫病."""
    found = (match for match in _DISEASE.finditer(said) if not _GENERAL.search(match[0]))
    return {
        match[0]: match["before"]
        if match["ending"] in "病症" and match["before"] in called
        else match["before"][-1] + match["ending"][0]
        for match in found
    }


def missing_object(question: str, evidence: Sequence[Evidence], term_weight: TermWeight | None = None) -> list[str]:
    """What a short question asks leave for (能吃榴莲吗) if no text of the literature holds a pair of its characters and
    the document that the question names holds neither character; in every wording, and of every document named.

    Without `term_weight` nothing is known of the whole literature, and nothing is missed.
    """
    if term_weight is None or len(question) > _SHORT or any(words.search(fold(question)) for words, _ in _details()):
        return []  # for what the table holds, it knows the words of an answer
    unheard = term_weight("\0")
    documents: dict[str, list[Evidence]] = {}
    for passage in evidence:
        documents.setdefault(passage.document_id, []).append(passage)
    found: list[str] = []
    for passages in documents.values():
        names = sorted({fold(name) for one in passages for name in one.names if len(name) > 1}, key=len, reverse=True)
        if not any(name in wording for wording in map(fold, wordings(question)) for name in names):
            continue
        held = set(fold("\n".join("\n".join((*one.headings, one.text)) for one in passages)))
        for wording in wordings(question):
            pairs = terms(" ".join(_LEAVE.findall(_without(fold(wording), names))))
            odd = [pair for pair in pairs if held.isdisjoint(pair) and _COMMON.isdisjoint(pair)]
            odd = [pair for pair in odd if len(pair) == 2 and term_weight(pair) >= unheard]
            if not odd:
                return []
            found = found or odd[:1]
    return found


def _without(text: str, names: Iterable[str]) -> str:
    for name in names:
        text = text.replace(name, " ")
    return text


def missing_details(question: str, evidence: Sequence[Evidence]) -> list[str]:
    """The everyday matters asked about of which the first documents say nothing, in the words of the question."""
    asked = fold(question)
    first = list(dict.fromkeys(one.document_id for one in evidence))[:_FIRST]
    text = fold("\n".join(one.text for one in evidence if one.document_id in first))
    found = [(words.search(asked), answered) for words, answered in _details()]
    return [
        words[0]
        for words, answered in found
        if words and not (answered or re.compile(re.escape(words[0]))).search(text)
    ]


@cache
def _details() -> list[tuple[re.Pattern[str], re.Pattern[str] | None]]:
    table = rows("chimed_rag.safety", "details.tsv")
    return [(re.compile(row[1]), re.compile(row[2]) if len(row) > 2 else None) for row in table]


def _unknown_latin(question: str, evidence: Sequence[Evidence]) -> Iterable[str]:
    known = synonyms("abbreviations.tsv").words
    held = frozenset(terms("\n".join("\n".join((*one.names, *one.headings, one.text)) for one in evidence)))
    asked = (term for term in terms(corrected(question)) if _LATIN.fullmatch(term))
    unknown = (term for term in asked if term not in known and term not in _UNITS)
    return [term for term in unknown if not any(other.startswith(term) for other in held)]  # hbs of HBsAg


def _spoken_of(name: str, question: str, evidence: Sequence[Evidence], term_weight: TermWeight | None) -> bool:
    own = frozenset(terms(name))
    runs = content_runs(matter(clinical(question)), positive(term_weight))
    rest = [(weight, around) for run in runs for weight, around in run.characters if own.isdisjoint(around)]
    whole = sum(weight for weight, _ in rest)
    mentions: dict[str, int] = {}
    for passage in evidence:
        for begin, end in sentence_spans(passage.text) if name in passage.text.lower() else ():
            sentence = passage.text[begin:end].lower()
            if name not in sentence:
                continue
            mentions[passage.document_id] = mentions.get(passage.document_id, 0) + 1
            held = frozenset(terms(sentence))
            covered = sum(weight for weight, around in rest if not held.isdisjoint(around))
            if covered >= _REST * whole or mentions[passage.document_id] >= _MENTIONS:
                return True
    return False
