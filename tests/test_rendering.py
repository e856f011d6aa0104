"""Rendering: what a reader sees is whole and in order, and no text, however hostile, becomes structure."""

from __future__ import annotations

import hashlib
import html
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from chimed_rag.records import Abstention, Answer, Check, Citation, Evidence, Notice, RankEntry, Sentence, TraceEntry
from chimed_rag.rendering import answer_html, answer_markdown, answer_text, evidence_html

ALLOWED = {
    *("article", "style", "p", "b", "sup", "a", "span", "div", "section"),
    *("details", "summary", "blockquote", "mark"),
}
HOSTILE = [
    "<script>alert(1)</script>",
    "\"' onmouseover=alert(1) x='",
    "</style></article><img src=x onerror=alert(1)>&lt;b&gt;&amp;",
    "# 标题 #",
    "- 列表 *强调* __下划__ ~~删~~ 3~5 天",
    "1. 项 [1]: javascript:alert(1) [链接](javascript:alert(1)) ![图](http://x/y.png)",
    "12) `代码` ``` | a | b |",
    "=== $x$ \\(x\\) \\",
    "---",
    "> 引文\n\n# 新节\n\n```\n<b>",
    "\x1b[31m红\x1b]0;标题\x07\u202e反转\u202c\u2066\r\n行\u2028行\x85行\x00",
    "    四个空格\t制表",
]
LABEL = "本内容由人工智能生成：句子由程序从所选文献中自动摘录，未经人工审核。"
PLAIN_LABEL = "本内容由人工智能生成，未经人工审核。"
SHA = hashlib.sha256("第1句。".encode()).hexdigest()
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Page(HTMLParser):
    """Collects the elements, with their attributes and text, and checks that they are closed in order."""

    def __init__(self, fragment: str) -> None:
        super().__init__(convert_charrefs=True)
        self.shape: list[tuple[str, tuple[str, ...]]] = []
        self.attributes: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[tuple[str, list[str]]] = []
        self.feed(fragment)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.shape.append((tag, tuple(name for name, _ in attrs)))
        self.attributes.append((tag, {name: value or "" for name, value in attrs}))
        key = (dict(attrs).get("class") or tag).split()[0]
        self._open.append((tag, []))
        self.texts.setdefault(key, []).append("")
        self._open[-1][1].append(key)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for _, (key,) in self._open:
            self.texts[key][-1] += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(f"a declaration: {decl}")


def evidence_of(text: str, number: int = 1, **fields: object) -> Evidence:
    place = {"chunk_id": f"c{number}", "document_id": f"d{number}", "title": f"指南{number}", "score": 0.5}
    return Evidence.model_validate(
        {"number": number, "text": text, "start": 50, "end": 50 + len(text), **place, **fields}
    )


def citation_of(evidence: Evidence, quote: str, number: int = 1, **fields: object) -> Citation:
    start = evidence.start + evidence.text.index(quote)
    copied = {name: getattr(evidence, name) for name in ("document_id", "chunk_id", "title", "headings", "page", "url")}
    own = {"number": number, "quote": quote, "start": start, "end": start + len(quote)}
    return Citation.model_validate({**copied, **own, **fields})


def sample(count: int = 2) -> Answer:
    evidence = [
        evidence_of(
            f"前文{n}。阿司匹林第{n}条：每日一次。后文。", n, headings=("用法",), page=n, url=f"https://a.cn/{n}"
        )
        for n in range(1, count + 2)
    ]
    cited = [citation_of(evidence[n - 1], f"阿司匹林第{n}条：每日一次。", n) for n in range(1, count + 1)]
    sentences = tuple(
        Sentence(text=f"第{citation.number}句。", citations=(citation,), verdict="supported") for citation in cited
    )
    text = "".join(sentence.text for sentence in sentences)
    return Answer(
        question="阿司匹林怎么吃？",
        text=text,
        sentences=sentences,
        citations=tuple(cited),
        evidence=tuple(evidence),
        notices=(Notice(kind="disclaimer", text="仅供参考"), Notice(kind="emergency", text="请拨打120")),
        generator="extractive",
    )


def filled_with(text: str) -> Answer:
    """An answer all of whose free texts are `text` and a letter that tells them apart."""
    passage = evidence_of(f"前{text}甲后", chunk_id=text + "块", title=text + "题", source=text + "源")
    other = evidence_of(
        text + "乙", 2, title=text + "题", headings=(text + "节",), licence=text + "许", date=text + "日"
    )
    cited = citation_of(passage, f"{text}甲", source=text + "源", date=text + "日", licence=text + "许")
    checks = (Check(name=text, verdict="failed", detail=text + "因"),)
    flagged = Sentence(text=text + "戊", verdict="unsupported", checks=checks)
    return Answer(
        question=text + "问",
        text="",
        sentences=(Sentence(text=text + "丁", citations=(cited,), verdict="supported"), flagged),
        citations=(cited,),
        evidence=(passage, other),
        notices=(Notice(kind=text, text=text + "告"), Notice(kind="emergency", text=text + "急")),
        abstention=Abstention(reason="weak_evidence", text=text + "弃"),
        generator=text + "器",
    )


def markdown_shape(source: str) -> tuple[list[str], list[str]]:
    """Types of block and inline tokens, and the text of each inline token."""
    shape, texts = [], []
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(source):
        children = token.children or []
        shape += [token.type, *(child.type for child in children if child.type not in ("text", "text_special"))]
        if token.type == "inline":
            texts.append("".join(child.content for child in children))
    return shape, texts


def one_line(text: str) -> str:
    return " ".join(CONTROLS.sub("", re.sub("\r\n?|\x85|\u2028|\u2029", "\n", text)).split())


any_text = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="<>&\"'`*_[]()~|#$\\-+=.!1 \n\t\r\x1b\u202e甲", max_size=20),
    st.sampled_from(HOSTILE),
)
BENIGN = filled_with("药")


@settings(deadline=None, derandomize=True)
@given(any_text)
def test_no_text_becomes_html(text: str) -> None:
    page = Page(answer_html(filled_with(text)))
    assert page.shape == Page(answer_html(BENIGN)).shape
    assert {tag for tag, _ in page.shape} <= ALLOWED
    assert not any(name.startswith("on") for _, names in page.shape for name in names)
    search = Page(evidence_html(filled_with(text).evidence, text))
    assert search.shape == Page(evidence_html(BENIGN.evidence, "药")).shape
    shown = "".join(data for data in page.texts["chimed"])
    assert not CONTROLS.search(shown)


@settings(deadline=None, derandomize=True)
@given(any_text)
def test_no_text_becomes_markdown(text: str) -> None:
    shape, texts = markdown_shape(answer_markdown(filled_with(text)))
    assert shape == markdown_shape(answer_markdown(BENIGN))[0]
    assert texts[0] == one_line(text + "问")  # and nothing of it is lost
    assert f"{one_line(text + '甲')}" in texts


@settings(deadline=None, derandomize=True)
@given(any_text)
def test_no_text_forges_lines_or_terminal_commands(text: str) -> None:
    plain = answer_text(filled_with(text))
    assert len(plain.splitlines()) == len(answer_text(BENIGN).splitlines())
    assert not CONTROLS.search(plain)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_at_line_ends(text: str) -> None:
    answer = Answer(question=text, text=text, notices=(Notice(kind="x", text=text),))
    benign = Answer(question="药", text="药", notices=(Notice(kind="x", text="药"),))
    assert markdown_shape(answer_markdown(answer))[0] == markdown_shape(answer_markdown(benign))[0]
    assert Page(answer_html(answer)).shape == Page(answer_html(benign)).shape


def test_escaped_text_is_still_the_text() -> None:
    page = Page(answer_html(filled_with("<b>5 mg & \"'")))
    assert page.texts["chimed-question"] == ["<b>5 mg & \"'问"]
    assert page.texts["mark"] == ["<b>5 mg & \"'甲"]


@pytest.mark.parametrize(
    "url",
    [
        *(
            "javascript:alert(1)",
            "JavaScript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "//evil.cn",
            "https://",
        ),
        *("https://a.cn/ b", 'https://a.cn/"x', "java\nscript:alert(1)", "ftp://a.cn", "", "https://a.cn/<b>"),
    ],
)
def test_only_web_addresses_become_links(url: str) -> None:
    answer = sample(1)
    cited = answer.citations[0].model_copy(update={"url": url})
    answer = answer.model_copy(update={"citations": (cited,), "sentences": (), "evidence": ()})
    hrefs = [attributes["href"] for tag, attributes in Page(answer_html(answer)).attributes if tag == "a"]
    assert hrefs == []
    assert "link_open" not in markdown_shape(answer_markdown(answer))[0]


def test_links_say_where_they_go_and_nothing_else_is_fetched() -> None:
    fragment = answer_html(sample())
    links = [attributes for tag, attributes in Page(fragment).attributes if tag == "a" and "rel" in attributes]
    assert [link["href"] for link in links] == ["https://a.cn/1", "https://a.cn/2", "https://a.cn/3"]
    assert {link["rel"] for link in links} == {"noopener noreferrer"}
    assert Page(fragment).texts["chimed-url"] == [link["href"] for link in links]
    names = {name for _, attributes in Page(fragment).attributes for name in attributes}
    assert not names & {"src", "style", "srcset", "background", "action"}
    style = Page(fragment).texts["style"][0]
    assert "http" not in style and "url(" not in style and "@import" not in style
    assert "http" not in answer_html(sample().model_copy(update={"citations": (), "sentences": (), "evidence": ()}))


def test_citation_numbers_lead_to_their_passage() -> None:
    page = Page(answer_html(sample()))
    ids = [attributes["id"] for _, attributes in page.attributes if "id" in attributes]
    jumps = [
        attributes["href"][1:] for tag, attributes in page.attributes if attributes.get("href", "").startswith("#")
    ]
    assert jumps == ids and len(set(ids)) == 2
    assert page.texts["sup"] == ["[1]", "[2]"] == page.texts["chimed-number"]
    assert page.texts["mark"] == ["阿司匹林第1条：每日一次。", "阿司匹林第2条：每日一次。"]
    assert page.texts["chimed-passage"][0] == "前文1。阿司匹林第1条：每日一次。后文。"
    assert page.texts["chimed-title"][0] == "指南1 › 用法"
    assert page.texts["chimed-meta"][0] == "第 1 页"


def test_several_answers_on_a_page_do_not_share_anchors() -> None:
    first, second = (
        {attributes["id"] for _, attributes in Page(answer_html(sample(n))).attributes if "id" in attributes}
        for n in (2, 3)
    )
    assert not first & second


def test_the_same_answer_gives_the_same_page_however_long_it_took() -> None:
    later = sample().model_copy(update={"trace": (TraceEntry(step="dense", milliseconds=3.2),)})
    assert answer_html(sample()) == answer_html(later) == later._repr_html_()
    assert later.to_markdown() == answer_markdown(sample())


def test_evidence_that_is_not_cited_is_folded() -> None:
    fragment = answer_html(sample())
    assert "其他检索到的段落 (1)" in fragment
    assert all("open" not in names for tag, names in Page(fragment).shape if tag == "details")
    assert "其他检索到的段落 (1)" in answer_markdown(sample()) and "其他检索到的段落 (1)" in answer_text(sample())


def test_a_quote_is_marked_through_what_the_cleaner_removed() -> None:
    # Document: ...10 "阿司匹林" 14 "第3页" 17 "每日一次" 21; the passage lacks the page header between.
    passage = evidence_of("用法阿司匹林每日一次。", start=8, end=22, runs=((0, 8, 6), (6, 17, 5)))
    spans = passage.source_spans(2, 10)
    assert spans == [(10, 14), (17, 21)]
    halves = [
        Citation(number=1, document_id="d1", chunk_id="c1", quote=quote, start=start, end=end)
        for (start, end), quote in zip(spans, ("阿司匹林", "每日一次"), strict=True)
    ]
    sentence = Sentence(text="每日一次。", citations=tuple(halves), verdict="supported")
    page = Page(answer_html(Answer(question="问", text="", sentences=(sentence,), evidence=(passage,))))
    assert page.texts["sup"] == ["[1]"] and page.texts["chimed-passage"] == ["用法阿司匹林每日一次。"]
    assert page.texts["mark"] == ["阿司匹林", "每日一次"]
    whole = Citation(number=1, document_id="d1", chunk_id="c1", quote="阿司匹林第3页每日一次", start=10, end=21)
    page = Page(answer_html(Answer(question="问", text="", citations=(whole,), evidence=(passage,))))
    assert page.texts["mark"] == ["阿司匹林", "每日一次"]


@pytest.mark.parametrize(
    "change",
    [
        {"chunk_id": "gone"},
        {"start": 0, "end": 13},
        {"quote": "甲" * 13},
        {"start": 58, "end": 71},
        {"quote": "阿司匹林"},
    ],
)
def test_a_quote_that_is_not_in_its_passage_stands_alone(change: dict[str, object]) -> None:
    answer = sample(1)
    cited = answer.citations[0].model_copy(update=change)
    page = Page(answer_html(answer.model_copy(update={"citations": (cited,), "sentences": ()})))
    assert page.texts["mark"] == [cited.quote] == page.texts["chimed-passage"][:1]


def test_a_quote_that_goes_beyond_its_passage_stands_alone() -> None:
    passage = evidence_of("甲乙丙")
    beyond = Citation(number=1, document_id="d1", chunk_id="c1", quote="乙丙丁", start=51, end=54)
    page = Page(answer_html(Answer(question="问", text="", citations=(beyond,), evidence=(passage,))))
    assert page.texts["mark"] == ["乙丙丁"] == page.texts["chimed-passage"]


def test_overlapping_quotes_are_marked_once() -> None:
    passage = evidence_of("甲乙丙丁戊")
    cited = tuple(citation_of(passage, quote) for quote in ("乙丙", "丙丁", "乙"))
    page = Page(answer_html(Answer(question="问", text="", citations=cited, evidence=(passage,))))
    assert page.texts["chimed-passage"] == ["甲乙丙丁戊"] and "".join(page.texts["mark"]) == "乙丙丁"


def test_emergencies_come_first() -> None:
    page = Page(answer_html(sample()))
    assert page.texts["chimed-notice"] == ["紧急请拨打120", "说明仅供参考"]
    roles = [attributes["role"] for _, attributes in page.attributes if "chimed-notice" in attributes.get("class", "")]
    assert roles == ["alert", "note"]
    assert answer_text(sample()).startswith("【紧急】请拨打120\n")
    assert answer_markdown(sample()).index("请拨打120") < answer_markdown(sample()).index("仅供参考")


@pytest.mark.parametrize(
    ("kind", "label", "tone"),
    [
        *(("emergency", "紧急", "red"), ("prescription", "用药", "amber"), ("starter", "文献", "calm")),
        *(("incompatibility", "配伍", "amber"), ("pregnancy", "孕期", "amber"), ("dose_ceiling", "用量", "amber")),
        *(("interaction", "相互作用", "amber"), ("conflict", "分歧", "amber")),
        *(("disclaimer", "说明", "calm"), ("redacted", "隐私", "grey"), ("something new", "提示", "grey")),
    ],
)
def test_notices_by_kind(kind: str, label: str, tone: str) -> None:
    answer = Answer(question="问", text="", notices=(Notice(kind=kind, text="文"),))
    assert f'chimed-{tone}" role=' in answer_html(answer) and f"<b>{label}</b>文" in answer_html(answer)
    assert f"> **{label}** 文\n" in answer_markdown(answer) and f"【{label}】文\n" in answer_text(answer)


def test_verdicts_are_marked() -> None:
    doubt = Sentence(text="可以停药。", verdict="unsupported", checks=(Check(name="数值", verdict="failed"),))
    answer = Answer(question="问", text="", sentences=(doubt, Sentence(text="多喝水。")))
    page = Page(answer_html(answer))
    assert page.texts["chimed-unsupported"] == ["可以停药。"] and page.texts["chimed-unchecked"] == ["多喝水。"]
    assert page.texts["chimed-flag"] == ["已标记：文献不支持", "未核对"]
    assert 'title="数值"' in answer_html(answer)
    for shown in (answer_markdown(answer), answer_text(answer)):
        assert "可以停药。〔已标记：文献不支持〕多喝水。〔未核对〕\n" in shown
    assert "chimed-flag" not in Page(answer_html(sample())).texts


@pytest.mark.parametrize(
    ("reason", "label"), [("no_evidence", "没有相关文献"), ("weak_evidence", "证据不足"), ("out_of_scope", "超出范围")]
)
def test_abstention(reason: str, label: str) -> None:
    abstention = Abstention.model_validate({"reason": reason, "text": "请换一种问法。"})
    answer = Answer(
        question="问", text="请换一种问法。", abstention=abstention, evidence=(evidence_of("段落"),), generator="x"
    )
    page = Page(answer_html(answer))
    assert page.texts["chimed-abstention"] == [f"未能回答：{label}请换一种问法。"]
    assert "chimed-answer" not in page.texts and page.texts["chimed-foot"] == [PLAIN_LABEL]
    assert page.texts["summary"][0] == "检索到的段落 (1)"
    assert f"**未能回答：{label}。** 请换一种问法。" in answer_markdown(answer)
    assert f"未能回答：{label}。请换一种问法。" in answer_text(answer)


def test_paragraphs_follow_the_text_of_the_answer() -> None:
    sentences = tuple(Sentence(text=text, verdict="supported") for text in ("One.", "Two.", "三。", "四。"))
    answer = Answer(question="问", text="One. Two.\n三。四。", sentences=sentences)
    assert Page(answer_html(answer)).texts["chimed-answer"] == ["One. Two.", "三。四。"]
    assert "One. Two.\n\n三。四。\n" in answer_markdown(answer) and "One. Two.\n\n三。四。\n" in answer_text(answer)
    assert Page(answer_html(answer.model_copy(update={"text": ""}))).texts["chimed-answer"] == ["One.Two.三。四。"]


def test_an_answer_without_sentences() -> None:
    assert Page(answer_html(Answer(question="问", text="只有文。"))).texts["chimed-unchecked"] == ["只有文。"]
    for render in (answer_html, answer_markdown, answer_text):
        assert "没有生成回答" in render(Answer(question="问", text=""))


def test_markdown_of_an_answer() -> None:
    assert answer_markdown(sample(1)) == (
        "### 阿司匹林怎么吃？\n\n> **紧急** 请拨打120\n\n> **说明** 仅供参考\n\n第1句。[1]\n\n**出处**\n\n"
        "- **[1]** 指南1 › 用法 · 第 1 页 · <https://a.cn/1>\n  > 阿司匹林第1条：每日一次。\n\n"
        f"**其他检索到的段落 (1)**\n\n- 指南2 › 用法 · 第 2 页\n\n{LABEL} · 生成：extractive\n\n"
        f'<!-- {{"AIGC":{{"Label":"1","ContentProducer":"chimed_rag/extractive","ProduceID":"sha256:{SHA}",'
        '"ReservedCode1":"","ContentPropagator":"","PropagateID":"","ReservedCode2":""}} -->\n'
    )


def test_text_of_an_answer() -> None:
    assert answer_text(sample(1)) == (
        "【紧急】请拨打120\n\n问：阿司匹林怎么吃？\n\n【说明】仅供参考\n\n第1句。[1]\n\n"
        "出处\n[1] 指南1 › 用法 · 第 1 页\n    “阿司匹林第1条：每日一次。”\n    https://a.cn/1\n\n"
        f"其他检索到的段落 (1)\n  指南2 › 用法 · 第 2 页\n\n{LABEL} · 生成：extractive\n"
    )


@pytest.mark.parametrize("answer", [sample(1), BENIGN, Answer(question="问", text="")])
def test_every_form_says_that_a_machine_made_it(answer: Answer) -> None:
    for render in (answer_html, answer_markdown, answer_text):
        assert "本内容由人工智能生成" in render(answer)
    assert json.loads(answer.model_dump_json())["label"]["text"].startswith("本内容由人工智能生成")


def test_the_label_that_programs_read() -> None:
    answer = sample(1)
    (_, root), *_ = Page(answer_html(answer)).attributes
    expected = {"label": "1", "producer": "chimed_rag/extractive", "id": f"sha256:{SHA}"}
    assert {name: root[f"data-aigc-{name}"] for name in expected} == expected
    comment = re.findall("<!-- (.*) -->", answer_markdown(answer))[-1]
    assert json.loads(comment) == answer.label.aigc()


def test_a_hostile_generator_does_not_leave_the_comment() -> None:
    hostile = sample(1).model_copy(update={"generator": "--> <script>alert(1)</script> <!--"})
    shown = answer_markdown(hostile)
    assert shown.count("-->") == 1 and shown.endswith("-->\n") and "<script" not in shown
    comment = re.findall("<!-- (.*) -->", shown)[-1]
    assert json.loads(comment)["AIGC"]["ContentProducer"] == "chimed_rag/--> <script>alert(1)</script> <!--"


def test_the_label_is_never_another_answers() -> None:
    answer = sample(1)
    other = answer.model_copy(update={"text": "改过。"})
    assert other.label.content_id == "sha256:" + hashlib.sha256("改过。".encode()).hexdigest()
    forged = json.loads(answer.model_dump_json()) | {"label": {"text": "", "producer": "x", "content_id": "y"}}
    assert Answer.model_validate(forged) == answer and Answer.model_validate(forged).label == answer.label
    assert Answer.model_validate_json(answer.model_dump_json()) == answer


def test_search_results() -> None:
    ranks = {"dense": RankEntry(rank=2, score=0.1), "reply": RankEntry(rank=40, score=0.158)}
    found = evidence_of("布洛芬片。", ranks=ranks, source="手册.pdf")
    page = Page(evidence_html([found], "布洛芬"))
    assert page.texts["chimed-question"] == ["布洛芬"] and page.texts["chimed-passage"] == ["布洛芬片。"]
    assert page.texts["chimed-meta"] == ["手册.pdf · 得分 0.500（dense 第 2，医生回复 +0.16）"]
    assert "检索到的段落 (0)" in evidence_html([], "无")


def test_an_answer_is_small() -> None:
    answer = sample(5)
    long = [passage.text + "药" * 400 for passage in answer.evidence]
    evidence = [
        passage.model_copy(update={"text": text, "end": passage.start + len(text)})
        for passage, text in zip(answer.evidence, long, strict=True)
    ]
    assert len(answer_html(answer.model_copy(update={"evidence": tuple(evidence)})).encode()) < 25_000


def palettes() -> list[dict[str, str]]:
    """The colours of the light palette and of the two copies of the dark one."""
    style = html.unescape(Page(answer_html(sample())).texts["style"][0])
    blocks = re.findall(r"\{([^{}]*--paper[^{}]*)\}", style)
    return [dict(re.findall(r"--(\w[\w-]*): (#[0-9a-f]{6})", block)) for block in blocks]


def luminance(colour: str) -> float:
    """Relative luminance by WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_dark_theme_and_contrast() -> None:
    fragment = answer_html(sample())
    for rule in ("prefers-color-scheme: dark", '[data-jp-theme-light="false"]', "body.vscode-dark"):
        assert rule in fragment
    light, dark, forced_dark = palettes()
    assert dark == forced_dark and light.keys() == dark.keys()
    pairs = [
        (tone, ground) for tone in ("ink", "soft", "link", "red", "amber", "calm", "grey") for ground in ("paper",)
    ]
    pairs += [("ink", "mark"), ("ink", "grey-tint"), ("ink", "red-tint"), ("red", "red-tint"), ("ink", "amber-tint")]
    for palette in (light, dark):
        for tone, ground in [*pairs, ("amber", "amber-tint")]:
            low, high = sorted((luminance(palette[tone]), luminance(palette[ground])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (tone, ground)


def test_language_and_roles() -> None:
    (tag, root), *rest = Page(answer_html(sample())).attributes
    assert (tag, root["lang"], root["aria-label"]) == ("article", "zh", "医学问答")
    assert ("section", "出处") in [(name, attributes.get("aria-label")) for name, attributes in rest]
    assert any(attributes.get("role") == "heading" for _, attributes in rest)
