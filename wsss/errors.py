"""The one kind of error that a user can cause, and mend: a sentence."""


class WsssError(Exception):
    """Bad input, told in one sentence: what was found, where, what was expected, what to do.

    The CLI prints the sentence and exits with code 2.
    """
