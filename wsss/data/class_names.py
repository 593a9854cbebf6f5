"""Which value of a mask is which class, readable beside the masks."""

from collections.abc import Sequence
from pathlib import Path

from wsss.run_dir import write_text
from wsss.voc import CLASS_NAMES_FILE, class_lines


def write_class_names(folder: Path, names: Sequence[str]) -> None:
    """Write `class_names.txt`: `0 background`, `1 <first class>`, …; kept where it says so.

    Args:
        folder: of masks.
        names: foreground classes in the order of their values.
    """
    path, text = folder / CLASS_NAMES_FILE, "\n".join(class_lines(names)) + "\n"
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)
