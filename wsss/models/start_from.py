"""Trained segmenters that the training of another one starts from."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from wsss.config import RunConfig
from wsss.engine.checkpoint import read_metadata
from wsss.errors import WsssError
from wsss.files import real_path
from wsss.run.state import Run

PACKAGED = "voc61_lite2.safetensors"


def packaged_segmenter() -> Path | None:
    """The model that comes with the package; None where this copy of the package has none."""
    path = Path(str(files("wsss") / "weights" / PACKAGED))
    return path if path.is_file() else None


def start_file(config: RunConfig, class_names: Sequence[str]) -> Path | None:
    """The file that `train_seg.start_from` names or chooses; None leaves a backbone alone.

    Args:
        config: of the run.
        class_names: its classes.

    Raises:
        WsssError: there is none where one is named.
    """
    named = config.train_seg.start_from
    if named == "auto":
        return _chosen(config, class_names)
    if named is None:
        return None
    if named == "packaged":
        path = packaged_segmenter()
        if path is None:
            raise WsssError(
                f"train_seg.start_from is packaged, and this package comes without {PACKAGED}: "
                "give the file of a model."
            )
        return path
    path = named
    if named.is_dir():
        of_run, of_folder = Run(named).model("train_seg"), named / "model.safetensors"
        path = of_folder if of_folder.is_file() else of_run
    if not path.is_file():
        raise WsssError(
            f"train_seg.start_from: no segmenter at {path}: give `packaged`, the folder of a run "
            "with one, or the .safetensors file of a model."
        )
    if real_path(config.run) in real_path(path).parents:  # with its later rounds
        raise WsssError(
            f"train_seg.start_from is {path}, which goes when {config.run} is trained again: copy "
            "it elsewhere, or train a later round (wsss train-seg RUN --round 2)."
        )
    return path


def _chosen(config: RunConfig, class_names: Sequence[str]) -> Path | None:
    if not config.leaves_segmenter_open:
        return None
    packaged = packaged_segmenter()
    if packaged is None:
        return None
    known = read_metadata(packaged, "segmenter")["class_names"]
    return packaged if set(known) & set(class_names) else None
