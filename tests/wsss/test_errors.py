"""Sentences: one line of bounded length, whatever they quote."""

from wsss.errors import LONGEST, brief, on_one_line


def test_on_one_line_shows_control_characters_and_cuts_the_middle() -> None:
    assert on_one_line("a\nb \x1b[31m é") == "a\\nb \\x1b[31m é"
    long = on_one_line("start " + "x" * 50_000 + " end")
    assert len(long) <= LONGEST and long.startswith("start x") and long.endswith("x end")


def test_brief_of_any_value_is_short() -> None:
    assert brief(3) == "3" and brief("a b") == "'a b'" and brief(["a", 1]) == "['a', 1]"
    bomb: list[object] = ["x", "x"]
    for _ in range(40):
        bomb = [bomb] * 10
    for value in ("x" * 10_000, bomb, dict.fromkeys(range(1000)), list(range(1000))):
        assert len(brief(value)) <= 401
    assert len(brief("x" * 10_000)) == 100
