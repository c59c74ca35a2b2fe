"""A message to a user is one line, whatever it quotes."""

import pickle

import pytest

from dataset_prep import errors as preparation
from recbole_echomamba.system import errors


@pytest.mark.parametrize(
    "kind",
    [errors.UserError, errors.MissingFileError, preparation.PreparationError, preparation.MissingFileError],
)
def test_a_message_is_one_line_that_can_be_printed(kind):
    error = kind("unknown id a\n  b\r\nc\x1b[31m\ud800 \u2028 \u00e9")
    assert str(error) == r"unknown id a b c\x1b[31m\ud800 \u2028 " + "\u00e9"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
