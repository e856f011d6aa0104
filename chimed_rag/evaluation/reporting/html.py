"""A report as one HTML page: no script, nothing from outside, light and dark, for a telephone and for paper.

Every text is taken to be hostile and is escaped; drawings are made by `figures`, which escapes what it writes. Not
covered: what stands in the page (`tables`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files

from chimed_rag.evaluation.reporting.examples import Example
from chimed_rag.evaluation.reporting.palette import style
from chimed_rag.evaluation.reporting.tables import Notice, Section, Table
from chimed_rag.rendering import html_text, one_line

LOCAL = "local: do not publish, the data are not ours"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(
    title: str,
    intro: Sequence[str],
    overview: Table | None,
    sections: Sequence[Section],
    examples: dict[str, list[Example]],
) -> str:
    """The whole page.

    Args:
        intro: sentences below the title.
        overview: of several tasks; None for one.
        examples: failures by anchor of a section; where there are any, the page says that it must stay here.
    """
    shown = [one for several in examples.values() for one in several]
    parts = [f'<p class="notice bad" role="alert"><b>{escape(LOCAL)}</b></p>'] if shown else []
    parts.append(f"<h1>{_line(title)}</h1>")
    parts += [f"<p class=facts>{_line(one)}</p>" for one in intro]
    if len(sections) > 1:
        links = (f'<a href="#{escape(one.anchor)}">{_line(one.title)}</a>' for one in sections)
        parts.append(f"<nav aria-label=Tasks>{' · '.join(links)}</nav>")
    if overview:
        parts.append(_table(overview))
    for section in sections:
        parts += _section(section, examples.get(section.anchor, []))
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{_line(title)}</title>\n<style>{stylesheet()}</style>"
    )
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><main>\n{body}\n</main></body></html>\n'


def stylesheet() -> str:
    """The style of the page; the palette for light and dark, light on paper."""
    rules = files(__package__).joinpath("page.css").read_text("utf-8")
    dark = f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {style(dark=True)} }} }}"
    return f":root {{ {style(dark=False)} }}\n{dark}\n{rules}"


def _line(text: str) -> str:
    return html_text(one_line(text))


def _section(section: Section, examples: Sequence[Example]) -> Iterator[str]:
    yield f'<section id="{escape(section.anchor)}"><h2>{_line(section.title)}</h2>'
    yield from (f"<p class=facts>{_line(one)}</p>" for one in section.facts)
    yield from map(_notice, section.notices)
    tables = list(section.tables)
    if tables:
        yield _table(tables.pop(0))
    if section.drawings:
        drawn = (f"<figure>{one.svg}<figcaption>{_line(one.caption)}</figcaption></figure>" for one in section.drawings)
        yield f"<div class=figures>{''.join(drawn)}</div>"
    yield from map(_table, tables)
    if examples:
        yield f"<h3>Failures ({escape(LOCAL)})</h3>"
        yield from map(_example, examples)
    yield "</section>"


def _notice(notice: Notice) -> str:
    lines = "".join(f"<p>{_line(one)}</p>" for one in notice.lines)
    return f'<div class="notice {notice.tone}" role="note">{lines}</div>'


def _table(table: Table) -> str:
    def cells(row: Sequence[str], tag: str) -> str:
        marked = (
            f"<{tag}{' class=n' if place in table.numbers else ''}>{_line(cell)}</{tag}>"
            for place, cell in enumerate(row)
        )
        return "".join(marked)

    rows = "\n".join(f"<tr{' class=quiet' if row.tone else ''}>{cells(row.cells, 'td')}</tr>" for row in table.rows)
    note = f"<p class=note>{_line(table.note)}</p>" if table.note else ""
    # A wide table moves within its own frame, which the keyboard reaches too.
    return (
        f'<h3>{_line(table.title)}</h3><div class=wide tabindex=0 role=region aria-label="{_line(table.title)}"><table>'
        f"<thead><tr>{cells(table.head, 'th')}</tr></thead><tbody>{rows}</tbody></table></div>{note}"
    )


def _example(example: Example) -> str:
    fields = "".join(f"<dt>{_line(name)}</dt><dd>{html_text(text)}</dd>" for name, text in example.fields if text)
    return f"<details><summary>{_line(example.title)}</summary><dl>{fields}</dl></details>"
