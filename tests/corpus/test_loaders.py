"""Each format: what a reader sees becomes the text, and each damaged file says what is wrong and what to do."""

from __future__ import annotations

import csv
import gzip
import io
import json
import logging
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chimed_rag.corpus.loaders.base import LoadOptions, SourceFile, readable
from chimed_rag.corpus.sources import FieldMap, LoadReport, load
from chimed_rag.errors import CorpusError, MissingExtraError
from chimed_rag.records import Document
from chimed_rag.registry import loaders

TEXT = "高血压患者应低盐饮食，定期监测血压。"


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def only(path: Path, **options: Any) -> Document:
    (document,) = load(path, **options)
    return document


def report(path: Path, **options: Any) -> LoadReport:
    reports: list[LoadReport] = []
    list(load(path, on_report=reports.append, **options))
    return reports[0]


def refused(path: Path, match: str, line: int | None = None, **options: Any) -> None:
    with pytest.raises(CorpusError, match=match) as info:
        list(load(path, **options))
    assert info.value.path == str(path)
    assert info.value.line == line
    assert str(info.value).startswith(str(path) + (f", line {line}: " if line else ": "))


def test_every_registered_loader_is_there() -> None:
    for name in loaders.names():
        assert callable(loaders.get(name))


# --- plain text and Markdown


def test_txt(tmp_path: Path) -> None:
    document = only(write(tmp_path / "高血压.txt", TEXT + "\r\n第二行\n"))
    assert document.text == TEXT + "\n第二行\n"
    assert (document.id, document.source, document.title) == ("高血压.txt", "高血压.txt", "高血压")


@pytest.mark.parametrize("encoding", ["gbk", "utf-8-sig", "utf-16"])
def test_txt_reports_its_encoding(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.txt", TEXT.encode(encoding))
    found = report(path)
    assert only(path).text == TEXT
    assert found.encodings == {"utf-16-le" if encoding == "utf-16" else encoding: 1}
    assert (found.files, found.documents, found.bytes) == (1, 1, path.stat().st_size)


def test_txt_of_one_long_line(tmp_path: Path) -> None:
    assert len(only(write(tmp_path / "a.txt", "血压" * 500_000)).text) == 1_000_000


def test_txt_too_large_for_one_document(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "a" * 101)
    file = SourceFile(path, "a.txt", LoadOptions(max_characters=100))
    with pytest.raises(CorpusError, match=r"may have 100 characters.*split it.*JSONL"):
        list(loaders.get("txt")(file))
    write(path, "a" * 1000)  # refused before it is read to the end
    with pytest.raises(CorpusError, match="may have 100 characters"):
        list(loaders.get("txt")(file))


@pytest.mark.parametrize("suffix", [".txt", ".md", ".html", ".pdf", ".docx", ".jsonl", ".json", ".csv", ".txt.gz"])
def test_empty_file(tmp_path: Path, suffix: str) -> None:
    refused(write(tmp_path / f"a{suffix}", b""), "is empty; remove it or leave it out")


@pytest.mark.parametrize("suffix", [".txt", ".md", ".jsonl", ".json", ".csv"])
def test_blank_file(tmp_path: Path, suffix: str) -> None:
    refused(write(tmp_path / f"a{suffix}", " \n\n"), "is empty: there is no")


def test_picture_named_txt(tmp_path: Path) -> None:
    refused(write(tmp_path / "a.txt", b"\x89PNG\r\n\x1a\n123"), "is not text but a PNG picture")


def test_gzip(tmp_path: Path) -> None:
    packed = gzip.compress(TEXT.encode("gbk"))
    assert only(write(tmp_path / "高血压.txt.gz", packed)).text == TEXT
    assert only(tmp_path / "高血压.txt.gz").title == "高血压"
    refused(write(tmp_path / "b.txt.gz", packed[:-9]), "damaged or cut off gzip file.*get it again")
    refused(write(tmp_path / "c.txt.gz", TEXT), "damaged or cut off gzip file")
    refused(write(tmp_path / "d.txt.gz", gzip.compress(b"")), "is empty: there is no text")


def test_markdown_front_matter(tmp_path: Path) -> None:
    front = (
        "---\ntitle: 高血压指南\ndate: 2023-05-01\nurl: https://x.cn/a\nlicense: CC0\nyear: 2023\ntags: [心, 血管]\n"
    )
    path = write(tmp_path / "a.md", f"{front}nested: {{a: 1}}\ntext: 不是正文\n---\n# 高血压\n\n{TEXT}\n")
    document = only(path)
    assert document.text == f"# 高血压\n\n{TEXT}\n"
    assert (document.title, document.date, document.url, document.licence) == (
        "高血压指南",
        "2023-05-01",
        "https://x.cn/a",
        "CC0",
    )
    assert document.metadata == {"year": 2023, "tags": ["心", "血管"], "text": "不是正文"}
    assert report(path).dropped_columns == {"nested": 1}


def test_markdown_without_front_matter(tmp_path: Path) -> None:
    assert only(write(tmp_path / "a.md", f"# 高血压 #\n{TEXT}")).title == "高血压"
    assert only(write(tmp_path / "b.md", TEXT)).title == "b"
    # Rules, not front matter: nothing is lost.
    for number, text in enumerate((f"---\n{TEXT}\n---\n{TEXT}", f"---\n{TEXT}")):
        assert only(write(tmp_path / f"{number}.md", text)).text == text
    assert only(write(tmp_path / "e.md", f"---\n---\n{TEXT}")).text == TEXT


def test_markdown_text_column_of_tables_does_not_matter(tmp_path: Path) -> None:
    assert only(write(tmp_path / "a.md", TEXT), fields={"text": "content"}).text == TEXT


def test_markdown_bad_front_matter(tmp_path: Path) -> None:
    path = write(tmp_path / "a.md", f"---\ntitle: a\ndate: b: c\n---\n{TEXT}")
    refused(path, "front matter is not valid YAML.*quote values", line=3)
    refused(write(path, f"---\ndate: 2023-02-31\n---\n{TEXT}"), "front matter cannot be read", line=1)
    refused(write(path, "---\ntitle: a\n---\n \n"), "is empty: there is no text after its front matter")
    refused(write(path, f"---\ntitle: [a]\n---\n{TEXT}"), "'title' must be a string, not list")


# --- HTML

PAGE = """<!DOCTYPE html><html><head><meta charset="{charset}"><title>高血压 - 百科</title><style>p {{}}</style></head>
<body><header><h1>网站</h1></header><nav>首页</nav>
<main><article><header><h1>高血压</h1></header>
<p>血压持续<b>升高</b>，
收缩压≥140 mmHg。</p><h2>治疗</h2><ul><li>低盐</li><li>运动</li></ul>
<table><tr><th>药物</th><th>剂量</th></tr><tr><td>氨氯地平</td><td><p>5 mg</p></td></tr></table>
<p>血小板 100×10<sup>9</sup>/L<br>水 H<sub>2</sub>O</p><pre>a
  b</pre><script>alert(1)</script></article></main>
<aside>广告</aside><footer>版权</footer></body></html>"""
READ = (
    "# 高血压\n血压持续升高，收缩压≥140 mmHg。\n## 治疗\n低盐\n运动\n药物 | 剂量\n氨氯地平 | 5 mg\n"
    "血小板 100×10⁹/L\n水 H2O\na\n  b"
)


@pytest.mark.parametrize(
    ("charset", "encoding"), [("utf-8", "utf-8"), ("gb2312", "gbk"), ("utf-8", "gbk"), ("gbk", "utf-8")]
)
def test_html(tmp_path: Path, charset: str, encoding: str) -> None:
    document = only(write(tmp_path / "a.html", PAGE.format(charset=charset).encode(encoding)))
    assert document.text == READ
    assert document.title == "高血压 - 百科"


def test_html_without_title_or_head(tmp_path: Path) -> None:
    assert only(write(tmp_path / "a.htm", f"<h1>头痛</h1>{TEXT}")).title == "头痛"
    assert only(write(tmp_path / "b.htm", TEXT)).title == "b"


def test_html_layout_table_stays_text(tmp_path: Path) -> None:
    inner = "<table><tr><td>a</td><td>b</td></tr></table>"
    page = f"<table><tr><td><h2>甲</h2><p>一</p><p>二</p>{inner}</td></tr></table>"
    assert only(write(tmp_path / "a.html", page)).text == "## 甲\n一\n二\na | b"


def test_html_nested_deeper_than_python_recurses(tmp_path: Path) -> None:
    assert only(write(tmp_path / "a.html", "<div>" * 3000 + TEXT)).text == TEXT


def test_html_without_text(tmp_path: Path) -> None:
    page = "<html><body><div id=app></div><script>draw()</script></body></html>"
    refused(write(tmp_path / "a.html", page), "no readable text.*save it from the browser")


# --- PDF


def make_pdf(*pages: str | None, info: str = "", encoding: str = "/GBK-EUC-H", scan: bool = True) -> bytes:
    """A PDF with Chinese text; a page that is None shows a picture only, an empty one nothing."""
    objects: list[bytes] = []

    def add(body: str, stream: bytes | None = None) -> int:
        tail = b"" if stream is None else b"\nstream\n" + stream + b"\nendstream"
        objects.append(body.encode() + tail)
        return len(objects)

    cid = add(
        "<< /Type /Font /Subtype /CIDFontType0 /BaseFont /STSong "
        "/CIDSystemInfo << /Registry (Adobe) /Ordering (GB1) /Supplement 2 >> /DW 1000 >>"
    )
    font = add(f"<< /Type /Font /Subtype /Type0 /BaseFont /STSong /Encoding {encoding} /DescendantFonts [{cid} 0 R] >>")
    picture = add(
        "<< /Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray /BitsPerComponent 8 /Length 1 >>",
        b"\0",
    )
    form = add(
        "<< /Type /XObject /Subtype /Form /BBox [0 0 9 9] /Length 5 "
        f"/Resources << /XObject << /I {picture} 0 R >> >> >>",
        b"/I Do",
    )
    parent = len(objects) + 2 * len(pages) + 1
    kids = []
    for page in pages:
        lines = (page or "").split("\n")
        shown = " 0 -20 Td ".join(f"<{line.encode('gbk').hex()}> Tj" for line in lines)
        content = f"BT /F 12 Tf 50 700 Td {shown} ET".encode() if page else b"/X Do" if page is None else b""
        stream = add(f"<< /Length {len(content)} >>", content)
        drawn = f"/XObject << /X {form} 0 R >>" if page is None else ""
        kids.append(
            add(
                f"<< /Type /Page /Parent {parent} 0 R /MediaBox [0 0 600 800] /Contents {stream} 0 R "
                f"/Resources << /Font << /F {font} 0 R >> {drawn} >> >>"
            )
        )
    add(f"<< /Type /Pages /Kids [{' '.join(f'{kid} 0 R' for kid in kids)}] /Count {len(kids)} >>")
    root = add(f"<< /Type /Catalog /Pages {parent} 0 R >>")
    title = add(f"<< /Title <feff{info.encode('utf-16-be').hex()}> >>")
    out = io.BytesIO(b"%PDF-1.4\n")
    out.seek(0, io.SEEK_END)
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(out.tell())
        out.write(f"{number} 0 obj\n".encode() + body + b"\nendobj\n")
    start = out.tell()
    out.write(f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode())
    out.write("".join(f"{offset:010} 00000 n \n" for offset in offsets).encode())
    out.write(f"trailer << /Size {len(objects) + 1} /Root {root} 0 R /Info {title} 0 R >>\n".encode())
    out.write(f"startxref\n{start}\n%%EOF".encode())
    return out.getvalue()


def test_pdf_pages(tmp_path: Path) -> None:
    document = only(write(tmp_path / "指南.pdf", make_pdf("第一页血压\n第二行", "", "第三页血糖")))
    assert document.text == "第一页血压\n第二行\n\n第三页血糖"
    # 9 characters and the line end, then the empty page with its line end.
    assert document.pages == (0, 10, 11)
    assert document.text[11:] == "第三页血糖"
    assert document.title == "指南"


@pytest.mark.parametrize(
    ("info", "title"), [("高血压指南", "高血压指南"), ("Microsoft Word - 1.doc", "a"), ("ÖÐÎÄ±êÌâ", "a"), ("", "a")]
)
def test_pdf_title(tmp_path: Path, info: str, title: str) -> None:
    assert only(write(tmp_path / "a.pdf", make_pdf(TEXT, info=info))).title == title


def test_pdf_scanned(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pdf", make_pdf("文字", None, None))
    refused(path, r"no text: pages 2, 3 of 3; .*ocrmypdf -l chi_sim.*skip_scanned=True")
    assert only(path, skip_scanned=True).text == "文字\n\n"
    assert report(path, skip_scanned=True).skipped == {"scanned page": 2}
    refused(write(path, make_pdf(None)), "no text: page 1 of 1; ")
    refused(path, "holds no text", skip_scanned=True)
    refused(write(path, make_pdf("")), "holds no text.*ocrmypdf --force-ocr")


def test_pdf_whose_fonts_do_not_name_characters(tmp_path: Path) -> None:
    # With Identity-H the codes are glyph numbers; read as Unicode they are random characters.
    path = write(tmp_path / "a.pdf", make_pdf(TEXT * 3, encoding="/Identity-H"))
    refused(path, "comes out as nonsense.*--force-ocr")


def encrypted_pdf(password: str) -> bytes:
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(make_pdf(TEXT))))
    writer.encrypt(password, "owner", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_pdf_with_password(tmp_path: Path) -> None:
    refused(write(tmp_path / "a.pdf", encrypted_pdf("secret")), "protected by a password.*qpdf")
    assert only(write(tmp_path / "b.pdf", encrypted_pdf(""))).text == TEXT


def test_pdf_whose_encryption_needs_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError

    def decrypt(self: PdfReader, password: str) -> int:
        raise DependencyError("cryptography>=3.1 is required for AES algorithm")

    path = write(tmp_path / "a.pdf", encrypted_pdf(""))
    monkeypatch.setattr(PdfReader, "decrypt", decrypt)
    with pytest.raises(MissingExtraError, match="cryptography is not installed"):
        list(load(path))


@pytest.mark.parametrize("data", [b"not a pdf", make_pdf(TEXT)[:60], b"%PDF-1.4\n" + b"\xff" * 500])
def test_pdf_damaged(tmp_path: Path, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    level = logging.getLogger("pypdf").level
    refused(write(tmp_path / "a.pdf", data), "is damaged or no PDF|holds no text")
    assert not caplog.records
    assert logging.getLogger("pypdf").level == level


# --- Word


def make_docx(path: Path, title: str = "") -> Path:
    import docx
    from docx.oxml import OxmlElement

    document = docx.Document()
    document.core_properties.title = title
    document.add_heading("高血压", 1)
    paragraph = document.add_paragraph("血小板 100×10")
    paragraph.add_run("9").font.superscript = True
    paragraph.add_run("/L")
    table = document.add_table(2, 2)
    for cell, text in zip(table._cells, ["药物", "剂量", "氨氯地平", "5 mg"], strict=True):
        cell.text = text
    document.add_heading("治疗", 2)
    inserted = document.add_paragraph()
    run = inserted.add_run("修订后加入")
    insertion = OxmlElement("w:ins")
    inserted._p.append(insertion)
    insertion.append(run._r)
    document.save(str(path))
    return path


def test_docx(tmp_path: Path) -> None:
    document = only(make_docx(tmp_path / "a.docx"))
    assert document.text == "# 高血压\n血小板 100×10⁹/L\n药物 | 剂量\n氨氯地平 | 5 mg\n## 治疗\n修订后加入"
    assert document.title == "高血压"
    assert only(make_docx(tmp_path / "b.docx", title="诊疗规范")).title == "诊疗规范"


def test_docx_without_text(tmp_path: Path) -> None:
    import docx

    docx.Document().save(str(tmp_path / "a.docx"))
    refused(tmp_path / "a.docx", "holds no text")


def test_docx_damaged(tmp_path: Path) -> None:
    whole = make_docx(tmp_path / "a.docx").read_bytes()
    for data in (b"text", whole[:2000]):
        refused(write(tmp_path / "b.docx", data), "is damaged or no .docx file.*save it again")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.txt", "other archive")
    refused(write(tmp_path / "b.docx", out.getvalue()), "is damaged or no .docx")
    old = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600
    refused(write(tmp_path / "c.docx", old), "password, or an old .doc file")


@pytest.mark.parametrize(
    ("suffix", "module", "named"),
    [(".pdf", "pypdf", "pypdf"), (".docx", "docx", "python-docx"), (".html", "selectolax.lexbor", "selectolax")],
)
def test_missing_library(tmp_path: Path, suffix: str, module: str, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        MissingExtraError, match=rf"{named} is not installed; run: pip install 'chimed-rag\[documents\]'"
    ):
        list(load(write(tmp_path / f"a{suffix}", b"x")))


# --- JSON lines


def test_jsonl(tmp_path: Path) -> None:
    rows = [
        '{"id": "e1", "title": "高血压", "section": "治疗", "text": "低盐", "department": "心内科", "year": 2023}',
        "",
        '{"_id": 7, "text": "甲\\r\\n乙", "department": null, "list": ["a"], "deep": {"a": 1}, "ok": true}',
        '{"text": " "}',
        '{"text": "无编号\u2028同一行"}',
    ]
    path = write(tmp_path / "t.jsonl", "\ufeff" + "\n".join(rows))
    first, second, third = load(path)
    assert (first.id, first.title, first.source) == ("e1", "高血压", "t.jsonl")
    assert first.metadata == {"section": "治疗", "department": "心内科", "year": 2023}
    assert (second.id, second.text, second.metadata) == ("7", "甲\n乙", {"list": ["a"], "ok": True})
    assert (third.id, third.text) == ("t.jsonl:5", "无编号\u2028同一行")
    found = report(path)
    assert (found.documents, found.skipped, found.dropped_columns) == (3, {"empty text": 1}, {"deep": 1})
    assert found.encodings == {"utf-8-sig": 1}


@pytest.mark.parametrize("encoding", ["gbk", "big5", "utf-16", "utf-16-le", "utf-32-be"])
def test_jsonl_encodings(tmp_path: Path, encoding: str) -> None:
    texts = ["治療心臟病", "檢查血糖"] if encoding == "big5" else ["治疗心脏病", "检查血糖"]
    data = "\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in texts).encode(encoding)
    assert [document.text for document in load(write(tmp_path / "t.jsonl", data))] == texts


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ('{"text": "a"', "is not valid JSON: Expecting ',' delimiter at column 13"),
        ("[1]", "must be a JSON object .* not list"),
        ('{"text": "\\ud800"}', r"half a surrogate pair \(U\+D800\)"),
        ('{"text": "a", "n": NaN}', "NaN is not a JSON value"),
        ("[" * 100_000, "is not valid JSON"),
        ('{"content": "a", "名": 1}', r"no column 'text'.*columns are: content, 名; .*fields=.*--field text=COLUMN"),
        ('{"text": ["a"]}', "'text' must be a string, not list"),
        ('{"text": "a", "id": 1.5}', "an id must be a string or a whole number"),
        ('{"text": "a", "id": "' + "x" * 513 + '"}', "its id cannot be used: .*512"),
    ],
)
def test_jsonl_bad_line(tmp_path: Path, line: str, match: str) -> None:
    refused(write(tmp_path / "t.jsonl", f'{{"text": "好"}}\n\n{line}\n'), match, line=3)


def test_jsonl_encoding_changes_later(tmp_path: Path) -> None:
    # More than the 1 MB that is looked at to find the encoding.
    filler = (json.dumps({"text": "ascii" * 400}).encode() + b"\n") * 700
    path = write(tmp_path / "t.jsonl", filler + '{"text": "高血压"}'.encode("gbk"))
    refused(path, "byte 10 of this line is not valid utf-8.*iconv -f GB18030", line=701)
    mixed = [json.dumps({"text": TEXT * 50}, ensure_ascii=False).encode(code) for code in ("gbk", "utf-8")]
    path = write(tmp_path / "u.jsonl", (mixed[0] + b"\n") * 700 + mixed[1])
    with pytest.raises(CorpusError) as info:
        list(load(path))
    assert info.value.line == 701


def test_jsonl_surrogate_pair_is_fine(tmp_path: Path) -> None:
    assert only(write(tmp_path / "t.jsonl", '{"text": "\\ud840\\udc00"}')).text == "\U00020000"


def test_json_array_object_and_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "t.json", '[{"text": "甲"},\n {"text": "乙", "id": "b"}]')
    assert [(document.id, document.text, document.source) for document in load(path)] == [
        ("t.json:1", "甲", "t.json"),
        ("b", "乙", "t.json"),
    ]
    assert only(write(tmp_path / "o.json", '{\n"text": "甲"\n}')).text == "甲"
    lines = write(tmp_path / "l.json", '{"text": "甲"}\n{"text": "乙"}')
    assert [document.id for document in load(lines)] == ["l.json:1", "l.json:2"]
    refused(write(tmp_path / "e.json", "[]"), "is empty: there is no item")
    refused(write(tmp_path / "f.json", '[{"text": "甲"},\n{"text" 1}]'), "is not valid JSON", line=2)
    with pytest.raises(CorpusError, match=r"g\.json, item 2: must be a JSON object"):
        list(load(write(tmp_path / "g.json", '[{"text": "甲"}, 3]')))


def test_written_documents_are_read_back(tmp_path: Path) -> None:
    document = Document(
        id="d", text="甲\n乙", title="题", source="原书", pages=(0, 2), metadata={"科": "内"}, date="2020"
    )
    assert only(write(tmp_path / "d.jsonl", document.model_dump_json())) == document


# --- CSV


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_csv(tmp_path: Path, delimiter: str) -> None:
    out = io.StringIO()
    rows = [
        ["", "id", "title", "text", "year", "code"],
        ["0", "a", "高血压", f'第一{delimiter}行\n\n第二行 "引号"', "2023", "007"],
        ["1", "", "糖尿病", "控糖, 运动", "", "12"],
        ["2", "c", "空", " ", "2020", ""],
    ]
    csv.writer(out, delimiter=delimiter).writerows(rows)
    path = write(tmp_path / "t.csv", out.getvalue().encode("gbk"))
    first, second = load(path)
    assert (first.id, first.text) == ("a", f'第一{delimiter}行\n\n第二行 "引号"')
    assert first.metadata == {"year": 2023, "code": "007"}
    # The header is line 1 and the first row, with its quoted line ends, lines 2 to 4.
    assert (second.id, second.metadata) == ("t.csv:5", {"code": 12})
    assert report(path).skipped == {"empty text": 1}
    assert report(path).encodings == {"gbk": 1}


def test_tsv_and_one_column(tmp_path: Path) -> None:
    assert only(write(tmp_path / "a.tsv", "a,b\ttext\n1\t甲,乙\n")).metadata == {"a,b": 1}
    assert [document.text for document in load(write(tmp_path / "b.csv", "text\n甲\n乙\n"))] == ["甲", "乙"]
    assert only(write(tmp_path / "c.csv.gz", gzip.compress("text,b\n甲,乙".encode()))).text == "甲"


def test_csv_field_of_a_million_characters(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    documents = load(write(tmp_path / "a.csv", f"id,text\n1,{'血' * 1_000_000}\n"))
    assert len(next(documents).text) == 1_000_000
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("rows", "match", "line"),
    [
        ('甲,乙,丙\n"a\nb",1,2\n', "no column 'text'.*columns are: 甲, 乙, 丙", 2),
        ("id,text\n1,a\n2,b,c\n", "has 3 fields where the header names 2; quote fields", 3),
        ("id,text\n1,a\n2\n", "has 1 fields where the header names 2", 3),
        ('id,text\n1,a\n2,"b\nc\n', "cannot be read as CSV.*a quote that is not closed", 3),
        ("id,text,text\n1,a,b\n", "names a column twice: text", 1),
        ("id,text\n", "no row after its header; the first line must name the columns", None),
    ],
)
def test_csv_bad_rows(tmp_path: Path, rows: str, match: str, line: int | None) -> None:
    refused(write(tmp_path / "t.csv", rows), match, line=line)


# --- columns


def test_field_map(tmp_path: Path) -> None:
    row = {"q": "问", "a": "答", "n": 5, "key": "k1", "name": "题", "lic": "MIT", "day": 2020, "link": "u", "x": 1}
    path = write(tmp_path / "t.jsonl", json.dumps(row))
    names = {"text": ["q", "a", "n"], "id": "key", "title": "name", "licence": "lic", "date": "day", "url": "link"}
    document = only(path, fields=names)
    assert (document.id, document.text, document.title) == ("k1", "问\n答\n5", "题")
    assert (document.licence, document.date, document.url) == ("MIT", "2020", "u")
    assert document.metadata == {"x": 1}
    assert only(path, fields=FieldMap(text="q", metadata="none")).metadata == {}
    assert only(path, fields=FieldMap(text="q", metadata=("x", "a"))).metadata == {"x": 1, "a": "答"}
    assert only(path, fields=FieldMap(text="q", id="")).id == "t.jsonl:1"
    refused(path, "no column 'answer'", line=1, fields={"text": ["q", "answer"]})


def test_readable_names() -> None:
    assert readable("guides/e\u0301.md") == "guides/\u00e9.md"
    assert readable("高血压.txt".encode("gbk").decode("utf-8", "surrogateescape")) == "高血压.txt"


@pytest.fixture
def loader_files(shared_data: Path) -> Iterator[Path]:
    yield shared_data / "corpora"


@pytest.mark.real_data
def test_real_plain_text(loader_files: Path) -> None:
    document = only(loader_files / "pharmacopoeia_2022_herbs.txt.gz")
    assert len(document.text) > 100_000
    again = document.text.replace("\r", "").encode("gb18030")
    from chimed_rag.corpus.loaders.encoding import decode

    assert decode(again, "x").text == document.text
