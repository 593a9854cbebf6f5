"""Pages of the site that are made from the code: mkdocs calls these hooks when it builds.

`<!-- wsss: commands -->` in a page becomes the reference of the command line, `<!-- wsss: settings
-->` that of the config; a page that is called after a notebook beside it becomes the notebook.
"""

import ast
import inspect
import json
import re
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from wsss.cli import app
from wsss.config import RunConfig, schema
from wsss.seeding import walks


class Setting(NamedTuple):
    """A key of the config.

    Attributes:
        key: section.key.
        form: what it takes, in words.
        default: as YAML has it; empty for a key that must be set.
        text: what it is.
    """

    key: str
    form: str
    default: str
    text: str


def on_page_markdown(markdown: str, page: Any, **_: object) -> str:
    """Put in what is made from the code."""
    source = Path(page.file.abs_src_path)
    if source.with_suffix(".ipynb").is_file():
        return notebook(source.with_suffix(".ipynb"))
    if "<!-- wsss: commands -->" in markdown:
        markdown = markdown.replace("<!-- wsss: commands -->", commands())
    if "<!-- wsss: settings -->" in markdown:
        markdown = markdown.replace("<!-- wsss: settings -->", settings())
    return markdown


def commands() -> str:
    """The reference of the command line, in Markdown."""
    group: Any = typer.main.get_command(app)
    return "\n".join(_command(name, command) for name, command in group.commands.items())


def _command(name: str, command: Any) -> str:
    usage = " ".join(
        [f"wsss {name}", *(_argument(p) for p in command.params if p.param_type_name == "argument")]
    )
    rows = []
    kinds = typing.get_type_hints(command.callback, include_extras=False)
    for param in command.params:
        if param.param_type_name != "option":
            continue
        takes = "" if param.is_flag else f" {_kind(kinds.get(param.name))}"
        names = ", ".join(f"`{one}{takes}`" for one in param.opts)
        if param.secondary_opts:
            names += ", " + ", ".join(f"`{one}`" for one in param.secondary_opts)
        rows.append(f"| {names} | {_default(param)} | {_cell(param.help or '')} |")
    table = ["| option | default | |", "|---|---|---|", *rows] if rows else []
    parts = [f"## wsss {name}", f"    {usage} [OPTIONS]", inspect.cleandoc(command.help or "")]
    return "\n\n".join([*parts, "\n".join(table), ""])


def _argument(param: Any) -> str:
    shown = param.metavar or param.name.upper()
    return shown if param.required or shown.startswith("[") else f"[{shown}]"


def _default(param: Any) -> str:
    if param.required:
        return "required"
    return "" if param.default in (None, False, "") else f"`{param.default}`"


def _kind(hint: Any) -> str:
    known = {Path: "PATH", int: "N", float: "X", str: "TEXT"}
    options = typing.get_args(hint) or (hint,)
    return next((known[one] for one in options if one in known), "TEXT")


def settings() -> str:
    """The reference of the config, in Markdown."""
    lines = ["| key | takes | default | |", "|---|---|---|---|"]
    top = [one for one in keys(RunConfig) if "." not in one.key]
    parts = ["\n".join([*lines, *map(_row, top)])]
    for name, field in RunConfig.model_fields.items():
        section = field.annotation
        if _is_section(section):
            parts += [f"## {name}", inspect.cleandoc(section.__doc__ or "")]
            parts.append("\n".join([*lines, *map(_row, keys(section, f"{name}."))]))
    for item, where in ((walks.Walk, "one of `walks`"), (walks.Border, "`border`")):
        parts.append(f"## {item.__name__}: {where}")
        parts.append("\n".join(["| key | default | |", "|---|---|---|", *_attributes(item)]))
    return "\n\n".join(parts) + "\n"


def keys(section: type[BaseModel], prefix: str = "") -> Iterator[Setting]:
    """Every key of a section and of those in it; of the whole config, its own alone."""
    texts = descriptions()
    for name, field in section.model_fields.items():
        inner = field.annotation
        if _is_section(inner):
            if section is not RunConfig:
                yield from keys(inner, f"{prefix}{name}.")
            continue
        owner = next(c for c in section.__mro__ if name in inspect.get_annotations(c))
        yield Setting(f"{prefix}{name}", _form(field), _shown(field), texts[owner.__name__, name])


def descriptions() -> dict[tuple[str, str], str]:
    """(class, field) → the docstring under the field, empty where there is none."""
    found = {}
    for node in ast.parse(Path(schema.__file__).read_text()).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for field, below in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                value = below.value if isinstance(below, ast.Expr) else None
                text = value.value if isinstance(value, ast.Constant) else ""
                found[node.name, field.target.id] = " ".join(str(text).split())
    return found


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _row(one: Setting) -> str:
    default = f"`{one.default}`" if one.default else "required"
    return f"| `{one.key}` | {_cell(one.form)} | {_cell(default)} | {_cell(one.text)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _shown(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return ""
    plain = json.loads(json.dumps(value, default=_plain))
    return json.dumps(plain, ensure_ascii=False).strip('"')


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    defaults = {name: one.default for name, one in value.__dataclass_fields__.items()}
    return {k: v for k, v in vars(value).items() if v != defaults[k] or k == "block"}


def _form(field: FieldInfo) -> str:
    """What a setting takes: its type, and the bounds that pydantic checks."""
    return ", ".join([_type(field.annotation), *_bounds(field.metadata)])


def _bounds(marks: Sequence[Any]) -> list[str]:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    values = ((sign, getattr(mark, name, None)) for mark in marks for name, sign in signs.items())
    return [f"{sign} {value}" for sign, value in values if value is not None]


def _type(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        marks = [m for mark in arguments[1:] for m in (mark, *getattr(mark, "metadata", ()))]
        return " ".join([_type(arguments[0]), *_bounds(marks)])
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_type(one) for one in arguments)
    if origin is typing.Literal:
        return ", ".join(f"`{one}`" for one in arguments)
    if origin is tuple:
        inner = _type(arguments[0])
        return f"list of {inner}" if arguments[-1] is Ellipsis else f"[{inner}, {inner}]"
    names: dict[Any, str] = {
        int: "integer", float: "number", bool: "true, false", str: "text", Path: "path",
        type(None): "null", dict: "keys with values", walks.Walk: "Walk", walks.Border: "Border",
    }  # fmt: skip
    return names[origin or kind]


def _attributes(item: Any) -> Sequence[str]:
    """Rows of a dataclass whose attributes its docstring lists."""
    text = inspect.cleandoc(item.__doc__).partition("Attributes:\n")[2]
    found = re.findall(r"^    (\w+): (.+(?:\n        .+)*)", text, re.MULTILINE)
    rows = []
    for name, said in found:
        default = item.__dataclass_fields__[name].default
        known = isinstance(default, str | int | float | type(None))
        shown = f"`{json.dumps(default)}`" if known else "required"
        rows.append(f"| `{name}` | {shown} | {_cell(' '.join(said.split()))} |")
    return rows


def notebook(path: Path) -> str:
    """A notebook in Markdown, its images inside the page."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            image = next((kind for kind in data if kind.startswith("image/")), None)
            text = "".join(output.get("text", data.get("text/plain", "")))
            if image:
                encoded = "".join(data[image]).replace("\n", "")
                parts.append(f'<img alt="output" src="data:{image};base64,{encoded}">')
            elif text.strip():
                parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"
