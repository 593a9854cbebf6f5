"""Which image a name in a table means: its path, with or without suffix and leading folders."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from wsss.data.find_images import describe_left_out, find_images, likely_images, without_suffix
from wsss.data.image_header import IMAGE_SUFFIXES
from wsss.errors import WsssError
from wsss.formats.text import clean, excerpt


@dataclass(frozen=True)
class ImageIndex:
    """The images below a folder, and every way to name them.

    Attributes:
        folder: that was searched.
        names: a way to name an image → the relative paths that it may mean.
    """

    folder: Path
    names: dict[str, set[str]]

    def hits(self, name: str) -> set[str]:
        """Images meant by `name`; an exact path first, then with leading folders taken off."""
        cleaned = clean(name).replace("\\", "/")
        return self._hits(cleaned) or self._hits(cleaned.casefold())

    def _hits(self, name: str) -> set[str]:
        parts = PurePosixPath(name).parts
        for start in range(len(parts)):
            key = "/".join(parts[start:])
            hits = self.names.get(key, set())
            if hits:
                whole = {path for path in hits if key == clean(path)}
                hits = (
                    whole or {path for path in hits if key == clean(without_suffix(path))} or hits
                )
                return self._likely(hits)
        return set()

    def _likely(self, hits: set[str]) -> set[str]:
        if len({without_suffix(path) for path in hits}) > 1:
            return hits
        kept = likely_images([self.folder / path for path in sorted(hits)])
        return {path for path in hits if self.folder / path in kept}


def index_images(images: Path) -> ImageIndex:
    """Every way to name the images below a folder.

    Raises:
        WsssError: the folder is missing or holds no image.
    """
    if not images.is_dir():
        raise WsssError(f"The image folder {images} does not exist; name the folder of images.")
    found = find_images(images)
    if not found.paths:
        others = describe_left_out(found.left_out)
        raise WsssError(
            f"{images} holds no image{f', but {others}' if others else ''}; expected "
            f"{', '.join(IMAGE_SUFFIXES)} files: convert them, or name another folder."
        )
    names: dict[str, set[str]] = defaultdict(set)
    for path in found.paths:
        file = PurePosixPath(path)
        for name in (path, without_suffix(path), file.name, without_suffix(file.name)):
            names[clean(name)].add(path)
            names[clean(name).casefold()].add(path)
    return ImageIndex(images, dict(names))


def resolve_all(rows: Iterable[str], index: ImageIndex) -> tuple[dict[str, str], list[str]]:
    """Which image each row means.

    Args:
        rows: names of images as the table has them.
        index: of the folder.

    Returns:
        Image name → path relative to the folder, and what is wrong with the names that mean no
        image, several, or one whose id another image has.
    """
    paths: dict[str, str] = {}
    problems: list[str] = []
    by_id: dict[str, str] = {}
    for name in rows:
        hits = index.hits(name)
        if not hits:
            problems.append(f"the image {excerpt(name, 100)}, which does not exist")
        elif len(hits) > 1:
            shown = " or ".join(sorted(hits)[:3])
            problems.append(f"the image {excerpt(name, 100)}, which may be {shown}")
        else:
            (path,) = hits
            id_ = without_suffix(path)
            if by_id.setdefault(id_, path) != path:
                problems.append(
                    f"the images {by_id[id_]} and {path}, whose masks would have one name"
                )
            paths[name] = path
    return paths, problems
