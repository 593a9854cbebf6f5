"""Downloads from a local server: whole, broken off, resumed, of the wrong bytes, not there."""

import hashlib
import socket
from pathlib import Path

import pytest

from tests.wsss.local_server import Site
from wsss.data.download import Archive, download
from wsss.errors import WsssError

BODY = bytes(range(256)) * 4000


@pytest.fixture(autouse=True)
def _body(site: Site) -> None:
    site.files["/a.tar"] = BODY


def archive(site: Site, path: str = "/a.tar", body: bytes = BODY) -> Archive:
    return Archive(site.url + path, "a.tar", hashlib.md5(body).hexdigest())


def test_a_file_comes_whole_and_once(site: Site, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    path = download(archive(site), tmp_path / "new", progress=lambda d, t: seen.append((d, t)))
    assert path == tmp_path / "new" / "a.tar" and path.read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert [p.name for p in path.parent.iterdir()] == ["a.tar"]
    download(archive(site), tmp_path / "new")
    assert site.asked == [("/a.tar", None)]


def test_a_broken_transfer_goes_on_where_it_was(site: Site, tmp_path: Path) -> None:
    site.break_after = [300_000, 500_000]
    assert download(archive(site), tmp_path).read_bytes() == BODY
    assert [r for _, r in site.asked] == [None, "bytes=300000-", "bytes=800000-"]


def test_a_later_run_goes_on_with_what_was_kept(site: Site, tmp_path: Path) -> None:
    site.break_after = [1000, 1000]
    with pytest.raises(WsssError, match=r"broke off .*2000 bytes are kept: run the same command"):
        download(archive(site), tmp_path, attempts=2)
    assert (tmp_path / "a.tar.part").read_bytes() == BODY[:2000]
    assert download(archive(site), tmp_path).read_bytes() == BODY
    assert site.asked[-1][1] == "bytes=2000-"


def test_a_server_without_ranges_starts_over(site: Site, tmp_path: Path) -> None:
    site.ranges, site.break_after = False, [1000]
    assert download(archive(site), tmp_path).read_bytes() == BODY


def test_an_answer_from_another_byte_starts_over(site: Site, tmp_path: Path) -> None:
    site.from_zero, site.break_after = True, [1000]
    assert download(archive(site), tmp_path).read_bytes() == BODY
    assert [r for _, r in site.asked] == [None, "bytes=1000-"]


def test_a_part_that_is_whole_needs_no_more_bytes(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.tar.part").write_bytes(BODY)
    assert download(archive(site), tmp_path).read_bytes() == BODY


@pytest.mark.parametrize("part", [b"", b"wrong start", BODY + b"too long"])
def test_other_bytes_are_a_sentence_and_are_removed(
    site: Site, tmp_path: Path, part: bytes
) -> None:
    if part:
        (tmp_path / "a.tar.part").write_bytes(part)
    else:
        site.files["/a.tar"] = BODY[::-1]
    with pytest.raises(WsssError, match=r"gave \d+ bytes whose MD5 is not [0-9a-f]{32}; expected"):
        download(archive(site), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_on_disk_is_got_again(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"damaged")
    assert download(archive(site), tmp_path).read_bytes() == BODY


def test_an_answer_of_error_is_a_sentence_at_once(site: Site, tmp_path: Path) -> None:
    with pytest.raises(WsssError, match=r"gone\.tar answered 404 .*name another mirror"):
        download(archive(site, "/gone.tar"), tmp_path)
    assert len(site.asked) == 1


def test_no_server_is_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:  # a port that nobody listens on
        taken.bind(("127.0.0.1", 0))
        gone = Archive(f"http://127.0.0.1:{taken.getsockname()[1]}/a.tar", "a.tar", "0" * 32)
        with pytest.raises(WsssError, match=r"broke off .*refused.*; 0 bytes are kept"):
            download(gone, tmp_path, attempts=2)
