"""Masks that a person gives, in any of the formats, as PNGs of the run's own classes."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsss.data.image_header import read_header
from wsss.data.images import Sample, TaggedDataset
from wsss.data.mask_io import Track, check_values, write_mask
from wsss.errors import WsssError
from wsss.formats.image_index import index_of, resolve_all
from wsss.formats.mask_registry import read_masks
from wsss.labels import describe_unknown
from wsss.run.fingerprint import path_digest


class GivenMasks:
    """The masks that a file or folder has of a set of images.

    Attributes:
        source: the file or folder.
        samples: the images that it has one of, in the order of the set.
        others: names of images that it has a mask of, and that aren't in the set.
    """

    def __init__(self, source: Path, tagged: TaggedDataset) -> None:
        """Look the images up, without reading the masks of a folder.

        Raises:
            WsssError: the masks can't be read, or two are of one image.
        """
        self.source, self._tagged = source, tagged
        self._listed = listed = read_masks(source)
        by_path = {sample.id + sample.path.suffix: sample for sample in tagged.samples}
        index = index_of(by_path)
        known = [name for name in listed.names if index.hits(name, listed.prefix)]
        paths, problems = resolve_all(known, index, listed.prefix)
        if problems:
            raise WsssError(f"{source} has masks of {problems[0]}; expected one mask an image.")
        self._names: dict[str, str] = {}
        for name, path in paths.items():
            id_ = by_path[path].id
            if self._names.setdefault(id_, name) != name:
                raise WsssError(
                    f"{source} has two masks of the image {id_}, {self._names[id_]} and {name}; "
                    "expected one: take the other away."
                )
        self.samples = tuple(sample for sample in tagged.samples if sample.id in self._names)
        self.others = tuple(name for name in listed.names if name not in paths)
        own = {name: value for value, name in enumerate(tagged.class_names, 1)}
        self._values = np.arange(256, dtype=np.uint8)
        self._foreign: dict[int, str] = {}
        for value, name in enumerate(listed.classes or (), 1):
            if name in own:
                self._values[value] = own[name]
            else:
                self._foreign[value] = name

    def require_some(self) -> None:
        """Refuse masks of which none is of an image of the set.

        Raises:
            WsssError: none is.
        """
        if not self.samples:
            first = next(iter(self._listed.names), None)
            found = f"the first is of {first}" if first else "it has none"
            raise WsssError(
                f"{self.source} has no mask of any of the {len(self._tagged)} images ({found}); "
                "expected masks that are named after them: check the path."
            )

    @property
    def in_place(self) -> Path | None:
        """The folder, where it holds `<id>.png` of the run's own classes already."""
        files = self._listed.files
        if files is None or any(id_ != name for id_, name in self._names.items()):
            return None
        if self._listed.classes not in (None, self._tagged.class_names):
            return None
        first = next(iter(self._names))
        return files[first].parents[first.count("/")]

    def read(self, sample: Sample) -> NDArray[np.uint8]:
        """The mask (H, W) of an image, in the run's classes.

        Raises:
            WsssError: it can't be read, has another size, or a class that isn't one of the run.
        """
        header = read_header(sample.path)
        size = (header.height, header.width)
        name = self._names[sample.id]
        mask = self._listed.read(name, size)
        if mask.shape != size:
            raise WsssError(
                f"The mask of {sample.id} in {self.source} is {mask.shape[1]}×{mask.shape[0]} and "
                f"its image {size[1]}×{size[0]} (width × height); expected the same size: export "
                "it at the image's size."
            )
        place = self.source / f"{name}.png" if self._listed.files else self.source
        check_values(place, mask, self._listed.classes or self._tagged.class_names)
        for value, label in self._foreign.items():
            if (mask == value).any():
                raise WsssError(
                    f"The mask of {sample.id} in {self.source} has the class "
                    f"{describe_unknown(label, self._tagged.class_names)}."
                )
        return self._values[mask]

    def _digest(self) -> str:
        """Of what the masks are made of."""
        made = f"{path_digest(self.source)} {self._tagged.class_names}".encode()
        return hashlib.sha256(made).hexdigest()[:16]

    def problems(self) -> list[str]:
        """What is wrong with the masks, each by itself."""
        found = []
        for sample in self.samples:
            try:
                self.read(sample)
            except WsssError as error:
                found.append(str(error))
        return found

    def write(self, folder: Path, track: Track, title: str) -> Path:
        """Write `<id>.png` of every mask, unless the source is such a folder.

        Args:
            folder: below which they go, in a folder by the digest of what they are made of; what
                is there already stays.
            track: shows the progress.
            title: shown in it.

        Returns:
            The folder that they lie in.

        Raises:
            WsssError: as `read`, or they can't be written.
        """
        place = self.in_place
        to = place or folder / self._digest()
        for sample in track(self.samples, title, len(self.samples)):
            path = to / f"{sample.id}.png"
            if place is not None:
                self.read(sample)
            elif not path.is_file():
                write_mask(path, self.read(sample))
        return to
