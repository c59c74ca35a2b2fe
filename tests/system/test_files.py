import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from recbole_echomamba.system.errors import MissingFileError, UserError
from recbole_echomamba.system.files import check_writable, read_json, read_text, sha256, write_atomically, write_text


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    file = tmp_path / "result.json"
    write_text(file, "old")

    def write_half(temporary):
        Path(temporary).write_text("ne")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        write_atomically(file, write_half)
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.json"]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    file = tmp_path / "result.json"
    write_text(file, "old")
    code = f"""
import os, signal
from recbole_echomamba.system.files import write_atomically
def write(temporary):
    open(temporary, "w").write("ne")
    os.kill(os.getpid(), signal.SIGKILL)
write_atomically({str(file)!r}, write)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode != 0
    assert file.read_text() == "old"


@pytest.mark.parametrize(
    "write",
    [
        lambda file: Path(file).write_text("text"),
        lambda file: torch.save({}, file),
        lambda file: save_file({"a": torch.ones(1)}, file),
    ],
    ids=["text", "torch", "safetensors"],
)
def test_a_file_has_the_permissions_of_any_new_file(tmp_path, write):
    (tmp_path / "usual").touch()
    write_atomically(tmp_path / "written", write)
    assert (tmp_path / "written").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_the_umask_of_the_process_is_never_changed(tmp_path, monkeypatch):
    def refuse(mask):
        raise AssertionError("the umask was changed")

    monkeypatch.setattr(os, "umask", refuse)
    write_text(tmp_path / "file", "text")


def test_the_suffix_ends_the_temporary_name(tmp_path):
    names = []
    write_atomically(tmp_path / "plot", lambda temporary: names.append(Path(temporary)), suffix=".png")
    assert names[0].suffix == ".png"
    assert names[0].parent == tmp_path


def test_an_output_file_that_cannot_be_created_is_refused_with_its_option(tmp_path):
    check_writable(tmp_path / "new.json")
    with pytest.raises(MissingFileError, match=f"--out: there is no folder {tmp_path / 'gone'}"):
        check_writable(tmp_path / "gone" / "new.json", "--out")
    with pytest.raises(UserError, match=f"^{tmp_path} is a folder"):
        check_writable(tmp_path)


def test_the_digest_is_of_all_files_in_order(tmp_path):
    first, second, both = (tmp_path / name for name in ("first", "second", "both"))
    first.write_bytes(b"a" * (2**20 + 1))
    second.write_bytes(b"b")
    both.write_bytes(first.read_bytes() + second.read_bytes())
    assert sha256(first, second) == sha256(both) != sha256(second, first)


WRITERS = {
    "text": "write_text(file, 'x' * 2**20)",
    "torch": "write_atomically(file, lambda to: torch.save({'x': torch.zeros(2**18)}, to))",
    "safetensors": "write_atomically(file, lambda to: safetensors.torch.save_file({'x': torch.zeros(2**18)}, to))",
    "parquet": "write_atomically(file, lambda to: pq.write_table(pa.table({'x': np.random.rand(2**17)}), to))",
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_named_with_its_folder_whichever_library_writes(tmp_path, writer):
    code = f"""
import resource, signal
import numpy as np, pyarrow as pa, pyarrow.parquet as pq, safetensors.torch, torch
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.files import write_atomically, write_text
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))
file = {str(tmp_path / "out")!r}
try:
    {WRITERS[writer]}
except UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"cannot write {tmp_path / 'out'}: file too large; free space in {tmp_path}" in done.stdout, done.stderr
    assert os.listdir(tmp_path) == []


def test_text_is_read_with_or_without_a_byte_order_mark(tmp_path):
    for content in ("\ufeffä\n", "ä\n"):
        (tmp_path / "a.txt").write_text(content, encoding="utf-8")
        assert read_text(tmp_path / "a.txt", "file a") == "ä\n"


@pytest.mark.parametrize("name", ["pipe", ".", "/dev/zero", "latin", "x" * 300, "\0"])
def test_a_text_file_that_cannot_be_read_is_refused_at_once_in_one_line(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "latin").write_bytes(b"\xe9")
    with pytest.raises(UserError, match=r"file a cannot be read: .*; give another") as refused:
        read_text(tmp_path / name, "file a", "give another")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b"\xff", b"[" * 100_000, b"9" * 5000])
def test_json_that_is_damaged_is_named(tmp_path, content):
    file = tmp_path / "a.json"
    file.write_bytes(content)
    with pytest.raises(UserError, match=rf"{file} is damaged \(.*\); remove it"):
        read_json(file, "remove it")
