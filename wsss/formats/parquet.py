"""A data set of Hugging Face's `datasets`: Parquet with images, masks and tags. Needs pyarrow."""

import io
import json
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsss.data.find_images import find_files
from wsss.data.mask_io import encode_mask, indices_of
from wsss.errors import WsssError, first_line
from wsss.formats.instances import Size
from wsss.formats.mask_list import MaskList, MaskToWrite, Writing
from wsss.formats.png_masks import kept_pixels
from wsss.formats.target import Target
from wsss.labels import BACKGROUND, IGNORE_INDEX

PER_FILE = 500
"""Images in a file."""
SUFFIX = ".parquet"
_GROUP = 100  # rows that are read at once


def recognises(folder: Path) -> bool:
    """Whether a folder holds Parquet, by itself or in `data`."""
    return any(any(place.glob(f"*{SUFFIX}")) for place in (folder, folder / "data"))


def read_masks(path: Path) -> MaskList:
    """The column `annotation` of a file, or of all below a folder; images by their `path`.

    Raises:
        WsssError: pyarrow is not installed, or a file can't be read or lacks the columns.
    """
    _, parquet = _pyarrow(f"{path} is Parquet")
    names = sorted(find_files(path, (SUFFIX,))) if path.is_dir() else [""]
    open_file = cache(lambda file: _opened(parquet, file))
    places: dict[str, tuple[Path, int, int]] = {}
    classes: tuple[str, ...] | None = None
    for file in (path / name if name else path for name in names):
        opened = open_file(file)
        classes = classes or _classes(opened)
        for group in range(opened.num_row_groups):
            rows = opened.read_row_group(group, columns=["image.path"]).column("image")
            for row, cell in enumerate(rows.to_pylist()):
                name = (cell or {}).get("path")
                if not name or name in places:
                    raise WsssError(
                        f"Row {row} of row group {group} of {file} "
                        f"{'names the image of another row' if name else 'names no image'}; "
                        "expected the file's name as `path` of the column `image`: add it."
                    )
                places[name] = file, group, row

    @lru_cache(2)
    def group_of(file: Path, group: int) -> list[Any]:
        column = open_file(file).read_row_group(group, columns=["annotation.bytes"])
        return list(column.column("annotation").to_pylist())

    def read(name: str, size: Size) -> NDArray[np.uint8]:
        file, group, row = places[name]
        try:
            data = (group_of(file, group)[row] or {}).get("bytes") or b""
            with Image.open(io.BytesIO(data), formats=("PNG", "TIFF")) as image:
                return indices_of(image, f"The annotation of {name} in {file}")
        except WsssError:
            raise
        except Exception as error:  # decoders raise anything
            raise WsssError(
                f"The annotation of {name} in {file} does not decode ({first_line(error)}); "
                "expected a PNG of class indices in the file: write it again."
            ) from None

    return MaskList(path, tuple(places), read, classes)


def _opened(parquet: Any, file: Path) -> Any:
    try:
        opened = parquet.ParquetFile(file)
        held = {column.path for column in opened.schema}
    except Exception as error:
        raise WsssError(
            f"{file} can't be read as Parquet ({first_line(error)[:120]}); expected a file of "
            "Hugging Face's `datasets`: copy it again."
        ) from None
    missing = {"image.path", "annotation.bytes"} - held
    if missing:
        raise WsssError(
            f"{file} has no {' and no '.join(sorted(missing))}; expected the columns `image` and "
            "`annotation`, as `wsss export-masks --to hf` writes them: rename the columns."
        )
    return opened


def _classes(opened: Any) -> tuple[str, ...] | None:
    """The names of `tags`, from 1 on in masks; None where the file has none."""
    try:
        info = json.loads(opened.schema_arrow.metadata[b"huggingface"])["info"]
        tags = info["features"]["tags"]
        names = tags.get("feature", tags)["names"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def _pyarrow(what: str) -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise WsssError(f"{what}, which needs pyarrow: pip install 'wsss[formats]'.") from None
    return pyarrow, parquet


def write_masks(masks: Iterable[MaskToWrite], how: Writing, to: Target) -> None:
    """Writes `data/train-<n>.parquet` with the columns image, annotation, tags, and a README.md.

    Raises:
        WsssError: pyarrow is not installed, or an image isn't known.
    """
    pyarrow, parquet = _pyarrow("--to hf writes Parquet")
    features = {
        "image": {"_type": "Image"},
        "annotation": {"_type": "Image"},
        "tags": {"_type": "List", "feature": {"names": list(how.classes), "_type": "ClassLabel"}},
    }
    cell = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    schema = pyarrow.schema(
        {"image": cell, "annotation": cell, "tags": pyarrow.list_(pyarrow.int64())},
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    count = 0
    for number, rows in enumerate(_batches(_row(one, how) for one in masks)):
        count += len(rows)
        buffer = io.BytesIO()
        parquet.write_table(pyarrow.Table.from_pylist(rows, schema), buffer, row_group_size=_GROUP)
        to.put(f"data/train-{number:05d}.parquet", buffer.getvalue())
    labels = "".join(
        f"| {value} | {name} |\n" for value, name in enumerate((BACKGROUND, *how.classes))
    )
    to.put(
        "README.md",
        f"---\ntask_categories: [image-segmentation]\n---\n\n{count} images with masks: a class "
        f"index per pixel, {IGNORE_INDEX} where unknown.\n\n| value | class |\n|---|---|\n{labels}",
    )


def _row(one: MaskToWrite, how: Writing) -> dict[str, Any]:
    mask = kept_pixels(one.mask, how)
    return {
        "image": {"bytes": one.known_image().read_bytes(), "path": one.name},
        "annotation": {"bytes": encode_mask(mask), "path": f"{one.id}.png"},
        "tags": sorted({instance.value - 1 for instance in how.instances(mask)}),
    }


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while batch := list(islice(rows, PER_FILE)):
        yield batch
