"""Files that are whole or absent: the one atomic writer, and folders; YAML with each key once."""

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from wsss.errors import WsssError, first_line

_held: dict[Path, FileLock] = {}


def real_path(path: Path) -> Path:
    """A path without links; one whose links go in circles stays as it is."""
    return Path(os.path.realpath(path))


def refuse_to_overwrite(source: Path, result: Path, what: str, whose: str) -> None:
    """Refuse a result in the place of what it is made of.

    Args:
        source: what it is made of.
        result: its file.
        what: the result is, for the sentence.
        whose: folder the source lies in.

    Raises:
        WsssError: they are one file.
    """
    if real_path(result) == real_path(source):
        raise WsssError(
            f"{what} of {source} would replace it: give an output directory (--out) that is not "
            f"the {whose} own folder."
        )


def make_folder(path: Path) -> None:
    """Make a folder with its parents.

    Raises:
        WsssError: the disk is read-only, or something else stands there.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WsssError(
            f"The folder {path} can't be made ({error.strerror}): choose another one."
        ) from None


def write_atomic(path: Path, write: Callable[[Path], Any]) -> None:
    """Write through a temporary neighbour, so that `path` is whole or absent at any moment.

    Raises:
        WsssError: the disk is full, read-only or not writable.
    """
    make_folder(path.parent)
    _sweep(path.parent)
    # the suffix stays last: some writers choose the format by it
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        write(temporary)
        temporary.replace(path)
    except Exception as error:  # each library that writes has its own kind of error
        raise WsssError(
            f"{path} can't be written ({first_line(error)}): free the disk or choose another "
            "folder; what is finished is kept."
        ) from error
    finally:
        with suppress(OSError):  # a read-only disk refuses this, too; the first reason counts
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write text atomically, as UTF-8."""
    write_atomic(path, lambda target: target.write_text(text, encoding="utf-8"))


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows of cells as a CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def write_json(path: Path, values: Any) -> None:
    """Write JSON atomically."""
    write_text(path, json.dumps(values, indent=2, default=str) + "\n")


def names_below(folder: Path, suffix: str) -> set[str]:
    """Files below a folder, as paths within it without their suffix: one listing, no look at each.

    Args:
        folder: none where it doesn't exist; what is hidden, such as half written files, is left
            out.
        suffix: that they end with.
    """
    found: set[str] = set()
    pending = [("", str(folder))] if folder.is_dir() else []
    while pending:
        prefix, path = pending.pop()
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.name.endswith(suffix):
                    found.add(prefix + entry.name[: -len(suffix)])
                elif entry.is_dir():
                    pending.append((f"{prefix}{entry.name}/", entry.path))
    return found


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """A JSON object in a file of ours, which a crash or an editor may have damaged.

    Args:
        path: the file.
        remedy: what to do about a damaged one, for the sentence.

    Raises:
        WsssError: it can't be read, or holds something else.
    """
    try:
        found = json.loads(path.read_bytes())
        reason = "" if isinstance(found, dict) else f"it holds a {type(found).__name__}"
    except (OSError, ValueError, RecursionError) as error:
        found, reason = {}, first_line(error)[:120]
    if reason:
        raise WsssError(
            f"{path} is damaged ({reason}); expected the JSON that this program wrote: {remedy}."
        )
    return dict(found)


def lock(path: Path, what: str, patience: float = 0.0) -> None:
    """Keep other processes from what a lock file stands for, until `unlock` or the process's end.

    The system releases it when the process ends, however it does.

    Args:
        path: of the lock file.
        what: is locked, for the error.
        patience: seconds that another process has to release it.

    Raises:
        WsssError: another process holds it.
    """
    if path in _held:
        return
    make_folder(path.parent)
    held = FileLock(path)
    try:
        held.acquire(timeout=patience)
    except Timeout:
        raise WsssError(
            f"Another process is making {what}: wait for it, or choose another run folder (run=…)."
        ) from None
    except (OSError, NotImplementedError):  # a file system without locks
        return
    _held[path] = held


def unlock(path: Path) -> None:
    """Release a lock of this process, if it holds it, and remove its file."""
    if path in _held:
        path.unlink(missing_ok=True)  # while it is held: nobody waits for it
        _held.pop(path).release()


def remove_temporaries(folder: Path) -> None:
    """Remove what killed writers left below a folder."""
    for temporary in folder.rglob(".*.tmp*"):
        temporary.unlink(missing_ok=True)


_TEMPORARY = re.compile(r"\..*\.(\d+)\.tmp(\..*)?")


@cache
def _sweep(folder: Path) -> None:
    """Remove what killed writers left in a folder, the first time that this process writes there.

    What belongs to a process that lives stays: it may be writing there, too.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _TEMPORARY.fullmatch(entry.name)
            if found and not _lives(int(found[1])):
                Path(entry.path).unlink(missing_ok=True)


def _lives(process: int) -> bool:
    if os.name != "posix":  # elsewhere signal 0 is none
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, of which YAML's readers take the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        found: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if (key.tag, key.value) in found:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value} stands there twice", problem_mark=key.start_mark
                )
            found.add((key.tag, key.value))
        return node


def parse_yaml(text: str) -> Any:
    """Plain values of a YAML text.

    Raises:
        ValueError: it is none, or has a key twice; says why, on one line.
    """
    try:
        return yaml.load(text, _Loader)
    # a date that isn't one, a number of 5,000 digits, lists within lists without end
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())[:300] or type(error).__name__) from None
