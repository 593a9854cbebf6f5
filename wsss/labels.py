"""What the values of a mask mean: background 0, classes from 1, 255 for no label."""

import difflib
from collections.abc import Sequence

from wsss.errors import WsssError

IGNORE_INDEX = 255

BACKGROUND = "background"

CLASS_NAMES_FILE = "class_names.txt"

SCORES_FILE = "scores.csv"

MAX_FOREGROUND = IGNORE_INDEX - 1  # 0 is background, 255 is void


def class_lines(names: Sequence[str]) -> list[str]:
    """`0 background`, `1 <first name>` and so on: a mask's values and what they mean."""
    return [f"{value} {name}" for value, name in enumerate((BACKGROUND, *names))]


def check_class_names(names: Sequence[str], where: str) -> tuple[str, ...]:
    """`names` as a tuple, if they can be foreground classes of an 8-bit mask.

    Raises:
        WsssError: none, more than 254, one twice (capitals aside), or one called background.
    """
    if not 1 <= len(names) <= MAX_FOREGROUND:
        raise WsssError(
            f"{where} gives {len(names)} classes; expected 1 to {MAX_FOREGROUND}, the values that "
            "an 8-bit mask has beside background and void: give at least one, or merge classes."
        )
    seen: dict[str, str] = {}
    for name in names:
        # 'Cat' and 'cat' would silently become two classes
        if name.casefold() in seen:
            raise WsssError(
                f"{where} names the class {seen[name.casefold()][:60]!r} and again "
                f"{name[:60]!r}; expected "
                "every class once and in one spelling."
            )
        seen[name.casefold()] = name
    if BACKGROUND in seen:
        raise WsssError(
            f"{where} names a class {seen[BACKGROUND]!r}; expected foreground classes alone, "
            "because background is what no tag names: remove or rename it."
        )
    return tuple(names)


def describe_unknown(tag: str, names: Sequence[str]) -> str:
    """`'dgo'`, which is not a class (…), with the nearest class."""
    near = difflib.get_close_matches(tag, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "fix the tag, or the list of classes"
    shown = ", ".join(names[:25]) + (", …" if len(names) > 25 else "")
    return f"{tag[:60]!r}, which is none of the classes ({shown[:300]}); {hint}"
