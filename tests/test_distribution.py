"""What is installed: the files of the wheel and of the source archive, and their metadata."""

import email
import fnmatch
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.resources import files
from pathlib import Path

import pytest

import wsss

ROOT = Path(__file__).parent.parent
PACKAGES = ("glmix", "wsss")
DATA = (
    "glmix/py.typed",
    "glmix/weights/glnet_nano.safetensors",
    "wsss/py.typed",
    "wsss/recipes/voc12_glnet_4g.yaml",
    "wsss/recipes/voc61_nano_cpu.yaml",
    "wsss/report/page.html",
    "wsss/review/page/index.html",
    "wsss/review/page/main.js",
    "wsss/review/page/style.css",
    "wsss/weights/voc61_lite2.safetensors",
)
# beside the packages and the tests in the source archive
SOURCES = (
    "CHANGELOG.md",
    "CITATION.cff",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "configs/distill_nano.yaml",
    "configs/voc61_nano_cpu.yaml",
    "docs/quickstart.png",
    "mkdocs.yml",
    "pyproject.toml",
    "scripts/test",
    "setup.py",
)


def of_checkout() -> set[str]:
    """Every file of both packages, as the checkout has them."""
    found = (path for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file())
    return {p.relative_to(ROOT).as_posix() for p in found if "__pycache__" not in p.parts}


@pytest.mark.parametrize("name", DATA)
def test_packaged_files_are_found_as_resources(name: str) -> None:
    package, _, rest = name.partition("/")
    assert files(package).joinpath(*rest.split("/")).is_file()


def test_package_data_names_every_file_that_is_no_module() -> None:
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = [
        f"{package}/{pattern}"
        for package, found in project["tool"]["setuptools"]["package-data"].items()
        for pattern in found
    ]
    data = {name for name in of_checkout() if not name.endswith(".py")}
    missed = {n for n in data if not any(fnmatch.fnmatch(n, p) for p in patterns)}
    assert data >= set(DATA) and not missed, missed


def copy_sources(to: Path) -> Path:
    """The checkout without environments, caches and runs; a build leaves files beside sources."""
    without = {"build", "dist", "runs", "data"}
    for path in ROOT.iterdir():
        if path.name.startswith(".") or path.name in without or path.suffix == ".egg-info":
            continue
        if path.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(path, to / path.name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(path, to / path.name)
    return to


def build(source: Path, out: Path, *options: str) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, *options, source]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source archive, the wheel made from it, and `direct/` with one made here.

    Nothing is downloaded: setuptools is that of the environment.
    """
    source = tmp_path_factory.mktemp("sources")
    out = tmp_path_factory.mktemp("dist")
    copy_sources(source)
    build(source, out)
    build(source, out / "direct", "--wheel")
    return out


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def wheel_of(folder: Path) -> Path:
    (path,) = folder.glob("*.whl")
    return path


def metadata(wheel: Path) -> email.message.Message:
    (text,) = (v for k, v in contents(wheel).items() if k.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(text)


@pytest.mark.slow
def test_wheel_holds_both_packages_and_nothing_else(built: Path) -> None:
    found = contents(wheel_of(built))
    info = f"wsss-{wsss.__version__}.dist-info"
    own = {name for name in found if not name.startswith(f"{info}/")}
    assert own == of_checkout()
    assert found[f"{info}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert b"wsss = wsss.cli:main" in found[f"{info}/entry_points.txt"]


@pytest.mark.slow
def test_wheel_from_the_source_archive_is_the_wheel_from_the_checkout(built: Path) -> None:
    assert contents(wheel_of(built)) == contents(wheel_of(built / "direct"))


@pytest.mark.slow
def test_source_archive_holds_what_builds_and_tests_it(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        assert all(member.isfile() or member.isdir() for member in archive)
        found = {name.partition("/")[2] for name in archive.getnames()}
    tests = {p.relative_to(ROOT).as_posix() for p in (ROOT / "tests").rglob("*.py")}
    assert found >= of_checkout() | tests | set(SOURCES)


@pytest.mark.slow
def test_metadata_say_version_licence_and_dependencies(built: Path) -> None:
    found = metadata(wheel_of(built))
    assert (found["Version"], found["License-Expression"]) == (wsss.__version__, "MIT")
    required = [r for r in found.get_all("Requires-Dist", []) if "extra ==" not in r]
    names = {re.split(r"[^\w-]", r)[0] for r in required}
    assert {"torch", "timm", "segmentation-models-pytorch"} <= names


@pytest.mark.slow
def test_description_has_no_link_into_the_repository(built: Path) -> None:
    text = str(metadata(wheel_of(built)).get_payload())
    assert "# wsss" in text and "pip install wsss &&" in text and "install -e ." not in text
    assert re.findall(r"\]\((?!https?://|#)", text) == []


@pytest.mark.slow
def test_twine_check_is_strict_and_clean(built: Path) -> None:
    archives = [str(path) for path in built.iterdir() if path.is_file()]
    command = [sys.executable, "-m", "twine", "check", "--strict", *archives]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("PASSED") == 2, done.stdout
