"""What a data set holds, in a table that is read before anything is trained."""

from dataclasses import dataclass
from pathlib import Path

from wsss.config import DataConfig
from wsss.data.check_labels import label_warnings, listed
from wsss.data.find_images import describe_left_out, find_images, without_suffix
from wsss.data.images import TaggedDataset
from wsss.formats.coco_layout import image_folder, is_coco
from wsss.formats.voc import read_split_list, split_list_path


@dataclass(frozen=True)
class DataDescription:
    """Images and classes of a data set.

    Attributes:
        images: number of images with tags or known to have none.
        class_counts: every class with the number of its images, in the order of mask values.
        without_tags: number of images that no class is in.
        unlisted: images in the folder that no table or list names, relative to it.
        left_out: suffix → number of files in the folder that are no images.
        warnings: what in the tags will keep a classifier from learning, and splits that aren't kept
            apart.
        unread: names of columns of the list that are not read.
    """

    images: int
    class_counts: tuple[tuple[str, int], ...]
    without_tags: int
    unlisted: tuple[str, ...]
    left_out: dict[str, int]
    warnings: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The table, then a line for everything that is left out, then the warnings."""
        width = max(len(name) for name, _ in self.class_counts)
        lines = [f"{self.images} images of {len(self.class_counts)} classes"]
        lines += [
            f"{value:>5} {name:<{width}} {count:>6} images"
            for value, (name, count) in enumerate(self.class_counts, 1)
        ]
        lines.append(f"{'':>5} {'(no class)':<{width}} {self.without_tags:>6} images")
        if self.unlisted:
            shown = ", ".join(self.unlisted[:3]) + (", …" if len(self.unlisted) > 3 else "")
            lines.append(f"{len(self.unlisted)} images in the folder are not listed: {shown}")
        if self.left_out:
            lines.append(f"no images, left out: {describe_left_out(self.left_out)}")
        if self.unread:
            lines.append(f"columns of the tags that are not read: {listed(self.unread)}")
        return lines + [f"warning: {warning}" for warning in self.warnings]


def describe_data(
    data: DataConfig, tagged: TaggedDataset, holdout: float = 0.0, seed: int = 0
) -> DataDescription:
    """What a config's data hold.

    Args:
        data: where they are.
        tagged: its training images.
        holdout: share that is held back for the mAP.
        seed: of the draw.
    """
    coco = data.root is not None and is_coco(data.root)
    folder = data.images or Path(data.root or ".") / "JPEGImages"
    if data.root is not None and coco:
        folder = image_folder(data.root, data.train_split)
    found = find_images(folder)
    known = {sample.id for sample in tagged.samples}
    if data.root is not None and not coco:
        for path in split_list_path(data.root, "any").parent.glob("*.txt"):
            known |= set(read_split_list(path))
    matrix = tagged.tag_matrix()
    counts = [int(count) for count in matrix.sum(0)]
    return DataDescription(
        len(tagged),
        tuple(zip(tagged.class_names, counts, strict=True)),
        int((matrix.sum(1) == 0).sum()),
        tuple(path for path in found.paths if without_suffix(path) not in known),
        found.left_out,
        (
            *label_warnings(tagged, holdout, seed),
            *_unknown(data, tagged),
            *(_splits(tagged) if data.root is None else ()),
        ),
        tuple(column.name for column in tagged.unread),
    )


def _unknown(data: DataConfig, tagged: TaggedDataset) -> list[str]:
    """A sentence on images of which nothing can be known."""
    untagged = [sample.id for sample in tagged.samples if not sample.tags]
    if data.background or not untagged:
        return []
    return [
        f"{len(untagged)} images have no tag, {untagged[0]} first, and by data.background=false "
        "every pixel is one of the tags: their masks are 255 all over. Tag what they show."
    ]


_TRAINING = ("train", "training")
_KEPT = ("val", "valid", "validation", "test", "testing")


def _splits(tagged: TaggedDataset) -> list[str]:
    """Sentences on splits that one's own images have, all of which are trained on."""
    warnings = [
        f"The column {column.name} ({listed(column.splits)}) is not read: the images of all of "
        "them are trained on. Take the rows out that are kept for a test."
        for column in tagged.unread
        if column.splits
    ]
    folders = {part for sample in tagged.samples for part in sample.id.split("/")[:-1]}
    train, kept = (
        sorted(folder for folder in folders if folder.casefold() in names)
        for names in (_TRAINING, _KEPT)
    )
    if train and kept:
        warnings.append(
            f"Images lie in {listed((*train, *kept))}, and all of them are trained on. Name the "
            "training images alone if the others are kept for a test."
        )
    return warnings
