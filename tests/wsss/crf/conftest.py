"""A drawn picture for every test that needs just one."""

import pytest
from torch import Tensor

from .drawing import draw


@pytest.fixture
def drawn() -> tuple[Tensor, Tensor]:
    return draw(37, 50, 3)
