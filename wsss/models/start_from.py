"""Trained segmenters that the training of another one starts from."""

from importlib.resources import files
from pathlib import Path

from wsss.config import TrainSegConfig
from wsss.errors import WsssError
from wsss.run.layout import Layout

PACKAGED = "voc61_lite2.safetensors"


def packaged_segmenter() -> Path | None:
    """The model that comes with the package; None where this copy of the package has none."""
    path = Path(str(files("wsss") / "weights" / PACKAGED))
    return path if path.is_file() else None


def start_file(settings: TrainSegConfig) -> Path | None:
    """The file of `train_seg.start_from`, where that is set.

    Raises:
        WsssError: there is none.
    """
    named = settings.start_from
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
    path = Layout(named).model("train_seg") if named.is_dir() else named
    if not path.is_file():
        raise WsssError(
            f"train_seg.start_from: no segmenter at {path}: give `packaged`, the folder of a run "
            "with one, or the .safetensors file of a model."
        )
    return path
