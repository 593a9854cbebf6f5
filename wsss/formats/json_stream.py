"""JSON files of any size, an element at a time: no more than one element is in memory.

Python's own decoder finds where an element ends, in one pass and within its limit of nesting. (A
streaming parser that hands out events, ijson, passes a file once per key, and takes all memory for
a file of deep brackets.)
"""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from wsss.errors import WsssError
from wsss.formats.text import encoding_of, excerpt

_CHUNK = 1 << 20
LARGEST = 1 << 28
"""Characters that one element may have."""

_COMMA = re.compile(r"[ \t\r\n]*,[ \t\r\n]*(?=[^ \t\r\n\]])")
_LONGEST_WORD = 16  # characters that may be cut off without a trace: -Infinity, \\u00e4, 1.5e


def stream_json(path: Path, what: str) -> Iterator[tuple[str, Any]]:
    """The elements of every list that stands at the top of a file.

    Args:
        path: of a file that holds an object with lists in it, or a list.
        what: `The tags`, for the sentence.

    Yields:
        (key, element) in the order of the file: of `{"images": [a, b]}` (images, a) and
        (images, b), of a list (empty text, element). What is no list is passed over.

    Raises:
        WsssError: the file can't be read, is no JSON, is nested too deep, or holds no list.
    """
    try:
        with path.open("rb") as file:
            yield from _Reader(file, path).elements()
    except OSError as error:
        raise WsssError(
            f"{what} {path} cannot be read ({error.strerror}); expected a JSON file: check the "
            "path."
        ) from None


class _Reader:
    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file, self.path = file, path
        start = file.read(1000)
        file.seek(0)
        self.decode = codecs.getincrementaldecoder(encoding_of(start))()
        self.text, self.at, self.ended = "", 0, False
        self.place: str | tuple[int, str] = "its start"
        self.scan = json.JSONDecoder().raw_decode

    def elements(self) -> Iterator[tuple[str, Any]]:
        first = self.skip_to_mark()
        if first == "[":
            yield from self.list_of("")
        elif first == "{":
            yield from self.object()
        else:
            raise self.error(f"it starts with {excerpt(self.text[self.at : self.at + 20])}")
        if self.skip_to_mark():
            raise self.error("something follows its end")

    def object(self) -> Iterator[tuple[str, Any]]:
        self.at += 1
        mark = self.skip_to_mark()
        while mark != "}":
            if mark != '"':
                raise self.error("a key is missing")
            key = str(self.value())
            self.place = f"the key {excerpt(key)}"
            if self.skip_to_mark() != ":":
                raise self.error("a colon is missing")
            self.at += 1
            if self.skip_to_mark() == "[":
                yield from self.list_of(key)
            else:
                self.value()
            mark = self.after_comma("}")
        self.at += 1

    def list_of(self, key: str) -> Iterator[tuple[str, Any]]:
        self.at += 1
        number, where = 0, f" of {excerpt(key)}" if key else ""
        mark = self.skip_to_mark()
        while mark != "]":
            number += 1
            self.place = (number, where)
            yield key, self.value()
            comma = _COMMA.match(self.text, self.at)
            if comma is not None:  # of millions of elements nearly all
                self.at = comma.end()
            else:
                mark = self.after_comma("]")
        self.at += 1

    def after_comma(self, closing: str) -> str:
        """The next mark behind a comma, or the closing bracket."""
        mark = self.skip_to_mark()
        if mark == closing:
            return mark
        if mark != ",":
            raise self.error("it ends early" if not mark else f"a comma or {closing} is missing")
        self.at += 1
        mark = self.skip_to_mark()
        if mark == closing:
            raise self.error(f"nothing follows a comma before {closing}")
        return mark

    def skip_to_mark(self) -> str:
        """Pass over blanks; the character that stands there, none at the end."""
        while True:
            size = len(self.text)
            while self.at < size and self.text[self.at] in " \t\r\n":
                self.at += 1
            if self.at < size:
                return self.text[self.at]
            if not self.more():
                return ""

    def value(self) -> Any:
        while True:
            try:
                value, end = self.scan(self.text, self.at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated") or (
                    error.pos >= len(self.text) - _LONGEST_WORD
                )
                if cut and self.more():
                    continue
                raise self.error("it ends early" if cut and self.ended else error.msg) from None
            except RecursionError:
                raise self.error("brackets are nested too deep") from None
            except ValueError as error:  # a number of thousands of digits
                raise self.error(str(error)) from None
            # a number may go on: 12 of 12.5e-3
            cut = len(self.text) - end <= (2 if isinstance(value, int | float) else 0)
            if cut and self.more():
                continue
            self.at = end
            return value

    def more(self) -> bool:
        """Read on, twice as much each time that it isn't enough; whether there was anything."""
        if self.ended:
            return False
        rest = self.text[self.at :]
        if len(rest) > LARGEST:
            raise self.error(f"it has more than {LARGEST >> 20} million characters")
        chunk = self.file.read(max(_CHUNK, len(rest)))
        self.ended = not chunk
        try:
            text = self.decode.decode(chunk, final=self.ended)
        except UnicodeDecodeError as error:
            raise self.error(f"the byte {error.object[error.start]:#04x} is no UTF-8") from None
        if chunk:  # else nothing moves: where a value ends was found already
            self.text, self.at = rest + text, 0
        return bool(chunk)

    def error(self, reason: str) -> WsssError:
        place = self.place
        shown = place if isinstance(place, str) else f"element {place[0]}{place[1]}"
        return WsssError(
            f"{self.path} is no whole JSON file: at {shown} {reason}; expected JSON as its "
            "program exports it: export or copy it again."
        )
