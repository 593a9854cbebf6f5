"""GLNets are encoders of segmentation-models-pytorch under `tu-<name>`."""

import pytest
import segmentation_models_pytorch as smp
import torch

import glmix  # noqa: F401  registers the models
from glmix.variants import VARIANTS


@pytest.mark.parametrize("decoder", ["Segformer", "UPerNet", "FPN", "Unet"])
def test_decoders_train_on_a_glnet(decoder: str) -> None:
    net = getattr(smp, decoder)("tu-glnet_nano", encoder_weights=None, classes=21)
    net(torch.randn(2, 3, 64, 96)).square().mean().backward()
    out = net.eval()(torch.randn(1, 3, 64, 96))
    assert out.shape == (1, 21, 64, 96)
    stem = dict(net.named_parameters())["encoder.model.model.downsample_layers.0.1.weight"]
    assert stem.grad is not None and stem.grad.abs().sum() > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_every_glnet_is_an_encoder(name: str) -> None:
    net = smp.Segformer(f"tu-{name}", encoder_weights=None, classes=21).eval()
    with torch.no_grad():
        assert net(torch.randn(1, 3, 64, 96)).shape == (1, 21, 64, 96)
