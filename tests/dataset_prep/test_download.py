"""Download from a local server that stands in for GroupLens and supports ranges."""

import hashlib
import http.server
import re
import threading
from pathlib import Path

import pytest

from dataset_prep import download
from dataset_prep.__main__ import main
from tests.dataset_prep import layouts


class Site(http.server.BaseHTTPRequestHandler):
    """Serves ``files``; an answer stops after ``patience`` bytes."""

    files, asked, patience, ranges = {}, [], None, True

    def do_GET(self):
        self.asked.append((self.path, self.headers.get("Range")))
        content = self.files.get(self.path.rpartition("/")[2])
        if content is None:
            return self.send_error(404)
        start = int(re.findall(r"\d+", self.headers.get("Range") or "0")[0]) if self.ranges else 0
        if start and start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: self.patience])

    def log_message(self, *_):
        pass


@pytest.fixture
def site(tmp_path, monkeypatch):
    archive = layouts.write_movielens_csv(tmp_path / "ml-32m.zip", layouts.walks(6, 6)).read_bytes()
    md5 = f"{hashlib.md5(archive).hexdigest()}  ml-32m.zip\n".encode()
    handler = type("Here", (Site,), {"files": {"ml-32m.zip": archive, "ml-32m.zip.md5": md5}, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(download, "MOVIELENS_FILES", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield handler
    server.shutdown()
    server.server_close()


def fetch():
    return main(["ml-32m", "--download", "--raw", "raw", "--out", "out"])


def test_a_download_that_fails_at_once_leaves_no_folder(site, capsys):
    site.files.clear()
    assert fetch() == 1
    assert "cannot download" in capsys.readouterr().err
    assert not Path("raw").exists()


def test_a_downloaded_archive_is_prepared_and_kept(site, capsys):
    assert fetch() == 0
    assert capsys.readouterr().out.startswith("ml-32m: 6 users, 6 items, 36 interactions, in ")
    assert Path("raw/ml-32m.zip").read_bytes() == site.files["ml-32m.zip"]
    site.asked.clear()
    assert fetch() == 0
    assert site.asked == []


def test_a_broken_connection_is_resumed_where_it_stopped(site, capsys):
    site.patience = 300
    assert fetch() == 1
    assert "run the command again to resume" in capsys.readouterr().err
    assert not Path("raw/ml-32m.zip").exists()
    site.patience = None
    assert fetch() == 0
    assert site.asked[-2] == ("/ml-32m.zip", "bytes=300-")
    assert Path("raw/ml-32m.zip").read_bytes() == site.files["ml-32m.zip"]


def test_without_ranges_the_download_starts_over(site):
    site.patience = 300
    fetch()
    site.patience, site.ranges = None, False
    assert fetch() == 0


def test_an_archive_completed_before_a_crash_is_not_downloaded_again(site):
    Path("raw").mkdir()
    Path("raw/ml-32m.zip.part").write_bytes(site.files["ml-32m.zip"])
    assert fetch() == 0


def test_a_wrong_checksum_is_refused_and_the_next_attempt_starts_over(site, capsys):
    Path("raw").mkdir()
    Path("raw/ml-32m.zip.part").write_bytes(b"x" * 300)
    assert fetch() == 1
    assert "is published; run the command again" in capsys.readouterr().err
    assert fetch() == 0


def test_a_missing_checksum_is_reported(site, capsys):
    del site.files["ml-32m.zip.md5"]
    assert fetch() == 0
    assert "has no published checksum" in capsys.readouterr().err


def test_without_a_network_the_error_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(download, "MOVIELENS_FILES", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert fetch() == 1
    err = capsys.readouterr().err
    assert err.startswith("error: cannot download http://127.0.0.1:9/ml-32m.zip (")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "file"), [("netflix", "archive.zip"), ("tmall", "IJCAI16_data.zip"), ("lfm-1b", "LFM-1b.zip")]
)
def test_where_registration_is_needed_the_page_and_the_file_are_named(name, file, capsys):
    assert main([name, "--download"]) == 1
    err = capsys.readouterr().err
    assert "http" in err
    assert file in err
