"""Configs and `key=value`: another spelling of the same settings, wrong ones, and damaged files."""

import json
from pathlib import Path
from random import Random

import yaml

from robustness.case import Case, case
from robustness.damage import NASTY_TEXTS, NASTY_VALUES, damage_bytes, damaged_value, replace_entry

# with a larger number the work is longer, which is no fault
_LONG = (
    *("epochs", "rounds", "iterations", "workers", "batch_size", "crop", "threads", "scales"),
    *("accumulate", "max_side", "tile", "depths", "embed_dims", "channels", "slot_grid", "device"),
    *("compile", "slot_top", "scale", "steps", "mlp_ratios", "head_dim"),
)
_QUICK = ("check-data",)


def settings(rng: Random, box: Path) -> Case:
    """The YAML file or an override is written otherwise, or wrong."""
    path = box / "tiny.yaml"
    how = rng.randrange(10)
    if how < 2:
        return case(_otherwise(rng, path), "config", means="same")
    if how == 2:
        return case(f"{replace_entry(rng, path)} for the config", "config", means="either")
    if how == 3:
        return case(f"{damage_bytes(rng, path)}: config", "config", only=_QUICK)
    if how == 4:
        return _wrong_yaml(rng, path)
    if how < 7:
        values, what = damaged_value(rng, yaml.safe_load(path.read_text()))
        path.write_text(yaml.safe_dump(values, allow_unicode=True), "utf-8", "surrogatepass")
        only = _QUICK if any(word in what for word in _LONG) else ()
        return case(f"config: {what}", "config", only=only)
    return _override(rng)


def _otherwise(rng: Random, path: Path) -> str:
    values = yaml.safe_load(path.read_text())
    keys = rng.sample(list(values), len(values))
    values = {key: values[key] for key in keys}
    how = rng.choice(
        ("as JSON", "in flow", "in blocks", "with comments", "with anchors", "in CRLF")
    )
    text = yaml.safe_dump(values, sort_keys=False, default_flow_style=how == "in flow")
    if how == "as JSON":
        text = json.dumps(values)
    if how == "with comments":
        text = "".join(f"{line}  # why\n" for line in text.splitlines())
    if how == "with anchors":
        text = f"{text}seed: &zero 0\n"
    if how == "in CRLF":
        text = text.replace("\n", "\r\n")
    path.write_bytes(text.encode(rng.choice(("utf-8", "utf-8-sig"))))
    return f"config {how}"


def _wrong_yaml(rng: Random, path: Path) -> Case:
    text = path.read_text()
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
    )
    what, wrong, means = rng.choice(
        (
            ("a bomb of aliases", bomb, "refuse"),
            ("an alias to itself", f"{text}data: &d {{class_names: [*d]}}\n", "refuse"),
            ("a date that isn't", f"{text}seed: 2024-13-45\n", "refuse"),
            (
                "a Python object",
                f"{text}seed: !!python/object/apply:os.system ['true']\n",
                "refuse",
            ),
            ("a deep list", f"{text}seed: {'[' * 10_000}{']' * 10_000}\n", "refuse"),
            ("a tab", f"{text}\tseed: 1\n", "refuse"),
            ("two documents", f"{text}---\nseed: 1\n", "refuse"),
            ("a list", "- a\n- b\n", "refuse"),
            ("a key twice", f"{text}seed: 1\nseed: 2\n", "refuse"),
            ("a number as a key", f"{text}1: 2\n", "refuse"),
            ("no key", f"{text}? [a, b]\n: 1\n", "refuse"),
            ("null as a key", f"{text}null: 1\n", "refuse"),
            ("a section as a text", f"{text}evaluate: fast\n", "refuse"),
            ("a huge number", f"{text}seed: {'9' * 5000}\n", "refuse"),
            ("Latin-1", None, "refuse"),
        )
    )
    if wrong is None:
        path.write_bytes(f"{text}# é\n".encode("latin-1"))
    else:
        path.write_text(wrong)
    return case(f"config with {what}", "config", means=means)  # type: ignore[arg-type]


_KEYS = (
    *("seed", "run", "round", "data.root", "data.images", "data.tags", "data.class_names"),
    *("data.max_side", "data.train_split", "data.mask_split", "data.mask_images", "data.val_split"),
    *("backbone.name", "backbone.weights", "backbone.args", "train_cls.lr", "train_cls.holdout"),
    *("train_cls.slot_block", "train_cls.crop_area", "pseudo_masks.walks", "pseudo_masks.crf"),
    *("pseudo_masks.background", "pseudo_masks.border", "train_seg.decoder", "train_seg.ema"),
    *("train_seg.decoder_args", "train_seg.loss", "evaluate.crf", "evaluate.test_crf"),
    *("runtime.precision", "runtime.save_every", "train_cls", "evaluate", "x", "data", "data.x.y"),
)


def _override(rng: Random) -> Case:
    key, value = rng.choice(_KEYS), rng.choice((*NASTY_VALUES, *NASTY_TEXTS))
    text = value if isinstance(value, str) else json.dumps(value)
    text = text.replace("\0", rng.choice(("\\0", '"\\0"')))  # a command line has none
    forms = (
        f"{key}={text}",
        f"{key}={text}",
        f"{key}==",
        f"={text}",
        f"{key}={{",
        f"{key}=!!int x",
    )
    option = rng.choice(forms).encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    only = ("check-data", "train-cls") if key != "run" else _QUICK
    return case(f"override {option[:40]!r}", "config", options=(option,), only=only)
