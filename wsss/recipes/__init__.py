"""The recipes that come with the package: `wsss run NAME` finds them by name.

In a checkout they also stand in `configs/`, as links.
"""

from importlib.resources import files
from pathlib import Path

FOLDER = Path(str(files(__name__)))


def names() -> tuple[str, ...]:
    """Names of the packaged recipes, in order."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def find(path: Path) -> Path:
    """The file of the packaged recipe that is called so, with or without .yaml.

    A path that exists wins, and one that names no recipe is returned as it is.
    """
    recipe = path.name.removesuffix(".yaml")
    if path.exists() or path != Path(path.name) or recipe not in names():
        return path
    return FOLDER / f"{recipe}.yaml"
