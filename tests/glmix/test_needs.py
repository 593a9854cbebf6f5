"""glmix stands alone: torch with its Triton, timm, safetensors and the standard library."""

import ast
import sys
from pathlib import Path

import glmix


def test_glmix_imports_torch_timm_and_safetensors_alone() -> None:
    found = set()
    for path in Path(glmix.__file__).parent.rglob("*.py"):
        if path.name == "kernels.py":  # imported where Triton, which torch brings, works
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0 and node.module, path
                found.add(node.module.split(".")[0])
    assert found - sys.stdlib_module_names == {"glmix", "safetensors", "timm", "torch"}
