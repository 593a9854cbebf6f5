"""Files are whole or absent, and a disk that refuses is reported in a sentence."""

import errno
import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from wsss import files
from wsss.errors import WsssError
from wsss.files import (
    lock,
    make_folder,
    parse_yaml,
    read_json,
    remove_temporaries,
    unlock,
    write_atomic,
    write_json,
    write_text,
)


def test_write_json_is_readable(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.json"
    write_json(path, {"a": [1, None], "where": Path("p")})
    assert json.loads(path.read_text()) == {"a": [1, None], "where": "p"}


def test_write_atomic_leaves_the_former_file_on_failure(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_text("old")

    def half(target: Path) -> None:
        target.write_text("new, but only h")
        assert path.read_text() == "old"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(WsssError, match=r"x.bin can't be written \(.*No space left on device\)"):
        write_atomic(path, half)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["x.bin"]
    write_atomic(path, lambda target: target.write_text("new"))
    assert path.read_text() == "new" and [p.name for p in tmp_path.iterdir()] == ["x.bin"]


def test_write_atomic_lets_readers_of_the_former_file_finish(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("the old text")
    with path.open() as reader:
        assert reader.read(4) == "the "
        write_atomic(path, lambda target: target.write_text("THE NEW"))
        assert reader.read() == "old text"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, as on Linux")
def test_write_json_on_a_full_disk(tmp_path: Path) -> None:
    # the device that refuses every byte stands where the temporary file would be
    (tmp_path / f".x.{os.getpid()}.tmp.json").symlink_to("/dev/full")
    with pytest.raises(WsssError) as error:
        write_json(tmp_path / "x.json", {})
    assert "(No space left on device" not in str(error.value)  # the errno stands before it
    assert "No space left on device): free the disk or choose another" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def read_only(*_: object, **__: object) -> None:
    raise OSError(errno.EROFS, "Read-only file system")


def test_write_json_on_a_read_only_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "unlink", read_only)
    monkeypatch.setattr(Path, "write_text", read_only)
    with pytest.raises(WsssError, match="Read-only file system"):
        write_json(tmp_path / "x.json", {})
    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(WsssError, match=rf"{tmp_path / 'new'} .*Read-only"):
        make_folder(tmp_path / "new")


def test_remove_temporaries_leaves_whole_files(tmp_path: Path) -> None:
    for name in ("masks/.a.png.12.tmp", "seeds/.a.12.tmp.npz", "masks/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    remove_temporaries(tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a.png"]


def test_lock_keeps_another_process_out_until_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "stage" / ".lock"
    lock(path, "the stage")
    lock(path, "the stage")  # this process has it
    context = multiprocessing.get_context("fork")
    with context.Pool(1) as pool:
        assert pool.apply(_is_locked, (path,))
    unlock(path)
    with context.Pool(1) as pool:
        assert not pool.apply(_is_locked, (path,))
    lock(path, "the stage")  # the process that took it has ended without releasing it
    unlock(path)


def test_lock_waits_for_a_process_that_ends_in_time(tmp_path: Path) -> None:
    path, context = tmp_path / ".lock", multiprocessing.get_context("fork")
    lock(path, "the stage")
    with context.Pool(1) as pool:
        waiting = pool.apply_async(_is_locked, (path, 30.0))
        time.sleep(0.2)
        unlock(path)
        assert not waiting.get()


def _is_locked(path: Path, patience: float = 0.0) -> bool:
    files._held.clear()  # what a process inherits by forking is not its own
    try:
        lock(path, "the stage", patience)
    except WsssError:
        return True
    return False


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"null", b"\xff{}", b"[" * 100_000, None])
def test_read_json_names_a_damaged_file_and_what_to_do(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "settings.json"
    path.mkdir() if data is None else path.write_bytes(data)
    with pytest.raises(WsssError, match=r"settings\.json is damaged .*: delete it\.$"):
        read_json(path, "delete it")


def test_write_atomic_removes_what_a_killed_process_left_there(tmp_path: Path) -> None:
    child = multiprocessing.get_context("fork").Process(target=int)
    child.start()
    child.join()
    dead, mine = (tmp_path / f".a.{pid}.tmp.json" for pid in (child.pid, os.getpid()))
    others = [tmp_path / name for name in (".a.tmp.json", "a.12.tmp.json", ".hidden.12")]
    for path in (dead, mine, *others):
        path.write_text("x")
    write_text(tmp_path / "b.json", "y")
    assert not dead.exists() and all(path.exists() for path in (mine, *others))


def test_parse_yaml_refuses_a_key_twice_and_takes_merged_ones() -> None:
    with pytest.raises(ValueError, match="the key b stands there twice"):
        parse_yaml("a: {b: 1, c: 2, b: 3}")
    merged = parse_yaml("a: &a {b: 1, c: 2}\nd: {<<: *a, b: 3}\n'1': x\n1: y")
    assert merged == {"a": {"b": 1, "c": 2}, "d": {"b": 3, "c": 2}, "1": "x", 1: "y"}
