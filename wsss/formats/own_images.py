"""One's own images: a folder of images, and their tags in any of the formats. Knows no masks."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from wsss.data.find_images import without_suffix
from wsss.data.images import Sample, TaggedDataset
from wsss.errors import WsssError
from wsss.formats.image_index import index_images, resolve_all
from wsss.formats.registry import read_tags


def read_folder(
    images: Path,
    tags: Path,
    class_names: Sequence[str] | None = None,
    tags_format: str | None = None,
) -> TaggedDataset:
    """Reads one's own images and tags.

    An image is named by its path below `images`, with or without its extension, with leading
    folders too many, or by its bare name where only one image has it. Images on disk that the
    tags do not name are left out.

    Args:
        images: folder, searched with its subfolders, linked ones too.
        tags: file or folder; see `registry` for the formats.
        class_names: foreground classes in the order of mask values; the format's own, or the
            sorted tags, if left out.
        tags_format: name of the format; told by the file itself if left out.

    Returns:
        The images in the order of the tags; id = path below `images` without extension.

    Raises:
        WsssError: an image or a class is missing, ambiguous or unknown; says which and where.
    """
    listed = read_tags(tags, class_names, tags_format)
    names = listed.names(class_names)
    unknown = listed.unknown(names)
    if unknown:
        raise WsssError(f"{unknown[0]}.")
    paths, problems = resolve_all(listed.rows, index_images(images), listed.prefix)
    if problems:
        more = f" (and {len(problems) - 1} more like it)" if len(problems) > 1 else ""
        raise WsssError(f"{tags} names {problems[0]}{more}, looking in {images}.")
    values = {name: value for value, name in enumerate(names)}
    numbers = {
        tags: tuple(sorted(values[tag] for tag in tags)) for tags in set(listed.rows.values())
    }
    found: dict[str, tuple[int, ...]] = defaultdict(tuple)
    for name, path in paths.items():
        own = numbers[listed.rows[name]]
        # several rows may name one image
        found[path] = tuple(sorted({*found[path], *own})) if path in found else own
    samples = [Sample(without_suffix(path), images / path, own) for path, own in found.items()]
    return TaggedDataset(names, tuple(samples), listed.unread)
