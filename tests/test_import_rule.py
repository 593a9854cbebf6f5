"""What import-linter cannot express (its contracts are in pyproject.toml)."""

import ast
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Pure packages take numbers and tensors: no files, environment, processes or logging.
PURE = ("wsss/seeding", "wsss/crf", "wsss/metrics", "glmix/clustering.py")
PURE_IMPORTS = {
    "__future__",
    "abc",
    "annotated_types",
    "collections",
    "contextlib",
    "ctypes",
    "cv2",
    "dataclasses",
    "difflib",
    "enum",
    "functools",
    "glmix",
    "heapq",
    "importlib",
    "itertools",
    "math",
    "numpy",
    "operator",
    "pydensecrf",
    "scipy",
    "torch",
    "triton",
    "types",
    "typing",
    "warnings",
    "weakref",
    "wsss",
}
IMPURE_CALLS = {"open", "print", "input"}
RUNTIME = ROOT / "wsss" / "engine" / "runtime.py"
# what is set before torch is imported, which the runtime imports
ENVIRONMENT = ROOT / "wsss" / "engine" / "environment.py"


def files(*names: str) -> list[Path]:
    found = [p for n in names for p in ([ROOT / n] if n.endswith(".py") else (ROOT / n).rglob("*"))]
    return sorted(p for p in found if p.suffix == ".py")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(tree: ast.Module) -> set[str]:
    """Top-level names of all packages that a module imports, wherever it does."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("name", PURE)
def test_pure_packages_exist(name: str) -> None:
    assert files(name), f"{name} is gone: name its successor here"


@pytest.mark.parametrize("path", files(*PURE), ids=relative)
def test_pure_modules_import_no_files_or_environment(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert imported(tree) <= PURE_IMPORTS
    called = {
        n.func.id
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    }
    assert not called & IMPURE_CALLS


def test_runtime_exists() -> None:
    assert RUNTIME.is_file() and ENVIRONMENT.is_file()


@pytest.mark.parametrize(
    "path", [p for p in files("wsss") if p not in (RUNTIME, ENVIRONMENT)], ids=relative
)
def test_only_runtime_names_a_device_or_reads_the_environment(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant):
            assert node.value != "cuda", f"{relative(path)}:{node.lineno} names the device 'cuda'"
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("environ", "getenv"), f"{relative(path)}:{node.lineno}"


def test_import_linter_is_installed_for_the_checks() -> None:
    assert importlib.util.find_spec("importlinter"), "pip install -e '.[dev]'"
