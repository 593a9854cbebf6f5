"""Damage that needs no knowledge of a format, and values that programs stumble over."""

import copy
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

NASTY_TEXTS = (
    *("", " ", "\0", "a\0b", "../x", "../../../../etc/passwd", "/etc/passwd", "/", ".", "..", "~"),
    *(
        "x" * 300,
        "x/" * 200 + "x",
        "a\nb",
        "a\rb",
        "é",
        "e\u0301",
        "\ufeffa",
        "\u202eabc",
        "\udcff",
    ),
    *("CON", "nul.png", "-", "--help", "a=b", "#", "%s", "{}", "$HOME", "`id`", "\x1b[31m", "null"),
    *("nan", "1e309", "0x10", "٣", "😀" * 50, "a;b", "a,b", "'", '"', "<b>", "&amp;", "\\", "*"),
)
NASTY_NUMBERS = (0, -1, 1, 2**31, 2**63, -(2**63), 1e309, float("nan"), -0.0, 0.5, 1e-300, 10**30)
NASTY_VALUES = (
    *(*NASTY_NUMBERS, None, True, False, [], {}, [[]], {"": None}, [None], "", "x", ["x", 1], "1"),
    *({"a": {"b": {}}}, [1, 2, 3], [0.5], ["a", "b"], "a\0b", "../x"),
)


def flipped(rng: Random, data: bytes) -> bytes:
    """Some bytes changed; half of the time in the header."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if out:
            end = min(len(out), rng.choice((64, len(out))))
            out[rng.randrange(end)] = rng.choice((0, 255, 127, 128, rng.randrange(256)))
    return bytes(out)


def cut(rng: Random, data: bytes) -> bytes:
    """Without its end."""
    return data[
        : rng.choice((0, 1, len(data) // 2, max(len(data) - 1, 0), rng.randrange(len(data) + 1)))
    ]


def spliced(rng: Random, data: bytes) -> bytes:
    """A part repeated, removed, moved or replaced by noise."""
    a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    middle = data[a:b]
    how = rng.randrange(4)
    if how == 0:
        return data[:b] + middle * rng.choice((1, 3)) + data[b:]
    if how == 1:
        return data[:a] + data[b:]
    if how == 2:
        return data[:a] + data[b:] + middle
    return data[:a] + rng.randbytes(len(middle)) + data[b:]


def zeroed(rng: Random, data: bytes) -> bytes:
    """A block of zeros, as a disk leaves it after a crash."""
    start = rng.randrange(len(data) + 1)
    return data[:start] + bytes(len(data) - start)


def padded(rng: Random, data: bytes) -> bytes:
    """More behind the end."""
    return data + rng.choice((b"\0" * 100, b"\n", rng.randbytes(50), data))


def other_file(rng: Random, data: bytes) -> bytes:
    """Something else in its place."""
    return rng.choice(
        (
            b"",
            b"\0",
            b"<!DOCTYPE html><html><body>Sign in</body></html>",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            b"%PDF-1.7\n",
            b"%!PS-Adobe-3.0 EPSF-3.0\n",
            b"PK\x03\x04" + bytes(40),
            b"\x1f\x8b\x08" + bytes(10),
            b"\x80\x02}q\x00.",
            rng.randbytes(200),
            b"\xff\xd8\xff\xe0",
            b"\x89PNG\r\n\x1a\n",
            b"[" * 100_000,
            b"{}",
            b"null",
        )
    )


BYTES: tuple[Callable[[Random, bytes], bytes], ...] = (
    *(flipped, flipped, flipped, cut, cut, spliced, zeroed, padded, other_file),
)


def damage_bytes(rng: Random, path: Path) -> str:
    """Damage a file somehow; returns how."""
    how = rng.choice(BYTES)
    path.write_bytes(how(rng, path.read_bytes()))
    return how.__name__.replace("_", " ")


def replace_entry(rng: Random, path: Path) -> str:
    """Something that is no file, or none that can be read, in a file's place; returns what."""
    what = rng.choice(("nothing", "folder", "dangling link", "link to itself", "empty file"))
    path.unlink()
    if what == "folder":
        path.mkdir()
    elif what == "dangling link":
        path.symlink_to("nowhere")
    elif what == "link to itself":
        path.symlink_to(path.name)
    elif what == "empty file":
        path.touch()
    return what


def damaged_value(rng: Random, value: Any) -> tuple[Any, str]:
    """A JSON or YAML value with one entry changed, removed, added or renamed; and what was done."""
    value = copy.deepcopy(value)
    places = list(_places(value))
    if not places:
        return rng.choice(NASTY_VALUES), "another value"
    holder, key, where = rng.choice(places)
    how = rng.randrange(5)
    if how == 0:
        del holder[key]
        return value, f"without {where}"
    if how == 1 and isinstance(holder, dict):
        new = rng.choice((*NASTY_TEXTS[:8], 1, "unknown", str(key).upper()))
        holder[new] = holder.pop(key)
        return value, f"{where} renamed to {str(new)[:20]!r}"
    if how == 2:
        holder[key] = [holder[key]]
        return value, f"{where} in a list"
    new = rng.choice((*NASTY_VALUES, *NASTY_TEXTS))
    holder[key] = new
    return value, f"{where}={str(new)[:30]!r}"


def _places(value: Any, where: str = "") -> Any:
    if isinstance(value, dict):
        items: Any = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return
    for key, inner in list(items):
        yield value, key, f"{where}.{key}".strip(".")
        yield from _places(inner, f"{where}.{key}".strip("."))
