"""The one kind of error that a user can cause and fix: one sentence."""


class WsssError(Exception):
    """Bad input, reported in one sentence: what was found, where, what was expected, what to do.

    The CLI prints the sentence and exits with code 2.
    """


def first_line(error: BaseException) -> str:
    """What another library's error says, for the inside of a sentence: a line, or its name."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".:")
