"""What import-linter cannot express, and proof that its contracts (in pyproject.toml) bite."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("wsss", "glmix")

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
    "numbers",
    "numpy",
    "operator",
    "pydensecrf",
    "random",
    "scipy",
    "threading",
    "timm",
    "torch",
    "triton",
    "types",
    "typing",
    "warnings",
    "weakref",
    "wsss",
}
IMPURE_CALLS = {"open", "print", "input"}
# The only module that names a device or reads the environment.
RUNTIME = "wsss/engine/runtime.py"
# What is set before torch is imported, which the runtime does.
ENVIRONMENT = "wsss/engine/environment.py"


def modules(root: Path, name: str) -> list[Path]:
    """A module, or all modules of a package; none if it does not exist."""
    path = root / name
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def imported(tree: ast.Module) -> set[str]:
    """Top-level names of all packages that a module imports, wherever it does."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.partition(".")[0])
    return found


def called(tree: ast.Module) -> set[str]:
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {name.id for name in calls if isinstance(name, ast.Name)}


def purity_faults(root: Path) -> list[str]:
    """`path: name` of what a pure module imports or calls and must not."""
    faults = [f"{name}: does not exist" for name in PURE if not modules(root, name)]
    for path in (path for name in PURE for path in modules(root, name)):
        tree = ast.parse(path.read_text())
        forbidden = (imported(tree) - PURE_IMPORTS) | (called(tree) & IMPURE_CALLS)
        faults += [f"{path.relative_to(root).as_posix()}: {name}" for name in sorted(forbidden)]
    return faults


def device_faults(root: Path) -> list[str]:
    """`path: name` of what names a device or reads the environment outside the runtime."""
    faults = [] if (root / RUNTIME).is_file() else [f"{RUNTIME}: does not exist"]
    for path in modules(root, "wsss"):
        name = path.relative_to(root).as_posix()
        if name in (RUNTIME, ENVIRONMENT):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and node.value == "cuda":
                faults.append(f"{name}: 'cuda'")
            elif isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"):
                faults.append(f"{name}: {node.attr}")
    return faults


def test_purity_faults_of_the_package_are_none() -> None:
    assert purity_faults(ROOT) == []


def test_device_faults_of_the_package_are_none() -> None:
    assert device_faults(ROOT) == []


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The modules of both packages and the contracts on their imports."""
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("weights", "*.html")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def add(root: Path, module: str, line: str) -> None:
    path = root / module
    assert path.is_file(), f"{module} is gone: name its successor here"
    path.write_text(f"{path.read_text()}\n{line}\n")


@pytest.mark.parametrize(
    ("module", "line", "fault"),
    [
        ("wsss/metrics/confusion.py", "import json", "json"),
        ("wsss/seeding/masks.py", "def late():\n    from os import path", "os"),
        ("wsss/crf/dense_crf.py", "import yaml", "yaml"),
        ("glmix/clustering.py", "print('here')", "print"),
    ],
)
def test_purity_faults_names_module_and_import(
    copy: Path, module: str, line: str, fault: str
) -> None:
    add(copy, module, line)
    assert purity_faults(copy) == [f"{module}: {fault}"]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("DEVICE = 'cuda'", "'cuda'"),
        ("import os\nHOME = os.environ['HOME']", "environ"),
        ("import os\nHOME = os.getenv('HOME')", "getenv"),
    ],
)
def test_device_faults_names_module_and_use(copy: Path, line: str, fault: str) -> None:
    module = "wsss/stages/predict.py"
    add(copy, module, line)
    assert device_faults(copy) == [f"{module}: {fault}"]


def test_checkers_fail_where_a_listed_module_is_gone(copy: Path) -> None:
    shutil.rmtree(copy / "wsss" / "metrics")
    (copy / "glmix" / "clustering.py").unlink()
    (copy / RUNTIME).unlink()
    gone = ["wsss/metrics", "glmix/clustering.py"]
    assert purity_faults(copy) == [f"{name}: does not exist" for name in gone]
    assert device_faults(copy) == [f"{RUNTIME}: does not exist"]


def lint_imports(root: Path) -> tuple[int, str]:
    """Exit code and report of import-linter on the packages in a folder."""
    program = "from importlinter.cli import lint_imports_command as lint; lint()"
    result = subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "COLUMNS": "500"},
        capture_output=True,
        text=True,
    )
    return result.returncode, result.stdout + result.stderr


# What no module may import, one for each way that a contract can be broken.
BROKEN = (
    ("wsss.engine.loop", "wsss.models.segmenter"),
    ("wsss.seeding.masks", "wsss.config"),
    ("glmix.layers", "wsss.labels"),
    ("wsss.stages.train_cls", "wsss.stages.evaluate"),
    ("wsss.data.tags", "wsss.data.masks"),
    ("wsss.data.open", "wsss.formats.mask_registry"),
)


def test_lint_imports_reports_one_broken_import_of_each_contract(copy: Path) -> None:
    for importer, target in BROKEN:
        add(copy, f"{importer.replace('.', '/')}.py", f"import {target}")
    code, report = lint_imports(copy)
    assert code == 1 and "0 kept, 4 broken" in report, report
    for importer, target in BROKEN:
        assert f"{importer} -> {target} (l." in report, report


@pytest.mark.parametrize("module", ["wsss/data/tags.py", "wsss/quickstart.py"])
def test_lint_imports_fails_where_a_listed_module_is_gone(copy: Path, module: str) -> None:
    (copy / module).unlink()
    code, report = lint_imports(copy)
    assert code != 0 and module.removesuffix(".py").split("/")[-1] in report, report
