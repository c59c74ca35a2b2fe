"""What a report is made of: one table in several formats, figures without a display, a page that is one file."""

from __future__ import annotations

import base64
import csv
import html
import io
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 64rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 2px solid #222; }
figure { margin: 1.5rem 0; } img { max-width: 100%; height: auto; } figcaption { color: #555; font-size: .9rem; }
"""

LATEX = {"\\": r"\textbackslash{}", "±": r"$\pm$", "<": r"$<$", ">": r"$>$", "~": r"\textasciitilde{}"} | {
    character: "\\" + character for character in "&%$#_{}"
}


@dataclass
class Table:
    """Rows of text under a header; ``best`` holds the (row, column) places to print bold."""

    header: list[str]
    rows: list[list[str]]
    best: set[tuple[int, int]] = field(default_factory=set)

    def markdown(self) -> str:
        """A pipe table; every column but the first is right-aligned."""
        rule = ["---", *["---:"] * (len(self.header) - 1)]
        rows = self._marked(lambda text: text.replace("|", "\\|"), "**{}**")
        return "".join(f"| {' | '.join(row)} |\n" for row in (self.header, rule, *rows))

    def html(self) -> str:
        """A ``<table>`` that scrolls sideways on a narrow screen."""
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.header)
        rows = self._marked(html.escape, "<strong>{}</strong>")
        body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>\n" for row in rows)
        return f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>\n'

    def latex(self) -> str:
        """A ``tabular`` with booktabs rules."""
        rows = [f"{' & '.join(row)} \\\\\n" for row in self._marked(_latex, "\\textbf{{{}}}")]
        head = f"{' & '.join(map(_latex, self.header))} \\\\\n"
        columns = "l" + "r" * (len(self.header) - 1)
        rules = (f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n", "\\midrule\n", "\\bottomrule\n\\end{tabular}\n")
        return rules[0] + head + rules[1] + "".join(rows) + rules[2]

    def csv(self) -> str:
        """Comma-separated values with a header line."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.header, *self.rows])
        return text.getvalue()

    def _marked(self, escape, bold: str) -> list[list[str]]:
        return [
            [bold.format(escape(cell)) if (i, j) in self.best else escape(cell) for j, cell in enumerate(row)]
            for i, row in enumerate(self.rows)
        ]


def figure(width: float = 8, height: float = 4.5) -> Figure:
    """An empty matplotlib figure, in inches, that needs no display and leaves no global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=150)


def png(drawn: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png")
    return buffer.getvalue()


def image(picture: bytes, caption: str) -> str:
    """A PNG inside the page itself, so that the page can be moved and mailed."""
    data = base64.b64encode(picture).decode()
    text = html.escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>\n'


def page(title: str, *parts: str) -> str:
    """A whole HTML document around parts that are HTML already."""
    title = html.escape(title)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        f"<body><h1>{title}</h1>\n{''.join(parts)}</body></html>\n"
    )


def section(title: str, *paragraphs: str) -> str:
    """A heading and plain paragraphs, as HTML."""
    return f"<h2>{html.escape(title)}</h2>\n" + "".join(f"<p>{html.escape(text)}</p>\n" for text in paragraphs)


def _latex(text: str) -> str:
    return re.sub(r"[\\±<>~&%$#_{}]", lambda match: LATEX[match.group()], text)
