"""Where `pretrained=True` finds the weights of a model.

In this order: a file that ships in `glmix/weights/`, the folder `$GLMIX_WEIGHTS`, the cache of
`torch.hub`. The SHA-256 of a file from the last two is recorded beside it (or in the cache, where
that folder cannot be written) when it is first seen, and compared from then on.
"""

import hashlib
import os
from pathlib import Path

import torch

PACKAGED = Path(__file__).parent / "weights"
SUFFIXES = (".safetensors", ".pth")
SOURCE = "https://github.com/rayleizhu/GLMix"


def find_weights(name: str) -> Path:
    """The file that holds the weights of a registered model.

    Args:
        name: of the model, such as `glnet_4g`; files are `<name>.safetensors` or `<name>.pth`.

    Returns:
        An existing file.

    Raises:
        ValueError: if there is none, or if it is not the file that was first seen there.
    """
    packaged = PACKAGED / f"{name}.safetensors"
    if packaged.is_file():
        return packaged
    folders = search_folders()
    for folder in folders:
        for suffix in SUFFIXES:
            path = folder / f"{name}{suffix}"
            if path.is_file():
                _check_hash(path)
                return path
    paths = " or ".join(str(folder / f"{name}.pth") for folder in folders)
    raise ValueError(
        f"No weights of {name} are on this machine: its share links cannot be followed by a "
        f"program, so get {name}.pth from the model table of {SOURCE} and save it as {paths}, "
        "name another folder in GLMIX_WEIGHTS, or pass checkpoint_path."
    )


def search_folders() -> list[Path]:
    """Folders where released files are looked for: `$GLMIX_WEIGHTS` if set, torch.hub's cache."""
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    named = os.environ.get("GLMIX_WEIGHTS")
    return [Path(named).expanduser(), cache] if named else [cache]


def _check_hash(path: Path) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    records = [path.with_name(f"{path.name}.sha256"), cache / f"{path.name}.sha256"]
    for record in records:
        if record.is_file():
            seen = record.read_text().split()[0]
            if seen != digest:
                raise ValueError(
                    f"{path} has SHA-256 {digest[:12]}…, but {record} recorded {seen[:12]}… when "
                    "it was first seen: get the file again, or delete the record to accept it."
                )
            return
    for record in records:
        try:
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text(f"{digest}  {path.name}\n")
            return
        except OSError:  # a read-only folder: the cache comes next, and then there is no record
            continue
