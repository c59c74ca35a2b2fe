"""Damage to any recorded file, or to the record itself, is noticed; a process killed while writing is not damage."""

import logging
import os
import signal
import subprocess
import sys

import pytest

from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.manifest import (
    MANIFEST_FILE,
    check_recorded,
    record_existing,
    recorded_digest,
    write_recorded_text,
)


def flip(file, position):
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("position", [0, 1, -1])
def test_a_flipped_bit_is_noticed_and_the_file_named(tmp_path, position):
    file = tmp_path / "weights"
    write_recorded_text(file, "abc")
    check_recorded(file)
    flip(file, position)
    with pytest.raises(UserError, match=f"{file} is damaged or has been changed"):
        check_recorded(file)


def test_no_bit_of_the_manifest_can_flip_unnoticed(tmp_path):
    file = tmp_path / "weights"
    write_recorded_text(file, "abc")
    manifest = tmp_path / MANIFEST_FILE
    whole = manifest.read_bytes()
    noticed = 0
    for position in range(len(whole)):
        flip(manifest, position)
        try:
            check_recorded(file)
        except UserError:
            noticed += 1
        manifest.write_bytes(whole)
    # a line break between entries may turn into another white space, which changes nothing
    assert noticed >= len(whole) - whole.count(b"\n") - whole.count(b" ")


def test_a_file_that_was_never_recorded_is_refused(tmp_path):
    write_recorded_text(tmp_path / "a", "1")
    (tmp_path / "b").write_text("2")
    with pytest.raises(UserError, match="b is not in manifest"):
        check_recorded(tmp_path / "b")


def test_a_directory_without_a_manifest_is_accepted_with_a_warning(tmp_path, caplog):
    (tmp_path / "a").write_text("1")
    with caplog.at_level(logging.WARNING):
        check_recorded(tmp_path / "a")
    assert "has no manifest.json" in caplog.text
    record_existing(tmp_path, ["a", "missing"])
    flip(tmp_path / "a", 0)
    with pytest.raises(UserError, match="damaged or has been changed"):
        check_recorded(tmp_path / "a")


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("kills", [1, 2])
def test_a_writer_killed_around_the_replacement_leaves_a_file_that_passes(tmp_path, moment, kills):
    file = tmp_path / "state"
    write_recorded_text(file, "old")
    code = f"""
import os, signal, sys
replace = os.replace
def killed(source, target):
    if str(target).endswith("state"):
        if {moment == "after"}:
            replace(source, target)
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
os.replace = killed
from recbole_echomamba.system.manifest import write_recorded_text
write_recorded_text({str(file)!r}, sys.argv[1])
"""
    for kill in range(kills):
        assert subprocess.run([sys.executable, "-c", code, f"new {kill}"]).returncode == -signal.SIGKILL
        check_recorded(file)
    assert file.read_text() == ("old" if moment == "before" else f"new {kills - 1}")
    write_recorded_text(file, "newest")
    check_recorded(file)
    flip(file, 0)
    with pytest.raises(UserError, match="damaged"):
        check_recorded(file)


def test_the_digest_of_a_file_is_that_of_its_content(tmp_path):
    write_recorded_text(tmp_path / "a", "")
    assert recorded_digest(tmp_path / "a") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
