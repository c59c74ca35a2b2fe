"""Build reports: a table in several formats, figures that need no display, and an HTML page that is a single file."""

from __future__ import annotations

import base64
import csv
import html
import io
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.2rem; margin-top: 2rem; }
h3 { font-size: 1rem; margin-bottom: .3rem; }
h1, h3, p, li, figcaption { overflow-wrap: anywhere; }
.wide { overflow-x: auto;
background: linear-gradient(to left, Canvas 1rem, transparent) right / 2.5rem 100% local no-repeat,
linear-gradient(to left, #8886, transparent) right / 1rem 100% no-repeat; }
table { border-collapse: separate; border-spacing: 0; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #8885; }
thead th { white-space: normal; vertical-align: bottom; border-bottom: 2px solid; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: Canvas; }
td:first-child { white-space: normal; min-width: 6rem; }
.side { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); gap: 0 2rem; }
.side > * { min-width: 0; }
.verdict { border-left: .3rem solid #1f77b4; background: #1f77b418; padding: .1rem 1rem; } .verdict ul { padding-left: 1.2rem; }
figure { margin: 1rem 0; max-width: 36rem; } img { max-width: 100%; height: auto; }
figcaption { opacity: .75; font-size: .9rem; }
@media (max-width: 40rem) {
body { padding: .6rem; } table { font-size: .75rem; } th, td { padding: .25rem .35rem; }
figure { margin: 1rem -.6rem; } figcaption { padding: 0 .6rem; }
}
"""
"""The style of a page, light or dark as the reader's system is.

A table that is too wide scrolls beside its first column, with a shadow where more columns are.
"""

LEGEND_DENSITY = 13
"""How many characters fit into an inch of a legend, with :data:`LEGEND_MARK` for the mark and the gap of each entry."""

LEGEND_MARK = 8

LEGEND_LINE = 0.21
"""The height of a line of a legend in inches."""

LATEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "<": r"$<$",
    ">": r"$>$",
    "~": r"\textasciitilde{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "^": r"\textasciicircum{}",
}

FORMULA = re.compile(r"[=@\t\r]|[+-](?!([.\d]+(e[-+]?\d+)?)?\Z)")
"""How text begins that a spreadsheet takes for a formula, and not for a number such as -0.5."""


@dataclass
class Table:
    """Hold the cells of a table and render them as Markdown, HTML, LaTeX or CSV.

    Attributes:
        header: the column names.
        rows: the cells, one list for each row, each as long as ``header``. Cells are text; a table that is only
            rendered as CSV may hold numbers.
        best: the (row, column) positions of the cells to print bold.
    """

    header: list[str]
    rows: list[list]
    best: set[tuple[int, int]] = field(default_factory=set)

    def to_markdown(self) -> str:
        """Render a pipe table; every column but the first is right-aligned."""
        rule = ["---"] + ["---:"] * (len(self.header) - 1)
        header = [_escape_cell(name) for name in self.header]
        rows = self._format_cells(_escape_cell, "**{}**")
        return "".join(f"| {' | '.join(row)} |\n" for row in [header, rule, *rows])

    def to_html(self) -> str:
        """Render a ``<table>`` that scrolls sideways on a narrow screen."""
        # a long name may break its line after an underscore
        head = "".join(f"<th>{html.escape(name).replace('_', '_<wbr>')}</th>" for name in self.header)
        body = ""
        for row in self._format_cells(html.escape, "<strong>{}</strong>"):
            body += "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>\n"
        return f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>\n'

    def to_latex(self) -> str:
        """Render a ``tabular`` with the rules of the booktabs package."""
        alignment = "l" + "r" * (len(self.header) - 1)
        lines = [f"\\begin{{tabular}}{{{alignment}}}", "\\toprule"]
        lines += [" & ".join(map(_escape_latex, self.header)) + " \\\\", "\\midrule"]
        lines += [" & ".join(row) + " \\\\" for row in self._format_cells(_escape_latex, "\\textbf{{{}}}")]
        lines += ["\\bottomrule", "\\end{tabular}"]
        return "\n".join(lines) + "\n"

    def to_csv(self) -> str:
        """Render comma-separated values with a header line; a quote is put before text that a spreadsheet would execute."""
        text = io.StringIO()
        rows = [[_neutralise(cell) for cell in row] for row in [self.header, *self.rows]]
        csv.writer(text, lineterminator="\n").writerows(rows)
        return text.getvalue()

    def _format_cells(self, escape: Callable[[str], str], bold: str) -> list[list[str]]:
        """Return the escaped rows, with the cells of ``best`` inserted into the format string ``bold``."""
        rows = [[escape(cell) for cell in row] for row in self.rows]
        for i, j in self.best:
            rows[i][j] = bold.format(rows[i][j])
        return rows


def new_figure(width: float = 5.2, height: float = 3.4) -> Figure:
    """Return an empty matplotlib figure that needs no display and leaves no global state.

    At the default width its text can still be read on a phone.

    Args:
        width: in inches.
        height: in inches.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=180)


def add_legend(fig: Figure) -> None:
    """Put one legend for all axes above them, where it covers nothing; entries of the same name are shown once.

    The figure grows by the height of the legend.
    """
    handles = {}
    for ax in fig.axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    longest = max(map(len, handles))
    fitting = int(fig.get_figwidth() * LEGEND_DENSITY) // (longest + LEGEND_MARK)
    columns = min(len(handles), max(1, fitting))
    lines = -(-len(handles) // columns)
    fig.set_figheight(fig.get_figheight() + lines * LEGEND_LINE)
    fig.legend(handles.values(), handles, loc="outside upper left", ncols=columns, frameon=False)


def encode_png(fig: Figure) -> bytes:
    """Return the bytes of a figure as a PNG file."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png")
    return buffer.getvalue()


def render_image(png: bytes, caption: str) -> str:
    """Return a ``<figure>`` that contains the PNG itself, so that the page stays a single file.

    Args:
        png: the bytes of a PNG file.
        caption: plain text, shown below the image and used as its alternative text.
    """
    data = base64.b64encode(png).decode()
    text = html.escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>\n'


def render_images(images: list[str]) -> str:
    """Return the figures of :func:`render_image` side by side, as many as there is room for."""
    return f'<div class="side">{"".join(images)}</div>\n'


def render_verdict(headline: str, details: Iterable[str] = ()) -> str:
    """Return a box with a sentence that says what was found, and sentences on what it rests on, all in plain text."""
    items = "".join(f"<li>{html.escape(line)}</li>\n" for line in details)
    listed = f"<ul>{items}</ul>" if items else ""
    return f'<div class="verdict"><p><strong>{html.escape(headline)}</strong></p>\n{listed}</div>\n'


def state_date() -> str:
    """Return a sentence with the date of today, in plain text."""
    return f"Report of {time.strftime('%Y-%m-%d')}."


def join_names(names: Iterable[str]) -> str:
    """Return names as in a sentence: ``A, B and C``."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def render_section(title: str, *paragraphs: str) -> str:
    """Return a heading and paragraphs as HTML; title and paragraphs are plain text."""
    return f"<h2>{html.escape(title)}</h2>\n" + "".join(f"<p>{html.escape(text)}</p>\n" for text in paragraphs)


def render_page(title: str, *parts: str) -> str:
    """Return a complete HTML document.

    Args:
        title: plain text.
        parts: the body, in order, as HTML.
    """
    title = html.escape(title)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        f"<body><h1>{title}</h1>\n{''.join(parts)}</body></html>\n"
    )


def escape_markdown(text: str) -> str:
    """Return one line of Markdown that shows ``text``: HTML, links and images in it stay text."""
    text = _join_lines(text).replace("\\", "\\\\").replace("](", "]\\(")
    # A sign such as that of `p < 0.01` begins no HTML.
    return re.sub(r"<(?=[A-Za-z/!?])", r"\\<", text)


def _escape_cell(text: str) -> str:
    return escape_markdown(text).replace("|", "\\|")


def _escape_latex(text: str) -> str:
    return "".join(LATEX_ESCAPES.get(character, character) for character in _join_lines(text))


def _join_lines(text: str) -> str:
    """Replace tabs and line ends by spaces."""
    return " ".join(text.replace("\t", " ").splitlines())


def _neutralise(cell: object) -> object:
    """Return a cell that a spreadsheet shows as it is; a number stays a number."""
    if not isinstance(cell, str):
        return cell
    if FORMULA.match(cell):
        cell = f"'{cell}"
    # Python's writer does not quote a carriage return, at which a reader would begin a row.
    return cell.replace("\r", " ")
