"""Which images a contact sheet shows."""

from pathlib import Path

import numpy as np
import pytest

from wsss.config import RunConfig
from wsss.data import mask_io
from wsss.errors import WsssError
from wsss.run.state import Run
from wsss.stages import evaluate, visualize


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"ids": ["nobody"]}, "nobody"),
        ({"ids": ["val_00001"]}, "split train .*val_00001"),
        ({"split": "val"}, "no pseudo-masks of the split val"),
        ({"split": "val", "ids": ["val_00001"]}, "val_00001 has no pseudo-mask"),
    ],
)
def test_visualize_refuses_images_that_it_cannot_show(
    finished: RunConfig, options: dict[str, object], fault: str
) -> None:
    with pytest.raises(WsssError, match=fault):
        visualize.run(finished, **options)  # type: ignore[arg-type]


def test_visualize_shows_and_scores_an_image_without_tags(run: RunConfig, copied: Path) -> None:
    id_ = "train_00003"
    (copied / "Annotations" / f"{id_}.xml").write_text("<annotation/>")
    made, empty = Run(run.run), np.zeros((0, 16, 16), np.float16)
    np.savez(made.seed(id_), labels=np.zeros(0, np.uint8), cam=empty, seed=empty)
    mask_io.write_mask(made.pseudo_mask(id_), np.zeros((64, 64), np.uint8))
    config = run.model_copy(update={"data": run.data.model_copy(update={"root": copied})})
    assert visualize.run(config, ids=[id_]).is_file()
    for of in evaluate.KINDS[:3]:
        assert evaluate.run(config, of).is_file()
