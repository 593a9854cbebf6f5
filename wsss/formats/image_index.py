"""Which image a name in a table means: its path, with or without suffix and leading folders."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from re import Pattern

from wsss.data.find_images import describe_left_out, find_images, likely_images, without_suffix
from wsss.data.image_header import IMAGE_SUFFIXES
from wsss.errors import WsssError
from wsss.formats.text import clean, excerpt

Hits = tuple[str, ...]


@dataclass(frozen=True)
class ImageIndex:
    """The images below a folder, and every way to name them.

    A million images are looked up by one table of their paths; that of bare names is made only
    where a name is no path.

    Attributes:
        folder: that was searched.
        by_path: folded path without suffix → relative paths of the images that have it.
    """

    folder: Path
    by_path: dict[str, str | Hits]

    @cached_property
    def by_name(self) -> dict[str, str | Hits]:
        """The same by bare names."""
        paths = (path for known in self.by_path.values() for path in _all(known))
        return _table(paths, lambda path: path.rpartition("/")[2])

    def hits(self, name: str, prefix: Pattern[str] | None = None) -> set[str]:
        """Images meant by `name`; an exact path first, then with leading folders taken off.

        Args:
            name: path or bare name, with or without suffix.
            prefix: what may stand in front of a file's name that the file itself lacks.
        """
        cleaned = clean(name).replace("\\", "/")
        if self.by_path.get(_fold(cleaned)) == cleaned:  # of a million names nearly all
            return {cleaned}
        found = self._hits(cleaned) or self._hits(cleaned.casefold())
        return self.hits(_without(prefix, name)) if prefix and not found else found

    def _hits(self, name: str) -> set[str]:
        parts = PurePosixPath(name).parts
        for start in range(len(parts)):
            hits = self._named("/".join(parts[start:]))
            if hits:
                return self._likely(hits)
        return set()

    def _named(self, key: str) -> set[str]:
        """By path with suffix, else by path without it, else by capitals and bare names."""
        near = _find(self.by_path, key)
        for hits in (
            {path for path in near if key == clean(path)},
            {path for path in near if key == clean(without_suffix(path))},
        ):
            if hits:
                return hits
        if "/" not in key:
            near += _find(self.by_name, key)
        return {path for path in near if _names(key, path)}

    def _likely(self, hits: set[str]) -> set[str]:
        if len(hits) == 1 or len({without_suffix(path) for path in hits}) > 1:
            return hits
        kept = likely_images([self.folder / path for path in sorted(hits)])
        return {path for path in hits if self.folder / path in kept}


def _fold(name: str) -> str:
    """One key of what only capitals, accents and a suffix tell apart."""
    return clean(clean(without_suffix(name)).casefold())


def _all(known: str | Hits) -> Hits:
    return (known,) if isinstance(known, str) else known


def _find(table: dict[str, str | Hits], key: str) -> Hits:
    """Images that may have a name, with or without a suffix."""
    whole = clean(key.casefold())
    return tuple(path for k in {whole, _fold(key)} for path in _all(table.get(k, ())))


def _names(key: str, path: str) -> bool:
    """Whether a key is an image's path or bare name, with or without suffix, or folded so."""
    bare = path.rpartition("/")[2]
    forms = [clean(form) for form in (path, without_suffix(path), bare, without_suffix(bare))]
    return key in forms or any(key == form.casefold() for form in forms)


def _table(paths: Iterable[str], name: Callable[[str], str]) -> dict[str, str | Hits]:
    table: dict[str, str | Hits] = {}
    for path in paths:
        key = _fold(name(path))
        table[key] = (*_all(table[key]), path) if key in table else path
    return table


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
    return index_of(found.paths, images)


def index_of(paths: Iterable[str], folder: Path = Path()) -> ImageIndex:
    """Every way to name images by their paths relative to a folder."""
    return ImageIndex(folder, _table(paths, lambda path: path))


def resolve_all(
    rows: Iterable[str], index: ImageIndex, prefix: Pattern[str] | None = None
) -> tuple[dict[str, str], list[str]]:
    """Which image each row means.

    Args:
        rows: names of images as the table has them.
        index: of the folder.
        prefix: what may stand in front of a file's name that the file itself lacks.

    Returns:
        Image name → path relative to the folder, and what is wrong with the names that mean no
        image, several, or one whose id another image has.
    """
    paths: dict[str, str] = {}
    problems: list[str] = []
    by_id: dict[str, str] = {}
    for name in rows:
        hits = index.hits(name, prefix)
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


def _without(prefix: Pattern[str], name: str) -> str:
    file = PurePosixPath(name)
    return str(file.with_name(prefix.sub("", file.name, count=1) or file.name))
