"""Every kind of input by its name."""

from robustness.case import Kind
from robustness.kind_formats import exports
from robustness.kind_images import images
from robustness.kind_masks import archives, maps, masks
from robustness.kind_paths import arguments, formats, names
from robustness.kind_run import checkpoints, run_files
from robustness.kind_settings import settings
from robustness.kind_tables import tables
from robustness.kind_voc import annotations, class_names, lists
from robustness.kind_weights import foreign, models

KINDS: dict[str, Kind] = {
    "images": images,
    "other files among images": formats,
    "names of images": names,
    "tables of tags": tables,
    "exports of other tools": exports,
    "annotations": annotations,
    "lists": lists,
    "class names": class_names,
    "settings": settings,
    "paths": arguments,
    "files of a run": run_files,
    "checkpoints": checkpoints,
    "foreign weights": foreign,
    "models": models,
    "masks": masks,
    "probability maps": maps,
    "archives": archives,
}
