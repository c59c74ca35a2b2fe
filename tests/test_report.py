"""Whatever text is in a table or a note, it stays text in Markdown, HTML, LaTeX and CSV."""

import csv
import io
import re

import pytest

from recbole_echomamba.report import Table, escape_markdown, render_page, render_section

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "\\<img src=x>",
    "</table><script>alert(1)</script>",
    "a\n\n# b",
    "a\tb",
    "a\r\u2028b|c",
    "![x](http://x/y.png)",
    "[x](javascript:alert)",
]


def live_html(markdown):
    """Find what begins HTML: a sign that is followed by a name, and not escaped by an odd number of backslashes."""
    return [found for found in re.finditer(r"(\\*)<[A-Za-z/!?]", markdown) if len(found[1]) % 2 == 0]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_stays_text_in_every_format(text):
    table = Table([text, "b"], [[text, "1"], ["2", text]], {(1, 1)})
    markdown = table.to_markdown() + escape_markdown(text)
    assert len(table.to_markdown().splitlines()) == 4
    assert not live_html(markdown)
    assert "](" not in markdown
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in table.to_markdown().splitlines())
    page = render_page(text, render_section(text, text), table.to_html())
    assert "<img" not in page
    assert "<script" not in page
    assert page.count("<table>") == page.count("</table>") == 1
    assert table.to_latex().count("\n") == 8
    shown = text.replace("\r", " ")
    assert list(csv.reader(io.StringIO(table.to_csv()))) == [[shown, "b"], [shown, "1"], ["2", shown]]


def test_signs_of_a_report_are_shown_as_they_are():
    text = "p < 0.0001, NDCG@10, Mamba4Rec (no_gate), topk [5, 10], a > b, 5 ± 1"
    assert escape_markdown(text) == text


@pytest.mark.parametrize(
    "text", ["=HYPERLINK(1)", "+1+1", "-1+1", "@SUM(1)", "-2+3+cmd|' /C calc'!A0", "\t=1", "=1", "+a"]
)
def test_text_that_a_spreadsheet_would_execute_is_quoted_in_a_csv(text):
    assert list(csv.reader(io.StringIO(Table([text], [[text]]).to_csv()))) == [[f"'{text}"], [f"'{text}"]]


@pytest.mark.parametrize("cell", ["-0.5", "+0.1234", "-1e-05", -1.5, None, "a=b", "ndcg@10"])
def test_numbers_and_other_text_are_not_quoted_in_a_csv(cell):
    assert Table(["a"], [[cell, 1]]).to_csv() == f"a\n{'' if cell is None else cell},1\n"
