"""Every setting of a run: one model a stage, from YAML and `key=value`; unknown keys refused."""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    ValidationError,
    model_validator,
)

from wsss.errors import WsssError
from wsss.seeding.walks import Border, Seeding, Walk


class Section(BaseModel):
    """A part of the config: unknown keys are refused, values are checked on assignment."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False)


def _rising(interval: tuple[float, float]) -> tuple[float, float]:
    if interval[0] > interval[1]:
        raise ValueError(f"{list(interval)} falls: write the smaller number first")
    return interval


Share = Annotated[float, Field(gt=0, lt=1)]
"""More than nothing and less than all."""

Range = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_rising)]
"""Smallest and largest of what chance chooses among, both above 0."""


class DataConfig(Section):
    """What the run trains on and is scored on: a VOC folder, or one's own images with a CSV."""

    root: Path | None = None
    """Folder in VOC layout: JPEGImages, Annotations, ImageSets/Segmentation[, masks]."""
    images: Path | None = None
    """One's own images, with `tags`."""
    tags: Path | None = None
    """CSV `image,tags` of one's own images."""
    class_names: tuple[str, ...] | None = Field(None, min_length=1)
    """Classes of one's own images in the order of mask values; None takes the sorted tags."""
    max_side: int | None = Field(1024, ge=32)
    """Images and their masks are reduced to this long side to train and to make pseudo-masks,
    which are written at the image's own size; null takes them as they are."""
    train_split: str = "train_aug"
    """Images whose tags train the classifier."""
    mask_split: str = "train_aug"
    """Images that get pseudo-masks, which train the segmenter."""
    mask_images: int | None = Field(None, ge=1)
    """Only so many of them, the images of `score_split` first; None takes all."""
    score_split: str = "train"
    """Images on which seeds and pseudo-masks are scored, where there are true masks."""
    val_split: str = "val"
    """Images on which predictions are scored."""

    @model_validator(mode="after")
    def _one_source(self) -> "DataConfig":
        if self.root is None and self.images is None:
            raise ValueError("no data: set data.root (VOC layout), or data.images and data.tags")
        if self.root is not None and self.images is not None:
            raise ValueError("both data.root and data.images are set: keep one of them")
        if (self.images is None) != (self.tags is None):
            raise ValueError("data.images and data.tags go together: set both")
        if self.class_names is not None and self.images is None:
            raise ValueError(
                "data.class_names goes with data.images: a folder in VOC layout has its classes in "
                "class_names.txt"
            )
        return self


class BackboneConfig(Section):
    """The GLNet under classifier and segmenter."""

    name: str = "glnet_nano"
    weights: Path | Literal["pretrained"] | None = "pretrained"
    """`pretrained` finds them by the name; a released .pth or .safetensors; null: random ones."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the model, as `glmix.GLNet` takes them."""


class OptimConfig(Section):
    """AdamW with warm-up and polynomial decay."""

    epochs: float = Field(8, gt=0)
    batch_size: int = Field(32, ge=1)
    lr: float = Field(1e-3, gt=0)
    backbone_lr_factor: float = Field(0.3, ge=0)
    weight_decay: float = Field(0.05, ge=0)
    warmup_steps: int = Field(100, ge=0)
    poly_power: float = Field(0.9, ge=0)
    clip_grad: float = Field(5.0, gt=0)
    accumulate: int = Field(1, ge=1)
    """Parts that a batch passes the network in, one after the other, where memory is short."""
    ema: float = Field(0.0, ge=0, lt=1)
    """Decay of the average of weights that is kept; 0 keeps the last ones."""

    @property
    def least_images(self) -> int:
        """Images that the network takes at once, at least."""
        return 1

    @model_validator(mode="after")
    def _equal_parts(self) -> "OptimConfig":
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size is {self.batch_size} and accumulate {self.accumulate}: expected equal "
                "parts, take an accumulate that divides batch_size"
            )
        return self


class TrainClsConfig(OptimConfig):
    """Stage 1: the classifier, from tags."""

    crop: int = Field(192, ge=16)
    crop_area: Range = (0.25, 1.0)
    jitter: float = Field(0.3, ge=0, le=1)
    holdout: float = Field(0.05, ge=0, lt=1)
    """Part of the training images held back for the mAP."""
    pooling: Literal["mean", "lse"] = "lse"
    """How class activation becomes a logit: its mean, or log-mean-exp for small objects."""
    slot_block: str = "16.0"
    """Block whose slots the auxiliary head classifies, as stride.index."""
    slot_top: int = Field(6, ge=1)
    slot_loss: float = Field(0.5, ge=0)
    """Weight of the auxiliary loss."""


class PseudoMasksConfig(Section):
    """Stage 2: class activation → slots → seeds → CRF → masks."""

    scales: tuple[PositiveFloat, ...] = Field((1.0, 1.5), min_length=1)
    flip: bool = True
    walks: tuple[Walk, ...] = (Walk("16.0", 8), Walk("16.2", 8), Walk("16.4", 8))
    """Random walks through slots; without any, the seeds are plain class activation."""
    border: Border | None = Border()
    """Background evidence from the image's border; null leaves the scores."""
    background: Share | Literal["otsu", "mixture"] = "otsu"
    """Score above which a class stands out: a number in (0, 1), or a rule per class and image."""
    sharpness: float = Field(20.0, gt=0)
    """Slope of the sigmoid that makes probabilities of scores."""
    crf: str = "irn"
    """Preset of the CRF, or `none`."""
    crf_backend: Literal["torch", "pydensecrf"] = "torch"
    crf_iterations: int = Field(10, ge=1)
    confidence: float = Field(0.7, ge=0, lt=1)
    """A pixel whose best marginal is lower becomes 255."""

    @property
    def seeding(self) -> Seeding:
        """What makes the score maps."""
        return Seeding(self.walks, self.border)


class MaskLossConfig(Section):
    """What a pixel of a pseudo-mask costs; pseudo-masks are often wrong."""

    kind: Literal["cross_entropy", "symmetric"] = "symmetric"
    reverse_weight: float = Field(0.5, ge=0)
    """Of the bounded term of `symmetric`."""
    balanced: bool = True
    """Background and foreground weigh the same, whatever their areas."""


class TrainSegConfig(OptimConfig):
    """Stage 3: the segmenter, from the pseudo-masks alone."""

    decoder: Literal["segformer", "fpn", "upernet", "unet"] = "segformer"
    decoder_args: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the decoder, as segmentation-models-pytorch takes them."""
    from_classifier: bool = True
    """Start the encoder from the classifier's backbone instead of `backbone.weights`."""
    batch_size: int = Field(16, ge=1)
    crop: int = Field(256, ge=32)
    scale: Range = (0.5, 2.0)
    jitter: float = Field(0.3, ge=0, le=1)
    ema: float = Field(0.998, ge=0, lt=1)
    loss: MaskLossConfig = Field(default_factory=MaskLossConfig)

    @property
    def least_images(self) -> int:
        """Images that the network takes at once, at least."""
        # UPerNet normalises the mean of a whole image over the batch, which takes two images
        other_norm = "decoder_use_norm" in self.decoder_args
        return 2 if self.decoder == "upernet" and not other_norm else 1

    @model_validator(mode="after")
    def _enough_at_once(self) -> "TrainSegConfig":
        if self.batch_size // self.accumulate < self.least_images:
            raise ValueError(
                f"decoder {self.decoder} takes two images at once at least, batch_size is "
                f"{self.batch_size} and accumulate {self.accumulate}: raise batch_size, lower "
                "accumulate, or take another decoder"
            )
        return self


class SelfTrainingConfig(Section):
    """Rounds after the first: masks by the segmenter of the round before, filtered by the tags."""

    rounds: int = Field(1, ge=1)
    """Rounds that `wsss run` goes through, the first among them."""
    start: Literal["former", "fresh"] = "former"
    """Start from the former round's segmenter, or as the first round did."""
    scales: tuple[PositiveFloat, ...] = Field((0.75, 1.0, 1.25), min_length=1)
    flip: bool = True
    former_masks: float = Field(0.3, ge=0, lt=1)
    """Weight of the former round's masks, mixed into the segmenter's probabilities."""
    crf: str = "deeplab"
    """Preset of the CRF, or `none`."""
    crf_iterations: int = Field(10, ge=1)
    confidence: float = Field(0.7, ge=0, lt=1)
    """A pixel whose best marginal is lower becomes 255."""


class PredictionMode(NamedTuple):
    """How an image is looked at to predict its mask."""

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    crf: str = "none"


class EvaluateConfig(Section):
    """Predictions and their scores: test-time scales, flip, CRF; what an unsure pixel counts as."""

    scales: tuple[PositiveFloat, ...] = Field((1.0,), min_length=1)
    flip: bool = False
    crf: str = "none"
    unsure: Literal["background", "wrong"] = "background"
    fast: bool = False
    """Score predictions by `scales`, `flip` and `crf` alone, without the columns beside them."""
    test_scales: tuple[PositiveFloat, ...] = Field((0.5, 0.75, 1.0, 1.25, 1.5, 1.75), min_length=1)
    """Scales of the columns over scales and flip."""
    test_crf: str = "deeplab"
    """Preset of the column with a CRF."""
    tile: int | None = Field(1024, ge=64)
    """Larger images are cut into overlapping windows of this side; null for no limit."""
    max_side: int | None = Field(1024, ge=32)
    """Images are reduced to this long side first; null predicts at full resolution."""

    @property
    def own(self) -> PredictionMode:
        """The column that `predict` makes."""
        return PredictionMode(self.scales, self.flip, self.crf)

    def columns(self) -> dict[str, PredictionMode]:
        """The columns of an evaluation by name.

        `single` scale, over `scales` and flip, and that with a `crf`; before them, as `configured`,
        the one that `predict` makes where it is none of the three. That one alone if `fast`; no
        CRF where `test_crf` is `none`.
        """
        columns = {
            "single": PredictionMode(),
            "scales": PredictionMode(self.test_scales, True),
            "crf": PredictionMode(self.test_scales, True, self.test_crf),
        }
        if self.test_crf == "none":
            del columns["crf"]
        if self.own not in columns.values():
            columns = {"configured": self.own, **columns}
        return {n: c for n, c in columns.items() if c == self.own or not self.fast}


class AblateConfig(Section):
    """The table of score maps and refinements on one classifier, or on several."""

    runs: tuple[Path, ...] = ()
    """Folders of the runs whose classifiers are compared; none takes the config's own."""
    images: int | None = Field(None, ge=1)
    """Only so many of `data.score_split`, drawn by `seed`; None takes all."""
    fixed_cam: float = Field(0.1, gt=0, lt=1)
    """The fixed threshold of maps that didn't walk."""
    fixed_walk: float = Field(0.4, gt=0, lt=1)
    """The fixed threshold of maps that walked."""
    memory: bool = True
    """Measure the peak memory of every row."""


class RuntimeConfig(Section):
    """Where and how the run computes; changes no stage's meaning."""

    device: str = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: int | None = Field(None, ge=1)
    workers: int | None = Field(None, ge=0)
    save_every: float = Field(60.0, ge=0)
    """Seconds between checkpoints."""
    tensorboard: bool = False


class RunConfig(Section):
    """A whole run."""

    run: Path = Path("runs/default")
    """The run folder."""
    round: int = Field(1, ge=1)
    """Round of self-training that the folder holds; set by --round."""
    seed: int = Field(0, ge=0)
    data: DataConfig
    backbone: BackboneConfig = Field(default_factory=BackboneConfig)
    train_cls: TrainClsConfig = Field(default_factory=TrainClsConfig)
    pseudo_masks: PseudoMasksConfig = Field(default_factory=PseudoMasksConfig)
    train_seg: TrainSegConfig = Field(default_factory=TrainSegConfig)
    self_training: SelfTrainingConfig = Field(default_factory=SelfTrainingConfig)
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    ablate: AblateConfig = Field(default_factory=AblateConfig)
    runtime: RuntimeConfig = Field(default_factory=RuntimeConfig)


def load(path: Path | None = None, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a config: defaults ← file ← overrides.

    Args:
        path: YAML file; None starts from the defaults.
        overrides: `section.key=value`, the value in YAML.

    Raises:
        WsssError: the file is missing or no YAML, a key is unknown, a value is of the wrong type.
    """
    values = _read_yaml(path) if path is not None else {}
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
    """Write the whole config, defaults included, as YAML."""
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


def quoted(path: Path) -> str:
    """A path as YAML text, for an override: a folder may be called `2024` or `a: b`."""
    return json.dumps(str(path), ensure_ascii=False)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WsssError(f"No config at {path}: give the path of a YAML file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise WsssError(f"{path} can't be read ({error}): give a YAML file.") from None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise WsssError(f"{path} is not valid YAML ({reason}): fix that line.") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise WsssError(f"{path} holds a {type(values).__name__}: a config is a mapping of keys.")
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    key, sign, text = override.partition("=")
    if not sign or not key:
        raise WsssError(f"{override!r} is not an override: write section.key=value.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise WsssError(f"The value in {override!r} is not valid YAML: quote it.") from None
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise WsssError(f"{override!r}: {parent} is a single value, it has no keys below it.")
    values[last] = value


def _sentence(error: ValidationError, source: str) -> str:
    items = error.errors()
    # a faulty item makes its list faulty, too: name the item alone
    locations = {item["loc"][:end] for item in items for end in range(1, len(item["loc"]))}
    faults = [_fault(item) for item in items if item["loc"] not in locations]
    # each form that a value may take complains by itself: one clause a key
    clauses: dict[str, list[str]] = {}
    for start, expected in faults:
        clauses.setdefault(start, []).append(expected)
    text = "; ".join(start + " or ".join(expected) for start, expected in clauses.items())
    return f"Config from {source}: {text}."


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
        return f"{where} is {item['input']!r}: expected ", "keys with values below it"
    if item["type"] == "string_type":
        return f"{where} is {item['input']!r}: expected ", f"text: quote it, '\"{item['input']}\"'"
    message = item["msg"].replace("Input should be ", "").replace("a valid ", "a ")
    message = message.replace("a integer", "an integer").replace("Tuple should have ", "")
    message = message.partition(", unable")[0].partition(", got")[0]
    return f"{where} is {item['input']!r}: expected ", message.partition(" after validation")[0]


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
    near = difflib.get_close_matches(str(loc[-1]), known, n=1, cutoff=0.0)
    return f"unknown key {'.'.join(map(str, loc))} (did you mean {known[near[0]]}?)"
