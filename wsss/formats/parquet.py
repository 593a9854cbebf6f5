"""A data set of Hugging Face's `datasets`: Parquet with images, masks and tags. Needs pyarrow."""

import io
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from wsss.data.mask_io import encode_mask
from wsss.errors import WsssError
from wsss.formats.mask_list import MaskToWrite, Writing
from wsss.formats.png_masks import kept_pixels
from wsss.formats.target import Target
from wsss.labels import BACKGROUND, IGNORE_INDEX

PER_FILE = 500
"""Images in a file."""


def write_masks(masks: Iterable[MaskToWrite], how: Writing, to: Target) -> None:
    """Writes `data/train-<n>.parquet` with the columns image, annotation, tags, and a README.md.

    Raises:
        WsssError: pyarrow is not installed, or an image isn't known.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise WsssError(
            "--to hf writes Parquet, which needs pyarrow: pip install 'wsss[formats]'."
        ) from None
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
        parquet.write_table(pyarrow.Table.from_pylist(rows, schema), buffer, row_group_size=100)
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
