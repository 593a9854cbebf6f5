"""The dependency rule of the house: a room knows only the rooms below it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Rooms by floor; a room may import from floors strictly below its own, and from itself.
FLOORS = {
    "wsss.cli": 7,
    "wsss.quickstart": 6,
    "wsss.pipeline": 5,
    "wsss.stages": 4,
    "wsss.models": 3,
    "wsss.engine": 3,
    "wsss.report": 3,
    "wsss.ablation": 3,
    "wsss.data": 2,
    "wsss.seeding": 1,
    "wsss.crf": 2,
    "wsss.metrics": 2,
    "wsss.boundary": 2,
    "wsss.config": 2,
    "wsss.run_dir": 2,
    "wsss.voc": 1,
    "wsss.errors": 0,
    "glmix": 0,
}
# Pure rooms take numbers and tensors: no config, no files, no logging.
PURE = {"wsss.seeding", "wsss.crf", "wsss.metrics", "wsss.boundary"}
# Within a floor, in the order of the files.
ALLOWED_SIDEWAYS = {
    ("wsss.data", "wsss.config"),
    ("wsss.data", "wsss.run_dir"),
    ("wsss.run_dir", "wsss.voc"),
    ("wsss.run_dir", "wsss.config"),
    ("wsss.config", "wsss.voc"),
}


def room(module: str) -> str | None:
    matches = [name for name in FLOORS if module == name or module.startswith(name + ".")]
    return max(matches, key=len) if matches else None


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def module_files() -> list[Path]:
    return sorted(p for pkg in ("glmix", "wsss") for p in (ROOT / pkg).rglob("*.py"))


@pytest.mark.parametrize("path", module_files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    own = room(module)
    if own is None:
        return
    for target in imports(path):
        other = room(target)
        if other is None or other == own or (own, other) in ALLOWED_SIDEWAYS:
            continue
        assert FLOORS[other] < FLOORS[own], f"{module} may not import {target}"
        if own in PURE:
            assert other in {"glmix", "wsss.errors"}, f"{module} is pure, imports {target}"


def test_stages_do_not_import_one_another() -> None:
    for path in (ROOT / "wsss" / "stages").glob("*.py"):
        others = {i for i in imports(path) if i.startswith("wsss.stages.")}
        assert not others, f"{path.name} imports {others}"


def test_cuda_is_named_in_the_runtime_alone() -> None:
    for path in (ROOT / "wsss").rglob("*.py"):
        if path.name == "runtime.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and node.value == "cuda":
                raise AssertionError(f"{path.name} names the device 'cuda'")
            if isinstance(node, ast.Attribute) and node.attr == "environ":
                raise AssertionError(f"{path.name} reads environment variables")
