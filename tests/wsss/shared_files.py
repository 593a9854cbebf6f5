"""Files that lie beside a checkout, in `shared/` of a folder above it."""

from pathlib import Path


def shared(name: str) -> Path:
    """The path of `shared/<name>`; one that doesn't exist where there is no such folder."""
    places = [folder / "shared" / name for folder in Path(__file__).parents]
    return next((place for place in places if place.exists()), Path("no-shared-folder") / name)
