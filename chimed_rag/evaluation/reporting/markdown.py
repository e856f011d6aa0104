"""A report as Markdown: the same sections and tables as the page, without its drawings.

Every text is escaped, so that none can forge a table, a link or a heading. Not covered: failures, which only the local
page shows (`html`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chimed_rag.evaluation.reporting.tables import Section, Table
from chimed_rag.rendering import markdown_cell, markdown_text


def page(title: str, intro: Sequence[str], overview: Table | None, sections: Sequence[Section]) -> str:
    """The whole document."""
    blocks = [f"# {markdown_text(title)}", *map(markdown_text, intro)]
    if overview:
        blocks.append(_table(overview, "##"))
    for section in sections:
        blocks += _section(section)
    return "\n\n".join(block for block in blocks if block) + "\n"


def _section(section: Section) -> Iterator[str]:
    yield f"## {markdown_text(section.title)}"
    yield "\n".join(f"- {markdown_text(one)}" for one in section.facts)
    for one in section.notices:
        kind = "Note" if one.tone == "calm" else "Warning"
        yield "\n".join(f"> - **{kind}:** {markdown_text(line)}" for line in one.lines)
    yield from (_table(one, "###") for one in section.tables)


def _table(table: Table, level: str) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(map(markdown_cell, cells)) + " |"

    rule = "|" + "|".join(" ---: " if place in table.numbers else " --- " for place in range(len(table.head))) + "|"
    rows = "\n".join([line(table.head), rule, *(line(row.cells) for row in table.rows)])
    note = f"\n\n{markdown_text(table.note)}" if table.note else ""
    return f"{level} {markdown_text(table.title)}\n\n{rows}{note}"
