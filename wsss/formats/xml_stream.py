"""XML files of any size, an element below the root at a time; nothing in them expands."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from xml.parsers import expat

from wsss.errors import WsssError, first_line

_CHUNK = 1 << 20
_DEEPEST = 100
LARGEST = 1 << 28
"""Bytes that one element may have."""


def stream_xml(path: Path) -> Iterator[ET.Element]:
    """The elements right below the root, each whole, in their order.

    Args:
        path: of the file.

    Raises:
        WsssError: the file can't be read, is no XML, declares a document type (whose entities may
            expand without end), or is nested deeper than any annotation.
    """
    tree = _Elements(path)
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                tree.feed(chunk)
                yield from tree.taken()
            tree.feed(b"", last=True)
            yield from tree.taken()
    except OSError as error:
        raise WsssError(
            f"The annotations {path} cannot be read ({error.strerror}); expected an XML file: "
            "check the path."
        ) from None


class _Elements:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self.refuse
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.text
        self.builder = ET.TreeBuilder()
        self.depth = self.held = 0
        self.finished: list[ET.Element] = []

    def feed(self, data: bytes, last: bool = False) -> None:
        self.held += len(data)
        if self.held > LARGEST:
            raise self.error(f"an element has more than {LARGEST >> 20} MiB")
        try:
            self.parser.Parse(data, last)
        except (expat.ExpatError, ValueError, LookupError) as error:
            raise self.error(first_line(error)) from None

    def taken(self) -> list[ET.Element]:
        """What is finished since the last time."""
        found, self.finished = self.finished, []
        self.held = 0 if found else self.held
        return found

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self.error(f"elements are nested deeper than {_DEEPEST}")
        if self.depth > 1:
            self.builder.start(name, attributes)

    def end(self, name: str) -> None:
        self.depth -= 1
        if self.depth >= 1:
            self.builder.end(name)
        if self.depth == 1:
            self.finished.append(self.builder.close())
            self.builder = ET.TreeBuilder()

    def text(self, data: str) -> None:
        if self.depth > 1:
            self.builder.data(data)

    def refuse(self, *_: object) -> None:
        raise self.error(
            "it declares a document type, whose entities may expand without end: remove it"
        )

    def error(self, reason: str) -> WsssError:
        line = self.parser.CurrentLineNumber
        return WsssError(
            f"Line {line} of {self.path} can't be read ({reason}); expected XML as its program "
            "exports it: export or copy it again."
        )
