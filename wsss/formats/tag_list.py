"""What a file or a folder says is in which image, whatever its format."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from re import Pattern

from wsss.errors import WsssError
from wsss.formats.tag_cell import MAX_LENGTH
from wsss.formats.text import clean, excerpt
from wsss.formats.unread import Unread
from wsss.labels import BACKGROUND, check_class_names, describe_unknown


@dataclass(frozen=True)
class TagList:
    """Images with their tags, by names that are still to be looked up on disk.

    Attributes:
        path: file or folder that they come from.
        rows: image name as it stands there → its tags, cleaned, each once.
        places: tag → where it stands first, such as `Line 3 of tags.csv`.
        classes: all classes in the format's own order of mask values; None where it has none.
        prefix: what a program may have put in front of a file's name.
        unread: its columns that tell nothing of tags.
    """

    path: Path
    rows: Mapping[str, tuple[str, ...]]
    places: Mapping[str, str]
    classes: tuple[str, ...] | None = None
    prefix: Pattern[str] | None = None
    unread: tuple[Unread, ...] = ()

    def names(self, class_names: Sequence[str] | None = None) -> tuple[str, ...]:
        """The classes in the order of mask values: those given, the format's, or the sorted tags.

        Raises:
            WsssError: they can't be the classes of a mask.
        """
        if class_names:
            return check_class_names([clean(name) for name in class_names], "data.class_names")
        return check_class_names(self.classes or sorted(self.places), str(self.path))

    def unknown(self, names: Sequence[str]) -> list[str]:
        """Each tag that is not a class, with the first place that has it and the nearest class."""
        return [
            f"{place} has the tag {describe_unknown(tag, names)}"
            for tag, place in sorted(self.places.items())
            if tag not in names
        ]


class Collector:
    """Rows and places of a `TagList`, gathered entry by entry; equal tags are kept once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, tuple[str, ...]] = {}
        self.places: dict[str, str] = {}
        self._kept: dict[tuple[str, ...], tuple[str, ...]] = {}

    def add(self, image: str, tags: Iterable[str], place: str) -> None:
        """Add an entry; tags of an image that has some already are added up.

        Background is no tag: programs that paint masks list it as a class.

        Args:
            image: its name.
            tags: as they stand there.
            place: where they stand.

        Raises:
            WsssError: a tag can't be the name of a class.
        """
        written = tuple(tags)
        kept = self._kept.get(written)
        if kept is None:
            kept = self._kept[written] = without_background(self._checked(written, place))
            for tag in kept:
                self.places.setdefault(tag, place)
        former = self.rows.get(image)
        if former is None or former == kept:
            self.rows[image] = kept
        else:
            both = tuple(dict.fromkeys((*former, *kept)))
            self.rows[image] = self._kept.setdefault(both, both)

    def done(
        self, classes: Iterable[str] | None = None, prefix: Pattern[str] | None = None
    ) -> TagList:
        """The list.

        Raises:
            WsssError: no image was added.
        """
        if not self.rows:
            raise WsssError(f"{self.path} lists no image; expected one at least: check the path.")
        listed = None if classes is None else without_background(map(clean, classes))
        return TagList(self.path, self.rows, self.places, listed, prefix)

    def _checked(self, tags: Sequence[str], place: str) -> list[str]:
        cleaned = [clean(tag) for tag in tags]
        for tag in cleaned:
            if not tag or len(tag) > MAX_LENGTH or not tag.isprintable():
                raise WsssError(
                    f"{place} has the tag {excerpt(tag)}; expected the name of a class, of 1 to "
                    f"{MAX_LENGTH} characters: correct it."
                )
        return cleaned


def without_background(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags, each once, without the background."""
    return tuple(dict.fromkeys(tag for tag in tags if tag.casefold() != BACKGROUND))
