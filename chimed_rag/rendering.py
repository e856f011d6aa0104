"""Answers and search results as a reader sees them: an HTML fragment for notebooks, Markdown, plain text for terminals.

Not covered: deciding what may be shown (`safety.policy`); this module shows everything that the records hold.

Every answer ends with the label of generated content, for readers and for programs (`Answer.label`).

All texts are taken to be hostile. HTML: one fragment without script or outside resources, and a link only where the
own address of a source is http(s). Markdown, plain text: every field is put on one line, so it cannot forge structure.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files

from chimed_rag.records import Answer, Citation, Event, Evidence, Notice, Sentence

_NOTICES = {
    "emergency": ("紧急", "red"),
    "prescription": ("用药", "amber"),
    "incompatibility": ("配伍", "amber"),
    "pregnancy": ("孕期", "amber"),
    "dose_ceiling": ("用量", "amber"),
    "interaction": ("相互作用", "amber"),
    "conflict": ("分歧", "amber"),
    "starter": ("文献", "calm"),
    "disclaimer": ("说明", "calm"),
    "redacted": ("隐私", "grey"),
    "extractive": ("摘录", "amber"),
    "interrupted": ("中断", "grey"),
}
_OTHER_NOTICE = ("提示", "grey")
_REASONS = {
    "no_evidence": "没有相关文献",
    "weak_evidence": "证据不足",
    "conflicting_evidence": "文献相互矛盾",
    "out_of_scope": "超出范围",
    "emergency": "急症，请先就医",
}
_FLAGS = {"unsupported": "已标记：文献不支持", "not_checked": "未核对"}
_EMPTY = "没有生成回答。"

# Controls (a terminal would obey ESC), bidi controls (they show a text in another order than it has), lone surrogates.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f\ufeff\ud800-\udfff]")
_LINE_ENDS = re.compile("\r\n?|\x85|\u2028|\u2029")
_WEB = re.compile(r"https?://[^\s<>\"'`\\{}|^]+", re.IGNORECASE)


_COMMENT_UNSAFE = re.compile("[-<>&]")


# What the three forms share.


def _clean(text: str) -> str:
    return _UNSAFE.sub("", _LINE_ENDS.sub("\n", text))


def one_line(text: str) -> str:
    """The text on one line, without characters that a terminal obeys or that show it in another order."""
    return " ".join(_clean(text).split())


def _web_address(url: str) -> str:
    """The address if it may become a link, else nothing."""
    url = _clean(url).strip()
    return url if _WEB.fullmatch(url) else ""


def _notices(answer: Answer) -> list[Notice]:
    return sorted(answer.notices, key=lambda notice: notice.kind != "emergency")


def _notice_label(notice: Notice) -> str:
    return _NOTICES.get(notice.kind, _OTHER_NOTICE)[0]


def _citations(answer: Answer) -> dict[int, list[Citation]]:
    """Citations by number, in order; one number has several where a page header interrupts what is cited."""
    cited = [*answer.citations, *(citation for sentence in answer.sentences for citation in sentence.citations)]
    groups: dict[int, list[Citation]] = {}
    for citation in sorted(dict.fromkeys(cited), key=lambda citation: citation.number):
        groups.setdefault(citation.number, []).append(citation)
    return groups


def _numbers(sentence: Sentence) -> list[int]:
    return list(dict.fromkeys(citation.number for citation in sentence.citations))


def _others(answer: Answer) -> list[Evidence]:
    cited = {citation.chunk_id for group in _citations(answer).values() for citation in group}
    # Passages without score and ranks only came with their document: they were not retrieved.
    found = [evidence for evidence in answer.evidence if evidence.score or evidence.ranks]
    return [evidence for evidence in found if evidence.chunk_id not in cited]


def _others_label(answer: Answer, others: Sequence[Evidence]) -> str:
    return f"{'其他' if len(others) < len(answer.evidence) else ''}检索到的段落 ({len(others)})"


def _paragraphs(answer: Answer) -> list[list[tuple[str, Sentence]]]:
    """The sentences with the blank that stands before each, parted where `answer.text` has a line end between them."""
    if not answer.sentences and answer.text.strip() and answer.abstention is None:
        return [[("", Sentence(text=answer.text))]]
    paragraphs: list[list[tuple[str, Sentence]]] = []
    position = 0
    for sentence in answer.sentences:
        found = answer.text.find(sentence.text, position)
        between = answer.text[position:found] if found >= 0 else ""
        position = found + len(sentence.text) if found >= 0 else position
        if not paragraphs or "\n" in between:
            paragraphs.append([])
        paragraphs[-1].append((" " if between.isspace() and paragraphs[-1] else "", sentence))
    return paragraphs


def _title(place: Citation | Evidence) -> tuple[str, str]:
    """The title (or what stands in for it) and the path of headings below it."""
    title = one_line(place.title) or one_line(place.source) or one_line(place.document_id)
    headings = [heading for heading in map(one_line, place.headings) if heading and heading != title]
    return title, "".join(f" › {heading}" for heading in headings)


def _details(place: Citation | Evidence) -> str:
    title, _ = _title(place)
    parts = [f"第 {place.page} 页" if place.page is not None else "", place.source, place.date, place.licence]
    return " · ".join(part for part in map(one_line, parts) if part and part != title)


# HTML.


@cache
def _style() -> str:
    css = files("chimed_rag").joinpath("rendering.css").read_text(encoding="utf-8")
    return "<style>" + re.sub(r"/\*.*?\*/|\n\s*", "", css, flags=re.DOTALL) + "</style>"


def html_text(text: str) -> str:
    """Literal text within HTML, or within a quoted attribute."""
    return html.escape(_clean(text))


def _fragment(label: str, parts: Iterable[str], data: str = "") -> str:
    return f'<article class="chimed" lang="zh" aria-label="{label}"{data}>{_style()}{"".join(parts)}</article>'


def _implicit_html(answer: Answer) -> str:
    """The implicit label as data attributes; a fragment has no head for a <meta> of its own."""
    fields = {"label": "1", "producer": answer.label.producer, "id": answer.label.content_id}
    return "".join(f' data-aigc-{name}="{html_text(one_line(value))}"' for name, value in fields.items())


def _foot(answer: Answer) -> str:
    """The explicit label, which every form ends with, and the generator."""
    by = f" · 生成：{one_line(answer.generator)}" if answer.generator and _paragraphs(answer) else ""
    return one_line(answer.label.text) + by


def _heading(text: str) -> str:
    # Not <h2>: notebooks list headings in their table of contents and set them in a style of their own.
    return f'<p class="chimed-question" role="heading" aria-level="2">{html_text(text)}</p>'


def _notice_html(notice: Notice) -> str:
    label, tone = _NOTICES.get(notice.kind, _OTHER_NOTICE)
    role = "alert" if notice.kind == "emergency" else "note"
    return f'<p class="chimed-notice chimed-{tone}" role="{role}"><b>{label}</b>{html_text(notice.text)}</p>'


def _sentence_html(sentence: Sentence, prefix: str) -> str:
    links = "".join(
        f'<sup><a href="#{prefix}-{number}" aria-label="出处 {number}">[{number}]</a></sup>'
        for number in _numbers(sentence)
    )
    text = html_text(sentence.text)
    if sentence.verdict == "supported":
        return text + links
    kind, tone = ("unsupported", "red") if sentence.verdict == "unsupported" else ("unchecked", "grey")
    failed = "；".join(check.detail or check.name for check in sentence.checks if check.verdict == "failed")
    hint = f' title="{html_text(failed)}"' if failed else ""
    flag = f'<span class="chimed-flag chimed-{tone}"{hint}>{_FLAGS[sentence.verdict]}</span>'
    return f'<span class="chimed-{kind}">{text}</span>{links}{flag}'


def _marks(evidence: Evidence, citation: Citation) -> list[tuple[int, int]]:
    """Where the quote lies in `evidence.text`; nothing unless its first and last character and all between agree."""
    if len(citation.quote) != citation.end - citation.start:
        return []
    marks: list[tuple[int, int]] = []
    edges: set[int] = set()
    for offset, start, length in evidence.runs or ((0, evidence.start, len(evidence.text)),):
        low, high = max(citation.start, start), min(citation.end, start + length)
        if low >= high:
            continue
        begin, end = offset + low - start, offset + high - start
        if evidence.text[begin:end] != citation.quote[low - citation.start : high - citation.start]:
            return []
        marks.append((begin, end))
        edges |= {low, high}
    return marks if {citation.start, citation.end} <= edges else []


def _marked(text: str, marks: Iterable[tuple[int, int]]) -> str:
    pieces, position = [], 0
    for begin, end in sorted(marks):
        begin = max(begin, position)
        if begin < end:
            pieces += [html_text(text[position:begin]), f"<mark>{html_text(text[begin:end])}</mark>"]
            position = end
    return "".join([*pieces, html_text(text[position:])])


def _details_html(summary: str, body: str, *, anchor: str = "", opened: bool = False) -> str:
    # The anchor is inside what is folded: a browser that follows a link into a closed <details> opens it.
    mark = f' id="{anchor}"' if anchor else ""
    return (
        f"<details{' open' if opened else ''}><summary>{summary}</summary>"
        f'<div class="chimed-body"{mark}>{body}</div></details>'
    )


def _summary_html(place: Citation | Evidence, number: int | None, extra: str = "") -> str:
    title, path = _title(place)
    shown = "" if number is None else f'<span class="chimed-number">[{number}]</span>'
    meta = " · ".join(part for part in (_details(place), extra) if part)
    name = f'<span class="chimed-title">{html_text(title)}<span class="chimed-path">{html_text(path)}</span></span>'
    return shown + name + (f'<span class="chimed-meta">{html_text(meta)}</span>' if meta else "")


def _passage_html(text: str) -> str:
    return f'<blockquote class="chimed-passage">{text}</blockquote>'


def _link_html(url: str) -> str:
    address = html_text(_web_address(url))
    link = f'<a class="chimed-url" href="{address}" target="_blank" rel="noopener noreferrer">{address}</a>'
    return link if address else ""


def _citation_html(group: Sequence[Citation], evidence: dict[str, Evidence], prefix: str) -> str:
    """One number of the list: each passage once with all its quotes marked; a quote without a passage stands alone."""
    marked: dict[str, list[tuple[int, int]]] = {}
    alone: list[str] = []
    for citation in group:
        passage = evidence.get(citation.chunk_id)
        if passage is not None and (marks := _marks(passage, citation)):
            marked.setdefault(citation.chunk_id, []).extend(marks)
        else:
            alone.append(f"<mark>{html_text(citation.quote)}</mark>")
    texts = [_marked(evidence[chunk_id].text, marks) for chunk_id, marks in marked.items()] + alone
    links = "".join(map(_link_html, dict.fromkeys(citation.url for citation in group)))
    first = group[0]
    body = "".join(map(_passage_html, texts)) + links
    return _details_html(_summary_html(first, first.number), body, anchor=f"{prefix}-{first.number}")


def _evidence_html(evidence: Evidence, number: int | None = None, extra: str = "", *, opened: bool = False) -> str:
    body = _passage_html(html_text(evidence.text)) + _link_html(evidence.url)
    return _details_html(_summary_html(evidence, number, extra), body, opened=opened)


def answer_html(answer: Answer) -> str:
    """One self-contained HTML fragment, the same for the same answer (its trace does not count); light and dark."""
    digest = hashlib.sha256(answer.model_dump_json(exclude={"trace"}).encode())
    prefix = f"chimed-{digest.hexdigest()[:10]}"  # several answers may stand on one page
    parts = [_heading(answer.question), *map(_notice_html, _notices(answer))]
    if answer.abstention is not None:
        label = f"<b>未能回答：{_REASONS[answer.abstention.reason]}</b>"
        parts.append(f'<div class="chimed-abstention" role="note">{label}{html_text(answer.abstention.text)}</div>')
    paragraphs = _paragraphs(answer)
    for paragraph in paragraphs:
        text = "".join(blank + _sentence_html(sentence, prefix) for blank, sentence in paragraph)
        parts.append(f'<p class="chimed-answer">{text}</p>')
    if not paragraphs and answer.abstention is None:
        parts.append(f'<p class="chimed-answer">{_EMPTY}</p>')
    groups, others = _citations(answer), _others(answer)
    if groups or others:
        parts.append('<section class="chimed-sources" aria-label="出处">')
        parts.append('<p class="chimed-label">出处</p>' if groups else "")
        passages = {evidence.chunk_id: evidence for evidence in answer.evidence}
        parts += [_citation_html(group, passages, prefix) for group in groups.values()]
        if others:
            parts.append(f'<details class="chimed-folded"><summary>{_others_label(answer, others)}</summary>')
            parts += [*map(_evidence_html, others), "</details>"]
        parts.append("</section>")
    parts.append(f'<p class="chimed-foot" role="note">{html_text(_foot(answer))}</p>')
    return _fragment("医学问答", parts, _implicit_html(answer))


def evidence_html(evidence: Sequence[Evidence], query: str) -> str:
    """Search results as one HTML fragment: each passage with its place, its score and what each retriever gave it."""
    parts = [_heading(query), f'<p class="chimed-label">检索到的段落 ({len(evidence)})</p>']
    for found in evidence:
        ranks = "，".join(
            f"医生回复 +{entry.score:.2f}" if name == "reply" else f"{name} 第 {entry.rank}"
            for name, entry in found.ranks.items()
        )
        extra = f"得分 {found.score:.3f}" + (f"（{ranks}）" if ranks else "")
        parts.append(_evidence_html(found, found.number, extra, opened=True))
    return _fragment("检索结果", parts)


def conversation_html(
    turns: Sequence[tuple[str, str, Sequence[Notice], str]], *, labels: Sequence[str] = (), note: str = ""
) -> str:
    """A conversation as one HTML fragment: (question, what it was understood as, notices, answer) of each turn.

    A notice that stood above already is left out, except an emergency. `labels` are those of generated content.
    """
    parts = [f'<p class="chimed-label">{html_text(note)}</p>'] if note else []
    told: set[str] = set()
    for question, understood, notices, answer in turns:
        parts.append(_heading(question))
        if understood != question:
            parts.append(f'<p class="chimed-label">理解为：{html_text(understood)}</p>')
        parts += [_notice_html(one) for one in notices if one.kind == "emergency" or one.text not in told]
        told.update(one.text for one in notices)
        parts.append(f'<p class="chimed-answer">{html_text(answer) or _EMPTY}</p>')
    if not turns:
        parts.append('<p class="chimed-answer">还没有提问。</p>')
    parts += [f'<p class="chimed-foot" role="note">{html_text(one_line(label))}</p>' for label in labels]
    return _fragment("医学对话", parts)


# Markdown and plain text.

_MARKUP = str.maketrans(
    # Entities where notebooks (mathematics) or HTML sanitisers read a backslash in their own way.
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\\": "&#92;", "$": "&#36;"} | {char: "\\" + char for char in "`*_[]~|#"}
)
_BLOCK_START = re.compile(r"^(\d*)(?=[-+=.)])")


def markdown_text(text: str) -> str:
    """One line of literal text, wherever in a Markdown line it stands."""
    return _BLOCK_START.sub(r"\1\\", markdown_cell(text))


def markdown_cell(text: str) -> str:
    """One line of literal text that does not begin a Markdown line, such as a cell of a table."""
    return one_line(text).translate(_MARKUP)


def _where(place: Citation | Evidence) -> str:
    title, path = _title(place)
    return " · ".join(part for part in (title + path, _details(place)) if part)


def _numbered(sentence: Sentence, text: str) -> str:
    flag = "" if sentence.verdict == "supported" else f"〔{_FLAGS[sentence.verdict]}〕"
    return text + "".join(f"[{number}]" for number in _numbers(sentence)) + flag


def _source_markdown(group: Sequence[Citation]) -> str:
    addresses = dict.fromkeys(_web_address(citation.url).replace("$", "%24") for citation in group)
    links = "".join(f" · <{address}>" for address in addresses if address)
    quotes = "\n  >\n".join(f"  > {markdown_text(citation.quote)}" for citation in group)
    return f"- **[{group[0].number}]** {markdown_text(_where(group[0]))}{links}\n{quotes}"


def answer_markdown(answer: Answer) -> str:
    """Markdown: the question, notices as block quotes, sentences with [1][2], then the list of sources with quotes."""
    blocks = [f"### {markdown_text(answer.question)}"]
    blocks += [f"> **{_notice_label(notice)}** {markdown_text(notice.text)}" for notice in _notices(answer)]
    if answer.abstention is not None:
        blocks.append(f"**未能回答：{_REASONS[answer.abstention.reason]}。** {markdown_text(answer.abstention.text)}")
    paragraphs = _paragraphs(answer)
    for paragraph in paragraphs:
        blocks.append(
            "".join(blank + _numbered(sentence, markdown_text(sentence.text)) for blank, sentence in paragraph)
        )
    if not paragraphs and answer.abstention is None:
        blocks.append(_EMPTY)
    if groups := _citations(answer):
        blocks += ["**出处**", "\n".join(map(_source_markdown, groups.values()))]
    if others := _others(answer):
        blocks += [
            f"**{_others_label(answer, others)}**",
            "\n".join(f"- {markdown_text(_where(other))}" for other in others),
        ]
    blocks += [markdown_text(_foot(answer)), _implicit_markdown(answer)]
    return "\n\n".join(blocks) + "\n"


def _implicit_markdown(answer: Answer) -> str:
    """The implicit label as an HTML comment, which Markdown keeps and does not show; as JSON that cannot end it."""
    told = json.dumps(answer.label.aigc(), separators=(",", ":"))
    return "<!-- " + _COMMENT_UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", told) + " -->"


def _source_text(group: Sequence[Citation]) -> str:
    addresses = dict.fromkeys(_web_address(citation.url) for citation in group)
    lines = [f"“{one_line(citation.quote)}”" for citation in group] + [address for address in addresses if address]
    return "\n    ".join([f"[{group[0].number}] {_where(group[0])}", *lines])


def answer_text(answer: Answer, *, told: bool = False) -> str:
    """Plain text for a terminal, without colour or wrapping; emergencies come before everything else.

    With `told`, what `event_text` has printed already is left out: question, emergencies and sentences.
    """
    notices = [(notice.kind, _notice_text(notice)) for notice in _notices(answer)]
    urgent = [text for kind, text in notices if kind == "emergency"]
    blocks = [] if told else ["\n".join(urgent), f"问：{one_line(answer.question)}"]
    blocks.append("\n".join(text for kind, text in notices if kind != "emergency"))
    if answer.abstention is not None:
        blocks.append(f"未能回答：{_REASONS[answer.abstention.reason]}。{one_line(answer.abstention.text)}")
    paragraphs = _paragraphs(answer)
    for paragraph in paragraphs if not told else ():
        blocks.append("".join(blank + _numbered(sentence, one_line(sentence.text)) for blank, sentence in paragraph))
    if not paragraphs and answer.abstention is None:
        blocks.append(_EMPTY)
    if groups := _citations(answer):
        blocks.append("\n".join(["出处", *map(_source_text, groups.values())]))
    if others := _others(answer):
        blocks.append("\n  ".join([_others_label(answer, others), *map(_where, others)]))
    blocks.append(_foot(answer))
    return "\n\n".join(filter(None, blocks)) + "\n"


def event_text(event: Event) -> str:
    """What a terminal shows of an event of `MedQA.stream` when it comes; nothing for what comes with the end."""
    if event.kind == "sentence":
        return _numbered(event.sentence, one_line(event.sentence.text)) + "\n"
    if event.kind == "notice" and event.notice.kind in ("emergency", "extractive"):
        return _notice_text(event.notice) + "\n"
    return "\n" + answer_text(event.answer, told=True) if event.kind == "done" else ""


def _notice_text(notice: Notice) -> str:
    return f"【{_notice_label(notice)}】{one_line(notice.text)}"
