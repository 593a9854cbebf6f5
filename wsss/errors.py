"""The one kind of error that a user can cause and fix: one sentence."""

import reprlib

LONGEST = 1500
"""Characters of a sentence: what is longer echoes a file."""


class WsssError(Exception):
    """Bad input, reported in one sentence: what was found, where, what was expected, what to do.

    The CLI prints the sentence and exits with code 2.
    """


def first_line(error: BaseException) -> str:
    """What another library's error says, for the inside of a sentence: a line, or its name."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".:")


def brief(value: object) -> str:
    """A value of any kind and size for the inside of a sentence: its repr, cut within."""
    cutter = reprlib.Repr()
    cutter.maxstring = cutter.maxother = 100
    cutter.maxdict = cutter.maxlist = cutter.maxtuple = 8
    cutter.maxlevel = 3
    text = cutter.repr(value)
    return text if len(text) <= 400 else f"{text[:400]}…"


def on_one_line(sentence: str) -> str:
    """A sentence as a terminal shows it: a line, without control characters, cut in its middle."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in sentence)
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST // 2]} … {text[3 - LONGEST // 2 :]}"
