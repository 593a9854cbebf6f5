"""`visualize_slots`: one PNG per image."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glmix.pretrained import PACKAGED
from tests.wsss.cli.command_line import wsss
from wsss.errors import WsssError
from wsss.stages.visualize_slots import run


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "tall.png", tmp_path / "wide.jpg"]
    rng = np.random.default_rng(0)
    for path, size in zip(paths, [(90, 50), (40, 120)], strict=True):
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(path)
    return paths


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_visualize_slots_draws_a_figure_per_image_and_a_column_per_block(
    images: list[Path], tmp_path: Path
) -> None:
    out = run(images, "glnet_nano", None, tmp_path / "out", ["4.0", "16.2"], long_side=96)
    tall, wide = size(out / "tall.png"), size(out / "wide.png")
    assert tall[0] == 3 * 53 + 2 * 3 and wide[0] == 3 * 96 + 2 * 3
    assert tall[1] > 96 and wide[1] > 32


def test_visualize_slots_of_three_blocks_by_default(images: list[Path], tmp_path: Path) -> None:
    out = run(images[1:], "glnet_nano", None, tmp_path / "out", long_side=96)
    assert size(out / "wide.png")[0] == 4 * 96 + 3 * 3


def test_visualize_slots_command_draws_trained_slots(images: list[Path], tmp_path: Path) -> None:
    drawn = {}
    for name, options in {
        "default": (),
        "file": ("--checkpoint", PACKAGED / "glnet_nano.safetensors"),
        "random": ("--checkpoint", "none"),
    }.items():
        out = tmp_path / name
        result = wsss("visualize-slots", images[0], "--blocks", "8.0", "--out", out, *options)
        assert result.exit_code == 0, result.output
        drawn[name] = (out / "tall.png").read_bytes()
    assert drawn["default"] == drawn["file"] != drawn["random"]


@pytest.mark.parametrize(
    ("model", "blocks", "fault"),
    [
        ("glnet_nano", ["16.1"], r"'16\.1': .*4\.0, 8\.0, 8\.1, 16\.0"),
        ("glnet_stl_local", None, "glnet_stl_local"),
        ("glnet_huge", None, "glnet_huge"),
    ],
)
def test_visualize_slots_refuses_what_has_no_slots(
    model: str, blocks: list[str] | None, fault: str, images: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(WsssError, match=fault):
        run(images, model, None, tmp_path / "out", blocks, long_side=64)


def test_visualize_slots_refuses_images_of_one_name(images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    namesake = tmp_path / "other" / "tall.jpg"
    namesake.write_bytes(images[0].read_bytes())
    with pytest.raises(WsssError, match="named 'tall'"):
        run([*images, namesake], "glnet_nano", None, tmp_path / "out")


def test_visualize_slots_refuses_more_slots_than_colours(
    images: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(WsssError, match="6 colours"):
        run(images, "glnet_nano", None, tmp_path / "out", ["8.0"], slot_count=7, long_side=64)


def test_visualize_slots_never_replaces_an_image(images: list[Path], tmp_path: Path) -> None:
    before = images[0].read_bytes()
    with pytest.raises(WsssError, match=r"tall\.png would replace it"):
        run(images, "glnet_nano", None, tmp_path, long_side=64)
    assert images[0].read_bytes() == before
