"""Beside the pipeline: images of the slots of any image, one PNG each.

Reads images and weights; writes `<out>/<name of the image>.png`.
"""

from pathlib import Path

import torch
from PIL import Image

from glmix.clustering import SlotAssignment
from glmix.visualize import default_blocks, figure
from wsss.data.augment import normalise, resize
from wsss.data.images import read_image
from wsss.errors import WsssError
from wsss.files import refuse_to_overwrite
from wsss.models.backbone import create_backbone


def run(
    images: list[Path],
    model: str,
    checkpoint: Path | str | None,
    out: Path,
    blocks: list[str] | None = None,
    slot_count: int = 4,
    long_side: int = 384,
) -> Path:
    """Draws the slots of images; returns the folder.

    Args:
        images: the images.
        model: registered GLNet, such as `glnet_nano`.
        checkpoint: its weights, a file or `pretrained`; None shows slots of random weights.
        out: folder of the PNGs, one per image; images of one name need folders of their own.
        blocks: names `stride.index` such as `16.2`; None takes blocks at a fifth, half and the end.
        slot_count: representative slots outlined in each block.
        long_side: images are resized to it, keeping their proportions.

    Raises:
        WsssError: no such model, weights, block or image, two images of one name, or one that
            its figure would replace.
    """
    _check_names(images, out)
    net = create_backbone(model, checkpoint, {}).eval()
    out.mkdir(parents=True, exist_ok=True)
    for path in images:
        image = read_image(path)
        scale = long_side / max(image.shape[:2])
        height, width = (max(32, round(side * scale)) for side in image.shape[:2])
        image = resize(image, (height, width))
        with torch.no_grad():
            _, assignments = net.forward_slots(normalise(image)[None])
        chosen = _choose(assignments, blocks, model)
        pixels = torch.from_numpy(image).permute(2, 0, 1) / 255
        try:
            sheet = figure(pixels, chosen, slot_count)
        except ValueError as error:
            raise WsssError(str(error)) from None
        Image.fromarray(sheet.numpy()).save(out / f"{path.stem}.png")
    return out


def _check_names(images: list[Path], out: Path) -> None:
    stems = [path.stem for path in images]
    twice = next((path for path in images if stems.count(path.stem) > 1), None)
    if twice is not None:
        raise WsssError(
            f"Two images are named {twice.stem!r}: expected names that differ, since the PNGs "
            "take them; draw them into two folders."
        )
    for path in images:
        refuse_to_overwrite(path, out / f"{path.stem}.png", "The figure", "images'")


def _choose(
    assignments: list[SlotAssignment], blocks: list[str] | None, model: str
) -> list[SlotAssignment]:
    known = {assignment.name: assignment for assignment in assignments}
    if not known:
        raise WsssError(f"{model} has no slots to show: expected a model with a global branch.")
    if blocks is None:
        return default_blocks(assignments)
    missing = [name for name in blocks if name not in known]
    if missing:
        raise WsssError(
            f"{model} has no slot block {missing[0]!r}: expected one of {', '.join(known)}."
        )
    return [known[name] for name in blocks]
