"""What a mask was made of, as a digest that it carries: if anything differs, it is recomputed."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsss.files import real_path


def origin_of(files: Sequence[Path], settings: Mapping[str, Any]) -> str:
    """The digest of a mask's image and whatever else it is made of.

    Args:
        files: known by path, size and time of change, for they are many.
        settings: JSON values.

    Returns:
        16 hexadecimal digits.
    """
    known = [(str(real_path(path)), *_size_and_time(path)) for path in files]
    text = json.dumps([known, dict(settings)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def content_digest(files: Sequence[Path]) -> str:
    """The digest of files' bytes: wherever they lie, and whenever they were copied there."""
    whole = hashlib.sha256()
    for path in files:
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()[:16]


def path_digest(path: Path) -> str:
    """The digest of a file's bytes, or of all files below a folder and their names."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("[!.]*") if p.is_file())
    whole = hashlib.sha256()
    for file in files:
        whole.update(str(file.relative_to(path).as_posix()).encode())
        whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()[:16]


def listing_digest(path: Path) -> str:
    """The digest of names, sizes and times of change: of a file, or of all files below a folder."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("[!.]*") if p.is_file())
    known = [(file.relative_to(path).as_posix(), *_size_and_time(file)) for file in files]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]


def _size_and_time(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
