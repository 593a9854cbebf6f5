"""Files that are whole or absent: the one atomic writer, and folders."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from wsss.errors import WsssError, first_line


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

    def write(target: Path) -> None:
        target.write_text(text, encoding="utf-8")

    write_atomic(path, write)


def write_json(path: Path, values: Any) -> None:
    """Write JSON atomically."""
    write_text(path, json.dumps(values, indent=2, default=str) + "\n")


def remove_temporaries(folder: Path) -> None:
    """Remove what killed writers left below a folder."""
    for temporary in folder.rglob(".*.tmp*"):
        temporary.unlink(missing_ok=True)
