"""README and documentation: every command, setting, file and link in them is there.

Commands stand in blocks of code and in inline code, begin with `wsss`, `scripts/` or `python
scripts/`, and may have words in capitals for what the reader fills in. A block below `<!-- run -->`
is run on synthetic images (slow), with the settings that the mark adds.
"""

import ast
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import typer
from PIL import Image

from wsss.cli import app
from wsss.config import RunConfig, load
from wsss.data.synthetic import CLASS_NAMES, render_image
from wsss.errors import WsssError

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
# lists of what is gone name settings that no longer load
HISTORY = ("CHANGELOG.md", "tried.md")
GROUP: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = GROUP.commands
OPTIONS = {"--help", *(option for param in GROUP.params for option in param.opts)}
SECTIONS = "|".join(RunConfig.model_fields)
TIMMS = "tests/test_models.py"  # of timm's repository
PLACEHOLDER = re.compile(r"[A-Z][A-Z0-9_]*|…|\.\.\.")


class Code(NamedTuple):
    """A piece of code in a page: `mark` is what stands after `<!-- run` above a block."""

    page: Path
    line: int
    text: str
    block: bool
    mark: str | None = None

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line} {self.text[:50]!r}"


def codes(page: Path) -> Iterator[Code]:
    """Blocks, fenced or indented, and inline code, which may break over lines."""
    prose: list[str] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    i, mark = 0, None
    while i < len(lines):
        if found := re.fullmatch(r"<!-- run(?:: (.*))? -->", lines[i]):
            mark = found[1] or ""
        end = i
        if lines[i].startswith("```"):
            end = next(n for n in range(i + 1, len(lines)) if lines[n].startswith("```"))
            if lines[i][3:] in ("", "bash", "sh"):
                yield Code(page, i + 2, "\n".join(lines[i + 1 : end]), True, mark)
            mark = None
        elif lines[i].startswith("    ") and (i == 0 or not lines[i - 1].strip()):
            while end + 1 < len(lines) and lines[end + 1].startswith("    "):
                end += 1
            yield Code(page, i + 1, "\n".join(one[4:] for one in lines[i : end + 1]), True)
        prose += [lines[i]] if end == i else [""] * (end + 1 - i)
        i = end + 1
    text = "\n".join(prose)
    for paragraph in re.finditer(r"(?:.+\n?)+", text):
        # code breaks over lines within a paragraph, a row of a table ends it
        for found in re.finditer(r"`([^`]+)`", paragraph[0]):
            line = text.count("\n", 0, paragraph.start() + found.start()) + 1
            yield Code(page, line, " ".join(found[1].split()), False)


CODES = [code for page in PAGES for code in codes(page)]


class Command(NamedTuple):
    """One command of a piece of code, in words."""

    code: Code
    words: tuple[str, ...]


def commands() -> Iterator[Command]:
    """Every command of wsss and of the scripts."""
    for code in CODES:
        text = code.text.replace("\\\n", " ")
        for line in text.splitlines():
            for part in re.split(r"&&|&$|[;|] (?=\w+ )", line):
                try:
                    words = shlex.split(part, comments=code.block)
                except ValueError:  # an apostrophe in prose
                    continue
                while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):  # environment
                    words = words[1:]
                if words[:1] == ["torchrun"] and "wsss" in words:
                    words = words[words.index("wsss") :]
                if words[:1] == ["python"]:
                    words = words[1:]
                if words and words[0].endswith("bin/wsss"):
                    words[0] = "wsss"
                if len(words) > (words[:1] == ["wsss"]) and re.match(r"wsss$|scripts/", words[0]):
                    yield Command(code, tuple(words))


ALL = list(commands())
WSSS = [one for one in ALL if one.words[0] == "wsss"]
SCRIPTS = [one for one in ALL if one.words[0] != "wsss"]


def name(command: Command) -> str:
    return f"{command.code.page.name}:{command.code.line}: {' '.join(command.words)[:60]}"


def test_commands_are_found() -> None:
    # a collector that finds nothing would pass everything
    assert len(WSSS) > 100 and len(SCRIPTS) > 15
    assert {one.words[1] for one in WSSS} >= set(COMMANDS)
    assert any(one.code.mark is not None for one in WSSS)


@pytest.mark.parametrize("command", WSSS, ids=name)
def test_a_command_has_its_options_and_arguments(command: Command) -> None:
    first, *rest = command.words[1:]
    if first in OPTIONS or PLACEHOLDER.fullmatch(first):
        return
    assert first in COMMANDS, f"no command {first}"
    params = COMMANDS[first].params
    options = {opt: p for p in params for opt in (*p.opts, *p.secondary_opts) if opt[0] == "-"}
    arguments = [p for p in params if p.param_type_name == "argument"]
    given: list[str] = []
    while rest:
        word = rest.pop(0)
        if word == "--help" or PLACEHOLDER.fullmatch(word):
            given += [word] if word != "--help" else []
            continue
        if not word.startswith("--"):
            given.append(word)
            continue
        option, sign, value = word.partition("=")
        assert option in options, f"wsss {first} has no {option}"
        if options[option].is_flag or sign:
            continue
        if not rest and not command.code.block:
            continue  # prose names the option alone
        assert rest, f"{option} takes a value"
        value = rest.pop(0)
        if options[option].name in ("round", "count", "max_side", "downsample"):
            assert value.isdigit() or PLACEHOLDER.fullmatch(value), f"{option} {value}"
    if not any(p.nargs == -1 for p in arguments):
        assert len(given) <= len(arguments), f"too many arguments: {given}"


def settings() -> Iterator[tuple[Code, str]]:
    """Every `section.key=value`, in commands and by itself."""
    for command in ALL:
        if command.words[0] == "wsss":
            for word in command.words[2:]:
                if re.match(rf"({SECTIONS})(\.\w+)*=", word):
                    yield command.code, word
    for code in CODES:
        if not code.block and re.match(rf"'?({SECTIONS})\.[\w.]+=[^=]", code.text):
            # one with spaces may do without quotes in prose
            one = "'" not in code.text and len(re.findall(r"\w=", code.text)) == 1
            words = [code.text] if one else shlex.split(code.text)
            yield from ((code, word) for word in words if "=" in word)


SETTINGS = [one for one in settings() if one[0].page.name not in HISTORY]


def test_settings_are_found() -> None:
    assert len(SETTINGS) > 60


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda one: f"{one[0].page.name}: {one[1][:50]}")
def test_a_setting_loads(setting: tuple[Code, str]) -> None:
    code, text = setting
    key, _, value = text.partition("=")
    if re.search(r"(^|\W)[A-Z][A-Z_]*(\W|$)", value):
        assert key in known_keys(), f"no key {key}"
        return
    source = [] if key.startswith(("data.images", "data.tags", "data.class")) else ["data.root=."]
    both = {"data.images": "data.tags=.", "data.tags": "data.images=."}
    own = "data.class_names" if key == "data.class_names" else key
    more = ["data.images=.", "data.tags=."] if own == "data.class_names" else [both.get(key, "")]
    try:
        load(None, [*source, *(one for one in more if one), text])
    except WsssError as error:
        paragraph = around(code)
        assert "removed" in paragraph, error


def known_keys() -> set[str]:
    def below(model: Any, prefix: str) -> Iterator[str]:
        for key, field in model.model_fields.items():
            yield prefix + key
            if hasattr(field.annotation, "model_fields"):
                yield from below(field.annotation, f"{prefix}{key}.")

    return set(below(RunConfig, ""))


def around(code: Code) -> str:
    """The paragraph or row that a piece of code stands in."""
    lines = code.page.read_text(encoding="utf-8").splitlines()
    start = end = code.line - 1
    if lines[start].startswith("|"):
        return lines[start]
    while start > 0 and lines[start - 1].strip():
        start -= 1
    while end < len(lines) and lines[end].strip():
        end += 1
    return "\n".join(lines[start:end])


@pytest.mark.parametrize("command", SCRIPTS, ids=name)
def test_a_script_and_its_options_exist(command: Command) -> None:
    script = ROOT / command.words[0]
    assert script.is_file(), f"no {command.words[0]}"
    if script.suffix != ".py":
        return
    wanted = {word.partition("=")[0] for word in command.words[1:] if word.startswith("--")}
    known = {"--help"}
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            known |= {node.value, f"--{node.value}"}  # some options are made from a list of names
    assert wanted <= known, f"{command.words[0]} has no {wanted - known}"


def paths() -> Iterator[tuple[Code, str]]:
    """Files of the repository that code names, by their path from its root."""
    for code in CODES:
        for word in re.findall(r"[\w./*-]+", code.text):
            if re.match(r"(configs|docs|scripts|tests|glmix|wsss)/[\w.*/-]*\.\w+$", word):
                before = code.text[: code.text.index(word)]
                if not before.endswith((":", "/")):  # a file of an earlier commit, or elsewhere
                    yield code, word


@pytest.mark.parametrize("one", list(paths()), ids=lambda one: f"{one[0].page.name}: {one[1]}")
def test_a_file_that_is_named_exists(one: tuple[Code, str]) -> None:
    code, path = one
    if code.page.name == "CHANGELOG.md" or path == TIMMS:
        return
    assert list(ROOT.glob(path)) or (ROOT / "docs" / path).is_file(), f"no {path}"


def slug(heading: str) -> str:
    """The anchor that GitHub and the site give a heading."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    lines = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL).splitlines()
    return {slug(line.lstrip("#")) for line in lines if re.match(r"#+ ", line)}


def links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(\s*([^)\s]+)\s*\)", text):
            if "://" not in target:
                yield page, target


@pytest.mark.parametrize("link", list(links()), ids=lambda one: f"{one[0].name}: {one[1]}")
def test_a_link_leads_somewhere(link: tuple[Path, str]) -> None:
    page, target = link
    path, _, anchor = target.partition("#")
    found = (page.parent / path).resolve() if path else page
    assert found.exists(), f"no {path}"
    if anchor and found.suffix == ".md":
        assert anchor in anchors(found), f"no heading #{anchor} in {found.name}"


def test_every_page_is_in_the_site() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:")[2]
    missing = [p.name for p in (ROOT / "docs").rglob("*.md") if p.name not in nav]
    assert not missing


def test_every_setting_has_a_description() -> None:
    hooks = import_hooks()
    sections = [f.annotation for f in RunConfig.model_fields.values()]
    described = list(hooks.keys(RunConfig))
    for section, key in zip(sections, RunConfig.model_fields, strict=True):
        if hasattr(section, "model_fields"):
            described += hooks.keys(section, f"{key}.")
    assert {one.key for one in described} >= {"seed", "train_seg.loss.kind", "pseudo_masks.crf"}
    assert not [one.key for one in described if not one.text]
    page = hooks.settings()
    assert "| `pseudo_masks.confidence` | number, ≥ 0, < 1 | `0.7` |" in page
    assert "| `evaluate.unsure` | `background`, `wrong` | `background` |" in page


def test_every_command_is_in_the_reference() -> None:
    page = import_hooks().commands()
    for command, item in COMMANDS.items():
        assert f"## wsss {command}\n" in page
        for param in item.params:
            assert param.param_type_name == "argument" or f"`{param.opts[0]}" in page


def import_hooks() -> Any:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import docs_hooks

        return docs_hooks
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages' reader has: photographs, their tags, one photograph more."""
    folder = tmp_path_factory.mktemp("desk")
    rows = ["image,tags"]
    for kind, count in (("photos", 20), ("new_photos", 2)):
        (folder / kind).mkdir()
        for i in range(count):
            image, mask = render_image(96, i % len(CLASS_NAMES), np.random.default_rng(i))
            Image.fromarray(image).save(folder / kind / f"p{i:02d}.jpg")
            tags = ", ".join(CLASS_NAMES[value - 1] for value in np.unique(mask) if value)
            rows += [f'p{i:02d}.jpg,"{tags}"'] if kind == "photos" else []
    (folder / "tags.csv").write_text("\n".join(rows) + "\n")
    shutil.copy(ROOT / "docs" / "figures" / "cat.jpg", folder / "photo.jpg")
    return folder


RUNNABLE = [one for one in WSSS if one.code.mark is not None]


@pytest.mark.slow
@pytest.mark.parametrize("command", RUNNABLE, ids=name)
def test_a_command_runs(command: Command, desk: Path) -> None:
    # in the order of the page: a run is trained before it predicts
    program = [sys.executable, "-W", "ignore", "-c", "from wsss.cli import main; main()"]
    words = [*command.words[1:], *(command.code.mark or "").split()]
    result = subprocess.run(
        [*program, *words], cwd=desk, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    printed = desk / result.stdout.splitlines()[-1]
    assert printed.exists() or command.words[1] == "check-data", result.stdout


@pytest.mark.slow
def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # its kernel starts in the notebook's folder
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    path = ROOT / "docs" / "notebooks" / "quickstart.ipynb"
    notebook = nbformat.read(path, 4)
    resources = {"metadata": {"path": str(path.parent)}}
    nbclient.NotebookClient(notebook, timeout=170, resources=resources).execute()
    # what the page shows is what the cells give today, in kind
    assert outputs(notebook) == outputs(nbformat.read(path, 4))


def outputs(notebook: Any) -> list[list[list[str]]]:
    """The kinds of every code cell's outputs, warnings aside."""
    return [
        [sorted(o.get("data", {"text": ""})) for o in cell.outputs if o.get("name") != "stderr"]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.slow
def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocstrings")
    pytest.importorskip("material")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    environment = {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1", "PATH": "/usr/bin:/bin"}
    result = subprocess.run(
        [*command, "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(
            r'<(?:script|img|source|iframe)\b[^>]*?src="((?:https?:)?//[^"]*)', text
        )
        loaded += re.findall(r'<link\b[^>]*?href="((?:https?:)?//[^"]*)', text)
        assert not loaded, page.name
