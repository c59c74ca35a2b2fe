"""Any text in an atomic file comes back from RecBole's own loader."""

import re

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dataset_prep.atomic_file import MISSING_WORDS, check_identifier, escape_field, split_row, write_rows
from recbole_echomamba import Config, create_dataset

DIFFICULT = [*MISSING_WORDS, '"', '""', '"x', "'", "\t", "\n", "\r", "\r\n", "\0", " ", "#", ",", "[PAD]", "\ud800"]
TEXT = st.lists(st.one_of(st.sampled_from(DIFFICULT), st.text(max_size=6)), max_size=4).map("".join)
KEEP_ALL = {"user_inter_num_interval": "[1,inf)", "item_inter_num_interval": "[1,inf)"}


def is_identifier(text):
    try:
        return bool(check_identifier(text))
    except ValueError:
        return False


def split_as_recbole_does(text):
    """The tokens expected back; a lone surrogate, which no file can hold, became a question mark."""
    for gap in "\t\n\r\0":
        text = text.replace(gap, " ")
    return [word for word in text.encode("utf-8", "replace").decode().split(" ") if word]


@settings(max_examples=8, deadline=None, phases=[Phase.generate])
@given(st.dictionaries(TEXT.filter(is_identifier), TEXT, min_size=20, max_size=40))
def test_any_id_and_any_title_come_back_from_recboles_loader(tmp_path_factory, titles):
    folder = tmp_path_factory.mktemp("round")
    (folder / "x").mkdir()
    rows = [(user, item, str(n)) for user in titles for n, item in enumerate(titles)]
    write_rows(folder / "x" / "x.inter", ("user_id:token", "item_id:token", "timestamp:float"), rows)
    write_rows(folder / "x" / "x.item", ("item_id:token", "title:token_seq"), titles.items())
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": "*"}
    config = Config("SASRec", "x", config_dict={**KEEP_ALL, "data_path": str(folder), "load_col": columns})
    dataset = create_dataset(config)
    feat = dataset.inter_feat
    users, items = (dataset.id2token(field, feat[field]) for field in ("user_id", "item_id"))
    assert list(zip(users, items, feat["timestamp"].astype(int).astype(str), strict=True)) == rows
    names = dataset.id2token("item_id", dataset.item_feat["item_id"])
    words = {}
    for name, title in zip(names, dataset.item_feat["title"], strict=True):
        words[name] = [str(word) for word in dataset.id2token("title", title)] if len(title) else []
    assert {item: words[item] for item in titles} == {item: split_as_recbole_does(t) for item, t in titles.items()}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("[PAD]", "RecBole's padding id"),
        ("a\tb", "cannot hold tabs"),
        ("a\nb", "cannot hold tabs"),
        ("a\rb", "cannot hold tabs"),
        ("a\0b", "cannot hold tabs"),
        ("\ud800", "not UTF-8"),
        *((word, "reads as a missing value") for word in sorted(MISSING_WORDS)),
    ],
)
def test_an_id_that_an_atomic_file_cannot_hold_is_refused_with_the_reason(text, reason):
    with pytest.raises(ValueError, match=reason):
        check_identifier(text)


@given(st.lists(TEXT, min_size=1, max_size=4).filter(lambda fields: fields != [""]))
def test_split_row_undoes_escape_field(fields):
    # Tabs, line ends and NUL are the only text that is lost, and a space before a missing word is not kept apart.
    kept = [" ".join(re.split("[\t\n\r\0]", text)).encode("utf-8", "replace").decode() for text in fields]
    kept = [text[1:] if text[:1] == " " and text[1:] in MISSING_WORDS else text for text in kept]
    assert split_row("\t".join(map(escape_field, fields)), "\t") == kept


@pytest.mark.parametrize("text", ['"open', '"Great" Cats', 'a"b', '"'])
def test_a_quote_that_encloses_no_field_stays(text):
    assert split_row(f"1\t{text}", "\t") == ["1", text]


def test_the_missing_words_are_those_of_pandas():
    from pandas._libs.parsers import STR_NA_VALUES

    assert STR_NA_VALUES - {""} == MISSING_WORDS
