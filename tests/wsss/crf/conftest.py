"""A synthetic image for every test that needs just one."""

import pytest
from torch import Tensor

from .synthetic import draw


@pytest.fixture
def synthetic() -> tuple[Tensor, Tensor]:
    return draw(37, 50, 3)
