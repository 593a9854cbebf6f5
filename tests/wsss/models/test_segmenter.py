"""The segmenter: every decoder takes a step, any image size, the encoder's weights arrive."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss.errors import WsssError
from wsss.models.backbone import create_backbone
from wsss.models.inference import View, predict_views
from wsss.models.segmenter import Segmenter, build_segmenter
from wsss.seeding.cam import resize

TINY: dict[str, Any] = {"depths": [1, 1, 1, 1], "embed_dims": [32, 32, 32, 32], "slot_grid": [2, 2]}
DECODERS = ("segformer", "fpn", "upernet", "unet")


def segmenter(decoder: str = "segformer") -> Segmenter:
    torch.manual_seed(0)
    return Segmenter("glnet_nano", TINY, decoder, 4)


def random_images(*size: int) -> Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("decoder", DECODERS)
def test_segmenter_with_every_decoder_takes_a_step_and_any_size(decoder: str) -> None:
    model = segmenter(decoder).train()
    before = {name: value.clone() for name, value in model.encoder.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    loss = F.cross_entropy(model(random_images(64, 64)), torch.randint(0, 4, (2, 64, 64)))
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    optimizer.step()
    assert any(not torch.equal(before[n], p) for n, p in model.encoder.named_parameters())
    model.eval()
    with torch.inference_mode():
        for size in ((33, 47), (64, 64), (1, 90)):
            logits = model(random_images(*size))
            assert logits.shape == (2, 4, *size) and logits.isfinite().all()


@pytest.mark.parametrize("decoder", DECODERS)
def test_segmenter_without_background_never_answers_it(decoder: str) -> None:
    torch.manual_seed(0)
    model = Segmenter("glnet_nano", TINY, decoder, 4, background=False).eval()
    with_one = segmenter(decoder).eval()
    assert model.state_dict().keys() == with_one.state_dict().keys()
    image = random_images(40, 64)
    with torch.inference_mode():
        probs = model(image).softmax(dim=1)
        assert not probs[:, 0].any() and probs.isfinite().all()
        torch.testing.assert_close(model(image)[:, 1:], with_one(image)[:, 1:])


def test_segmenter_leaves_whole_strides_alone() -> None:
    model = segmenter().eval()
    image = random_images(64, 96)
    with torch.inference_mode():
        assert torch.equal(model(image), model.net(image))


def test_segmenter_load_backbone_gives_its_features() -> None:
    torch.manual_seed(7)
    backbone = create_backbone("glnet_nano", None, TINY).eval()
    for buffer in backbone.buffers():
        if buffer.is_floating_point():
            nn.init.uniform_(buffer, 0.5, 2.0)
    model = segmenter().eval()
    image = random_images(64, 64)
    with torch.inference_mode():
        features, _ = backbone.forward_slots(image)
        own, _ = model.encoder.forward_slots(image)  # type: ignore[operator]
        assert not torch.allclose(own[3], features[3])
        model.load_backbone(backbone)
        own, _ = model.encoder.forward_slots(image)  # type: ignore[operator]
    for one, other in zip(own, features, strict=True):
        assert torch.equal(one, other)


def test_segmenter_load_backbone_changes_the_logits() -> None:
    model = segmenter().eval()
    image = random_images(64, 64)
    with torch.inference_mode():
        before = model(image)
        torch.manual_seed(7)
        model.load_backbone(create_backbone("glnet_nano", None, TINY))
        assert not torch.allclose(model(image), before)


class Ramp(nn.Module):
    """Logits that grow to the right: 0 for background, the column for class 1."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.sizes.append(tuple(images.shape))
        ramp = torch.linspace(-1, 1, images.shape[-1]).expand(images.shape[0], *images.shape[-2:])
        return torch.stack([torch.zeros_like(ramp), ramp], 1)


def view(
    model: nn.Module, image: Tensor, scales: tuple[float, ...] = (1.0,), flip: bool = False
) -> Tensor:
    ((probs,),) = predict_views(model, image, [View(scales, flip)])
    return probs


def test_predict_views_sum_to_one_over_scales_and_flip() -> None:
    model = segmenter().eval()
    image = random_images(40, 56)[:1]
    for scales, flip in (((1.0,), False), ((1.0,), True), ((0.5, 1.0, 1.5), True)):
        probs = view(model, image, scales, flip)
        assert probs.shape == (4, 40, 56)
        torch.testing.assert_close(probs.sum(0), torch.ones(40, 56))


def test_predict_views_mirrors_the_flipped_image_back() -> None:
    ramp = Ramp()
    plain = view(ramp, torch.zeros(1, 3, 4, 9))
    torch.testing.assert_close(plain[1], torch.linspace(-1, 1, 9).sigmoid().expand(4, 9))
    folded = view(ramp, torch.zeros(1, 3, 4, 9), flip=True)
    # the ramp always points to the right, so the mean with its mirror image is level
    torch.testing.assert_close(folded, torch.full((2, 4, 9), 0.5))
    assert ramp.sizes == [(1, 3, 4, 9), (2, 3, 4, 9)]


def test_predict_views_scales_in_whole_strides() -> None:
    ramp = Ramp()
    view(ramp, torch.zeros(1, 3, 40, 100), (1.0, 0.5, 2.0))
    assert ramp.sizes == [(1, 3, 40, 100), (1, 3, 32, 64), (1, 3, 64, 192)]


def test_segmenter_refuses_an_unknown_decoder_argument() -> None:
    for decoder in DECODERS:
        with pytest.raises(WsssError, match=f"wings.*{decoder}"):
            Segmenter("glnet_nano", TINY, decoder, 4, {"decoder_wings": 2})


def test_build_segmenter_from_metadata() -> None:
    model = build_segmenter(
        {
            "backbone": "glnet_nano",
            "backbone_args": TINY,
            "decoder": "fpn",
            "class_names": ["a", "b", "c"],
        }
    )
    model.load_state_dict(segmenter("fpn").state_dict())


def test_segmenter_answers_other_sizes_at_the_nearest_whole_strides() -> None:
    model = segmenter().eval()
    image = random_images(70, 90)
    with torch.inference_mode():
        expected = resize(model.net(resize(image, (64, 96))), (70, 90))
        torch.testing.assert_close(model(image), expected)
        assert model(random_images(1, 7)).shape[-2:] == (1, 7)


def test_graph_of_a_segmenter_answers_images_of_whole_strides_alike() -> None:
    model = Segmenter("tf_efficientnet_lite0", {}, "fpn", 3).eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(model.graph(image), model(image))
        assert not torch.allclose(model.net(image), model(image), atol=1e-2)
