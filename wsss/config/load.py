"""Configs from YAML files and `section.key=value`; whatever is wrong becomes one sentence."""

import datetime
import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import ValidationError

from wsss import recipes
from wsss.config.schema import RunConfig
from wsss.errors import WsssError, brief
from wsss.files import parse_yaml
from wsss.seeding.walks import Walk

RETIRED = (("self_training", "former_masks"),)
"""Settings that earlier versions wrote into every run, and that are no more."""


def load(
    path: Path | None = None, overrides: Sequence[str] = (), of_run: bool = False
) -> RunConfig:
    """Read a config: defaults ← file ← overrides.

    Args:
        path: YAML file; None starts from the defaults.
        overrides: `section.key=value`, the value in YAML.
        of_run: whether the program wrote the file: settings in it that are no more are left out.

    Raises:
        WsssError: the file is missing or no YAML, a key is unknown, a value is of the wrong type.
    """
    values = _read_yaml(path) if path is not None else {}
    for section, key in RETIRED if of_run else ():
        if isinstance(values.get(section), dict):
            values[section].pop(key, None)
    for override in overrides:
        _apply(values, override)
    return parse(values, str(path) if path else "the command line")


def parse(values: dict[str, Any], source: str) -> RunConfig:
    """Check plain values against the schema; `source` is named in errors."""
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise WsssError(_sentence(error, source)) from None


def save(config: RunConfig, path: Path) -> None:
    """Write the whole config, defaults included, as YAML; walks that are left open stay so."""
    values = config.model_dump(mode="json")
    if config.leaves_walks_open:
        del values["pseudo_masks"]["walks"], values["pseudo_masks"]["border"]
    path.write_text(yaml.safe_dump(values, sort_keys=False))


def quoted(path: Path) -> str:
    """A path as YAML text, for an override: a folder may be called `2024` or `a: b`."""
    return json.dumps(str(path), ensure_ascii=False)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WsssError(
            f"No config at {path}: give the path of a YAML file, or the name of a packaged recipe "
            f"({', '.join(recipes.names())})."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise WsssError(f"{path} can't be read ({error}): give a YAML file.") from None
    except ValueError as error:
        raise WsssError(f"{path} is not valid YAML ({error}): fix that line.") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise WsssError(f"{path} holds a {type(values).__name__}: a config is a mapping of keys.")
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    key, sign, text = override.partition("=")
    if not sign or not key:
        raise WsssError(f"{brief(override)} is not an override: write section.key=value.")
    *parents, last = key.split(".")
    try:
        # a folder may be called `2024` or `Photos #1`: a path is taken as it stands
        plain = text not in ("", "null") and text[0] not in "\"'"
        value = text if plain and _is_path(key) else parse_yaml(text)
    except ValueError:
        raise WsssError(f"The value in {brief(override)} is not valid YAML: quote it.") from None
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise WsssError(
                f"{brief(override)}: {parent} is a single value, it has no keys below it."
            )
    values[last] = value


def _is_path(key: str) -> bool:
    """Whether a setting is a single path."""
    model: Any = RunConfig
    field = None
    for part in key.split("."):
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field else None
    kind = field.annotation if field else None
    return kind is Path or (get_origin(kind) is not tuple and Path in get_args(kind))


_MOST = 6  # faults that a sentence names


def _sentence(error: ValidationError, source: str) -> str:
    items = error.errors()
    # a faulty item makes its list faulty, too: name the item alone
    locations = {item["loc"][:end] for item in items for end in range(1, len(item["loc"]))}
    faults = [_fault(item) for item in items if item["loc"] not in locations]
    more = f" (and {len(faults) - _MOST} more)" if len(faults) > _MOST else ""
    # each form that a value may take complains by itself: one clause a key
    clauses: dict[str, list[str]] = {}
    for start, expected in faults[:_MOST]:
        clauses.setdefault(start, []).append(expected)
    text = "; ".join(start + " or ".join(expected) for start, expected in clauses.items())
    return f"Config from {source}: {text}{more}."


def _fault(item: Any) -> tuple[str, str]:
    """What was found and where, and what was expected."""
    loc = [part for part in item["loc"] if part not in _FORMS]
    where = ".".join(map(str, loc))
    if item["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return _unknown_key(item["loc"]), ""
    if item["type"] == "missing":
        return f"{where} is missing: set it", ""
    if item["type"] == "value_error":
        reason = item["msg"].removeprefix("Value error, ")
        return (f"{where}: {reason}" if where else reason), ""
    if item["type"] in ("model_type", "dict_type"):
        return f"{where} is {brief(item['input'])}: expected ", "keys with values below it"
    if item["type"] == "string_type":
        # what a text without quotes became
        unquoted = isinstance(item["input"], bool | int | float | datetime.date)
        quoted_so = f": quote it, '\"{item['input']}\"'" if unquoted else ""
        return f"{where} is {brief(item['input'])}: expected ", f"text{quoted_so}"
    message = item["msg"].replace("Input should be ", "").replace("a valid ", "a ")
    message = message.replace("a integer", "an integer").replace("Tuple should have ", "")
    message = message.partition(", unable")[0].partition(", got")[0]
    message = message.partition(" after validation")[0]
    return f"{where} is {brief(item['input'])}: expected ", message


# what pydantic adds to the place of a value that may take several forms
_FORMS = (
    "float",
    "constrained-float",
    "path",
    "literal['otsu','mixture']",
    "literal['pretrained']",
)


def _unknown_key(loc: tuple[int | str, ...]) -> str:
    model: Any = RunConfig
    for part in loc[:-1]:
        field = getattr(model, "model_fields", {}).get(str(part))
        model = field.annotation if field else None
    known = {name: name for name in getattr(model, "model_fields", Walk.__dataclass_fields__)}
    for section, field in RunConfig.model_fields.items() if model is RunConfig else ():
        # a key that was written without its section
        keys = getattr(field.annotation, "model_fields", {})
        known |= {key: f"{section}.{key}" for key in keys if key not in known}
    near = difflib.get_close_matches(str(loc[-1]), known, n=1, cutoff=0.5)
    hint = f"did you mean {known[near[0]]}?" if near else f"expected one of {', '.join(known)}"
    return f"unknown key {'.'.join(map(str, loc))} ({hint})"
