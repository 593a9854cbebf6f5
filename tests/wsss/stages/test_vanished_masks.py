"""Masks that go while their stage works: it isn't called finished."""

from typing import Any

import pytest

from wsss.config import RunConfig
from wsss.errors import WsssError
from wsss.run.state import Run
from wsss.stages import generate_pseudo_masks as stage


def test_masks_that_go_while_the_stage_works_are_told(
    run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, write = Run(run.run), stage.write_mask
    made.done("pseudo_masks").unlink()
    for mask in made.pseudo_masks.glob("*.png"):
        mask.unlink()

    def lose_the_first(*arguments: Any, **options: Any) -> None:
        write(*arguments, **options)
        made.pseudo_mask("train_00000").unlink(missing_ok=True)

    with monkeypatch.context() as patch:
        patch.setattr(stage, "write_mask", lose_the_first)
        with pytest.raises(WsssError, match=r"1 of 12 pseudo-masks have gone .* train_00000 first"):
            stage.run(run)
    assert not made.finished("pseudo_masks")
    stage.run(run)
    assert made.finished("pseudo_masks")
