"""Text files that people have: how they are decoded, and what in them can't be seen."""

import re
import unicodedata
from pathlib import Path

from wsss.errors import WsssError

_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)

# what shows nothing: soft hyphen, zero-width space, word joiner, marks of direction and of order
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\x00-\x08\x7f]")
# joiners make a letter or an emoji of its neighbours; at an end they join nothing
_JOINERS = "\u200c\u200d"


def read_text(path: Path, what: str) -> str:
    """A text file in UTF-8, or in UTF-16 or UTF-32 as Windows programs save it.

    Args:
        path: the file.
        what: `The tags`, for the sentence.

    Raises:
        WsssError: the file can't be read, or is in an encoding that can't be told for sure.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise WsssError(
            f"{what} {path} cannot be read (No such file or directory); expected a text file: "
            "check the path."
        ) from None
    except OSError as error:
        raise WsssError(
            f"{what} {path} cannot be read ({error.strerror}); expected a text file: check it."
        ) from error
    return decode(data, str(path))


def decode(data: bytes, where: str) -> str:
    """Bytes of a text file as text; see `read_text`."""
    try:
        return data.decode(encoding_of(data))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise WsssError(
            f"{where} is not UTF-8: line {line} has the byte {data[error.start]:#04x}; expected "
            "UTF-8 text: save it again as UTF-8 (in a spreadsheet, 'CSV UTF-8')."
        ) from None


def encoding_of(start: bytes) -> str:
    """The encoding of a text file by its first bytes: its mark, or where its zeros are."""
    marked = next((name for mark, name in _MARKS if start.startswith(mark)), None)
    return marked or _wide(start) or "utf-8"


def _wide(data: bytes) -> str | None:
    """UTF-16 without its mark: every other byte of mostly Latin text is 0."""
    start = data[:1000]
    even, odd = start[::2].count(0), start[1::2].count(0)
    if max(even, odd) < max(len(start) // 4, 1):
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def clean(text: str) -> str:
    """One spelling of what looks the same.

    Accents are composed (macOS takes them apart), blanks of any kind become one space each, and
    characters that show nothing go.
    """
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    text = _INVISIBLE.sub("", unicodedata.normalize("NFC", text))
    return " ".join(text.split()).strip(_JOINERS + " ")


def excerpt(text: object, length: int = 60) -> str:
    """A value for the inside of a sentence: quoted, on one line, cut to a length."""
    shown = str(text)
    return repr(shown if len(shown) <= length else f"{shown[: length - 1]}…")
