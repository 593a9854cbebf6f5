"""What a command answered, by meaning: decoded masks, arrays, weights and figures, not bytes."""

import fnmatch
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

# times, and paths and settings of the code at hand
_VOLATILE = (
    *("protocol", "ms", "peak_mib", "ms_per_image", "per_second", "timed_images"),
    *("runtime", "settings", "images_digest", "created", "files", "when"),
)
_LEFT_OUT = (
    *("*.jsonl", "*/.lock*", "*config.yaml", "*/checkpoint.pt", "*.html", "*/README.md"),
    "*/settings.json",
)


def matching(root: Path, patterns: Sequence[str]) -> list[Path]:
    """Files below a folder that one of the patterns names."""
    files = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted(
        path
        for path in files
        if any(fnmatch.fnmatch(path.relative_to(root).as_posix(), p) for p in patterns)
    )


def digests(root: Path, patterns: Sequence[str]) -> dict[str, str]:
    """File → digest of its content, for those that a start leaves alike."""
    found = {path.relative_to(root).as_posix(): path for path in matching(root, patterns)}
    return {
        name: digest(path)
        for name, path in found.items()
        if not any(fnmatch.fnmatch(name, pattern) for pattern in _LEFT_OUT)
    }


def digest(path: Path) -> str:
    """Of a file's content; raises whatever its reader does where it is damaged."""
    whole = hashlib.sha256()
    for name, part in _content(path):
        whole.update(name.encode())
        whole.update(part)
    return whole.hexdigest()[:16]


def _content(path: Path) -> list[tuple[str, bytes]]:
    if path.suffix == ".png":
        with Image.open(path) as image:
            return [(image.mode, np.asarray(image).tobytes())]
    if path.name.endswith(".tar.gz"):
        with tarfile.open(path) as archive:
            members = {m.name: archive.extractfile(m) for m in archive if m.isfile()}
            return [(name, without_notes(f.read())) for name, f in members.items() if f]
    if path.suffix == ".safetensors":
        return _arrays(load_file(path))
    if path.suffix in (".npz", ".npy"):
        with np.load(io.BytesIO(path.read_bytes())) as arrays:
            return _arrays({name: arrays[name] for name in arrays.files})
    if path.suffix == ".json":
        values = _without(json.loads(path.read_text()))
        return [("json", json.dumps(values, sort_keys=True).encode())]
    if path.suffix in (".csv", ".txt", ".md"):
        return [("text", re.sub(rb"\s+", b" ", path.read_bytes()))]
    return [("bytes", path.read_bytes())]


def without_notes(png: bytes) -> bytes:
    """A PNG without the text in it, which tells the time of the file that it was made from."""
    kept, at = [png[:8]], 8
    while at < len(png):
        size = int.from_bytes(png[at : at + 4], "big")
        if png[at + 4 : at + 8] != b"tEXt":
            kept.append(png[at : at + 12 + size])
        at += 12 + size
    return b"".join(kept)


def _arrays(arrays: dict[str, Any]) -> list[tuple[str, bytes]]:
    return [(name, np.ascontiguousarray(arrays[name]).tobytes()) for name in sorted(arrays)]


def _without(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _without(value) for key, value in values.items() if key not in _VOLATILE}
    return [_without(value) for value in values] if isinstance(values, list) else values
