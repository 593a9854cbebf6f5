#!/usr/bin/env python
"""The figures of the documentation, from one photograph and the weights in the package.

    python scripts/make_figures.py [--out docs/figures]

Reads `docs/figures/cat.jpg` (by Stefan van der Walt, CC0) and the packaged weights; nothing is
trained. The tag is "cat", and class activation is that of the ImageNet head of `glnet_nano` for
five kinds of cat: the sum of their probabilities at every location. Writes `slots.png`, `walk.png`,
`border.png`, `crf.png` and `poster.png`, the same pixels in every run on one machine.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

import glmix
from glmix.visualize import overlay, representative_slots
from wsss.config import PredictionMode
from wsss.crf import DenseCRF
from wsss.data.augment import normalise
from wsss.data.images import read_image
from wsss.export.load import open_network
from wsss.formats.voc import CLASS_NAMES
from wsss.models.inference import predict_images
from wsss.models.segmenter import build_segmenter
from wsss.report.sheet import heat, mask_over, slots_over
from wsss.seeding.cam import resize, scaled_size
from wsss.seeding.maps import Evidence, border_map, score_maps
from wsss.seeding.masks import harden, margins, seed_mask, seed_probabilities
from wsss.seeding.walks import Border, Seeding, Walk, min_max
from wsss.stages.predict import shipped_model

Pixels = NDArray[np.uint8]
Panel = tuple[str, Pixels]

FIGURES = Path(__file__).parent.parent / "docs" / "figures"
CATS = (281, 282, 283, 284, 285)  # tabby, tiger, Persian, Siamese and Egyptian cat in ImageNet
VALUE = CLASS_NAMES.index("cat")  # of a cat in a mask
BLOCKS = ("16.0", "16.2", "16.4")
STEPS = (1, 2, 4, 8)
POINT = (0.2, 0.55)  # on the forehead, as shares of height and width
SCALE = 1.5
GAP, LINE, FONT = 6, 22, 14


class Scene(NamedTuple):
    """A photograph and what the backbone says of it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        evidence: class activation of the tag, (1, 1, h, w), and the slot assignments.
    """

    image: Pixels
    evidence: Evidence

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.image.shape[0], self.image.shape[1]

    def scores(self, steps: int, border: Border | None = None) -> Tensor:
        """(1, h, w) in 0…1 after walks of so many steps; 0 leaves the class activation."""
        walks = tuple(Walk(block, steps) for block in BLOCKS) if steps else ()
        size = (self.size[0] // 4, self.size[1] // 4)
        return score_maps([self.evidence], torch.ones(1, 1), Seeding(walks, border), size)[0]


@torch.inference_mode()
def look(path: Path) -> Scene:
    net: glmix.GLNet = timm.create_model("glnet_nano", pretrained=True).eval()
    image = read_image(path)
    batch = normalise(image)[None]
    features, found = net.forward_slots(
        resize(batch, scaled_size(batch.shape[2], batch.shape[3], SCALE))
    )
    logits = net.head(net.norm(features[3]).movedim(1, -1)).movedim(-1, 1)
    cam = logits.softmax(dim=1)[:, list(CATS)].sum(dim=1, keepdim=True)
    assignments = {one.name: one for one in found}
    return Scene(image, Evidence(resize(cam, assignments["16.0"].grid), assignments))


def board(panels: Sequence[Panel], columns: int, width: int) -> Image.Image:
    """Panels in rows under their titles, every one `width` pixels wide."""
    font = ImageFont.load_default(size=FONT)
    heights = [round(width * p.shape[0] / p.shape[1]) for _, p in panels]
    rows = [heights[i : i + columns] for i in range(0, len(heights), columns)]
    total = (columns * (width + GAP) - GAP, sum(LINE + max(row) + GAP for row in rows) - GAP)
    sheet = Image.new("RGB", total, "white")
    draw = ImageDraw.Draw(sheet)
    top = 0
    for number, row in enumerate(rows):
        for column, height in enumerate(row):
            title, pixels = panels[number * columns + column]
            left = column * (width + GAP)
            draw.text((left, top), title, fill="black", font=font)
            cell = Image.fromarray(np.ascontiguousarray(pixels)).resize((width, height))
            sheet.paste(cell, (left, top + LINE))
        top += LINE + max(row) + GAP
    return sheet


def winners(scene: Scene, block: str) -> Pixels:
    one = scene.evidence.assignments[block]
    return slots_over(one.logits[0].argmax(0).reshape(one.grid).numpy(), scene.image)


def from_point(scene: Scene, block: str, steps: int) -> Pixels:
    """What a walk from one token reaches, the token marked."""
    one = scene.evidence.assignments[block]
    row, column = (round(share * side) for share, side in zip(POINT, one.grid, strict=True))
    start = torch.zeros(1, 1, *one.grid)
    start[..., row, column] = 1
    reached = min_max(Walk(block, steps)(start.flatten(2), one.logits).unflatten(2, one.grid))
    shown = heat(reached[0, 0].sqrt().numpy(), scene.image)
    y, x = (round(share * side) for share, side in zip(POINT, scene.size, strict=True))
    shown[y - 4 : y + 4, x - 4 : x + 4] = (80, 220, 255)
    return shown


def slots(scene: Scene) -> Image.Image:
    photo = torch.from_numpy(scene.image).permute(2, 0, 1) / 255
    panels: list[Panel] = [("image", scene.image)]
    panels += [(f"winning slot, block {name}", winners(scene, name)) for name in ("4.0", "16.2")]
    for name in ("4.0", "16.0", "16.2"):
        one = scene.evidence.assignments[name]
        shown = overlay(photo, one, representative_slots(one, 4))
        panels.append((f"four of its 64 slots, block {name}", shown.numpy()))
    for steps in (1, 4, 8):
        reached = from_point(scene, "16.2", steps)
        panels.append((f"from the dot, {steps} step{'s' if steps > 1 else ''}", reached))
    return board(panels, columns=3, width=296)


def walk(scene: Scene) -> Image.Image:
    panels: list[Panel] = [("image, tagged “cat”", scene.image)]
    for steps in (0, *STEPS):
        title = f"{steps} step{'s' if steps > 1 else ''}" if steps else "class activation (CAM)"
        scores = scene.scores(steps)
        panels.append((title, heat(min_max(scores[None])[0, 0].numpy(), scene.image)))
    return board(panels, columns=3, width=296)


def border(scene: Scene) -> Image.Image:
    settings = Border()
    reached = [
        min_max(border_map(scene.evidence, Border(steps=n)))[0, 0].numpy()
        for n in (1, settings.steps)
    ]
    panels: list[Panel] = [
        ("image", scene.image),
        ("from the border, 1 step", heat(reached[0], scene.image)),
        (f"from the border, {settings.steps} steps", heat(reached[1], scene.image)),
        ("scores, 8 steps", heat(scene.scores(8)[0].numpy(), scene.image)),
        ("less what the border reaches", heat(scene.scores(8, settings)[0].numpy(), scene.image)),
        ("above Otsu's threshold", mask_over(seed(scene).numpy(), scene.image)),
    ]
    return board(panels, columns=3, width=296)


def stands_out(scene: Scene) -> Tensor:
    """(1, H, W), scores after walk and border evidence, less Otsu's threshold."""
    return margins(scene.scores(8, Border()), "otsu", scene.size)


def seed(scene: Scene) -> Tensor:
    return seed_mask(stands_out(scene), torch.tensor([VALUE]))


def pseudo_mask(scene: Scene) -> tuple[Tensor, Tensor, Pixels]:
    """Probabilities of background and cat, the CRF's marginals, and the mask with 255."""
    probs = seed_probabilities(stands_out(scene), 20.0)
    image = torch.from_numpy(scene.image).permute(2, 0, 1).contiguous()
    marginals = DenseCRF("irn")([image], [probs])[0]
    return probs, marginals, harden(marginals, [VALUE], 0.7).numpy()


def crf(scene: Scene) -> Image.Image:
    probs, marginals, mask = pseudo_mask(scene)
    panels: list[Panel] = [
        ("image", scene.image),
        ("probability of “cat”", heat(probs[1].numpy(), scene.image)),
        ("its likeliest label", mask_over(harden(probs, [VALUE]).numpy(), scene.image)),
        ("marginal after the CRF", heat(marginals[1].numpy(), scene.image)),
        ("its likeliest label", mask_over(harden(marginals, [VALUE]).numpy(), scene.image)),
        ("255 (light) below 0.7", mask_over(mask, scene.image)),
    ]
    return board(panels, columns=3, width=296)


def predicted(scene: Scene) -> Pixels:
    """The mask of the packaged segmenter, which is given no tag."""
    network, _ = open_network(shipped_model(), build_segmenter, torch.device("cpu"))
    pixels = torch.from_numpy(scene.image).permute(2, 0, 1)[None].contiguous()
    modes = [PredictionMode((0.75, 1.0, 1.25), True, "deeplab")]
    return predict_images(network, pixels, modes, [scene.size])[0][0].mask


def poster(scene: Scene) -> Image.Image:
    reached = border_map(scene.evidence, Border())
    panels: list[Panel] = [
        ("1  image and tag: “cat”", scene.image),
        ("2  class activation", heat(min_max(scene.evidence.cam)[0, 0].numpy(), scene.image)),
        ("3  semantic slots", winners(scene, "16.2")),
        ("4  walk through the slots", heat(scene.scores(8)[0].numpy(), scene.image)),
        ("5  walk from the border", heat(min_max(reached)[0, 0].numpy(), scene.image)),
        ("6  4 less 5", heat(scene.scores(8, Border())[0].numpy(), scene.image)),
        ("7  CRF: pseudo-mask", mask_over(pseudo_mask(scene)[2], scene.image)),
        ("8  segmenter, no tag given", mask_over(predicted(scene), scene.image)),
    ]
    return board(panels, columns=4, width=222)


MAKERS = {"slots": slots, "walk": walk, "border": border, "crf": crf, "poster": poster}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=FIGURES)
    out: Path = parser.parse_args().out
    torch.set_num_threads(1)
    scene = look(FIGURES / "cat.jpg")
    out.mkdir(parents=True, exist_ok=True)
    for name, make in MAKERS.items():
        path = out / f"{name}.png"
        image = make(scene)
        colours = image.quantize(255, method=Image.Quantize.MAXCOVERAGE, kmeans=2)
        image.quantize(palette=colours).save(path, optimize=True)  # dithered
        print(f"{path}  {path.stat().st_size // 1024} kB")


if __name__ == "__main__":
    main()
