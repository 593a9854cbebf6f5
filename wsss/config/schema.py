"""Every setting of a run, a model per section.

Adding a setting touches this module alone: what a stage depends on, what is compared when a run is
resumed and what results tell of themselves follow from the section and from the marks `Since`,
`Before` and `Location`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    model_validator,
)

from wsss.errors import WsssError
from wsss.labels import describe_unknown
from wsss.seeding.walks import Border, Seeding, Walk


class Section(BaseModel):
    """A part of the config: unknown keys are refused, values are checked on assignment."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_nul(cls, values: Any) -> Any:
        """No path and no name has the character 0."""
        for key, value in values.items() if isinstance(values, dict) else ():
            if isinstance(value, str) and "\0" in value:
                raise ValueError(f"{key} holds the character NUL: write it without")
        return values


StageName = Literal["train_cls", "pseudo_masks", "train_seg"]


@dataclass(frozen=True)
class Since:
    """Marks a setting that does not change the output of every stage that reads its section.

    Attributes:
        stage: the first whose output it changes; None where it changes none.
        given: another setting of the section; while that is null, this one changes nothing.
    """

    stage: StageName | None
    given: str | None = None


@dataclass(frozen=True)
class Before:
    """Marks a setting whose default is not what was done before it existed.

    Attributes:
        value: what stages of that time were made with.
    """

    value: Any


@dataclass(frozen=True)
class Location:
    """Marks a path to read from: it may move, what lies there may not change."""


def _rising(interval: tuple[float, float]) -> tuple[float, float]:
    if interval[0] > interval[1]:
        raise ValueError(f"{list(interval)} falls: write the smaller number first")
    return interval


Share = Annotated[float, Field(gt=0, lt=1)]
"""More than nothing and less than all."""

TruthRule = Literal["coco2voc", "recam"]
"""How a true mask is made of COCO's instances."""

Range = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_rising)]
"""Smallest and largest of what chance chooses among, both above 0."""


TagsFormat = Literal[
    "coco", "label-studio", "cvat", "huggingface", "yolo", "voc", "folders", "text", "csv"
]
"""Names of the formats that tags come in."""


class DataConfig(Section):
    """What the run trains on and is scored on: a VOC or COCO folder, or one's own with tags."""

    root: Annotated[Path | None, Location()] = None
    """Folder in VOC layout: JPEGImages, Annotations, ImageSets/Segmentation[, masks]; or in COCO's:
    annotations/instances_<split>.json and <split>."""
    images: Annotated[Path | None, Location()] = None
    """One's own images, with `tags`."""
    tags: Annotated[Path | None, Location()] = None
    """Their tags: a CSV, or a file or folder in another format (docs/formats.md)."""
    tags_format: Annotated[TagsFormat | None, Since(None)] = None
    """What `tags` is; null tells by the file itself."""
    masks: Annotated[Path | None, Location(), Since(None)] = None
    """True masks of any of the images, in any format: what is scored, and never trained on
    (docs/formats.md)."""
    trusted: Annotated[Path | None, Location(), Since("train_seg", given="trusted")] = None
    """Masks that a person made or accepted, of any of the images, in any format: they take the
    place of pseudo-masks (docs/formats.md)."""
    class_names: tuple[str, ...] | None = Field(None, min_length=1)
    """Classes of one's own images in the order of mask values; None takes the sorted tags."""
    max_side: int | None = Field(1024, ge=32)
    """Images and their masks are reduced to this long side to train and to make pseudo-masks,
    which are written at the image's own size; null takes them as they are."""
    skip_damaged: Annotated[bool, Since(None)] = False
    """Leave out images that can't be read, and say so, instead of stopping at the first."""
    background: Annotated[bool, Since("pseudo_masks")] = True
    """Whether a pixel may be none of the image's tags; false: every pixel is one of them, and value
    0 of a true mask is void."""
    train_split: str = "train_aug"
    """Images whose tags train the classifier."""
    mask_split: Annotated[str, Since("pseudo_masks")] = "train_aug"
    """Images that get pseudo-masks, which train the segmenter."""
    mask_images: Annotated[int | None, Since("pseudo_masks")] = Field(None, ge=1)
    """Only so many of them, the images of `score_split` first; None takes all."""
    score_split: Annotated[str, Since("pseudo_masks", given="mask_images")] = "train"
    """Images on which seeds and pseudo-masks are scored, where there are true masks."""
    val_split: Annotated[str, Since(None)] = "val"
    """Images on which predictions are scored."""
    truth_rule: Annotated[TruthRule, Since(None)] = "coco2voc"
    """True masks of COCO's instances: `coco2voc` paints all, the smallest on top; `recam` leaves
    crowds out and paints in the order of the file."""

    @model_validator(mode="after")
    def _one_source(self) -> "DataConfig":
        if self.root is None and self.images is None:
            raise ValueError(
                "no data: set data.root (VOC or COCO layout), or data.images and data.tags"
            )
        if self.root is not None and self.images is not None:
            raise ValueError("both data.root and data.images are set: keep one of them")
        if (self.images is None) != (self.tags is None):
            raise ValueError("data.images and data.tags go together: set both")
        if self.class_names is not None and self.images is None:
            raise ValueError(
                "data.class_names goes with data.images: a folder in VOC layout has its classes in "
                "class_names.txt, one in COCO's in its annotations"
            )
        return self


class BackboneConfig(Section):
    """The GLNet under classifier and segmenter."""

    name: str = "glnet_nano"
    """Registered model: `glnet_nano`, `glnet_stl`, `glnet_4g`, `glnet_9g`, `glnet_16g`."""
    weights: Annotated[Path | Literal["pretrained"] | None, Location()] = "pretrained"
    """`pretrained` finds them by the name; a released .pth or .safetensors; null: random ones."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the model, as `glmix.GLNet` takes them."""
    grad_checkpointing: Annotated[bool, Since(None)] = False
    """Compute activations again in the backward pass of training, where memory is short."""


class OptimConfig(Section):
    """AdamW with warm-up and polynomial decay."""

    epochs: float = Field(8, gt=0)
    """Passes over the images; a fraction is allowed."""
    batch_size: int = Field(32, ge=1)
    """Images a step."""
    lr: float = Field(1e-3, gt=0)
    """Highest learning rate, of the heads and the decoder."""
    weight_decay: float = Field(0.05, ge=0)
    """Of weight matrices; norms and biases do not decay."""
    warmup_steps: int = Field(100, ge=0)
    """Steps in which the learning rate rises linearly."""
    poly_power: float = Field(0.9, ge=0)
    """Exponent of the polynomial decay to 0."""
    clip_grad: float = Field(5.0, gt=0)
    """Greatest norm of the gradient."""
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


FEW_IMAGES = 1000
"""Below so many training images the heads of the classifier learn alone."""


class TrainClsConfig(OptimConfig):
    """Stage 1: the classifier, from tags."""

    second_backbone: str | None = None
    """Another network whose features the class activation reads beside the GLNet's: a model of
    timm, such as `resnet50`. Slots remain the GLNet's."""
    second_backbone_weights: Annotated[Path | Literal["pretrained"], Location()] = "pretrained"
    """Of that network: `pretrained` for timm's, or a file in timm's naming."""
    backbone_lr_factor: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    """The backbone learns at `lr` times this. 0 leaves it as it is: it sees every image once, as a
    whole, and the heads learn from what it finds there, in 400 steps at least; `crop`, `crop_area`
    and `jitter` take no part. `auto`: 0 if there are fewer than 1,000 images and the backbone comes
    with weights, else 0.3."""
    crop: int = Field(192, ge=16)
    """Side of the square crops in pixels."""
    crop_area: Range = (0.25, 1.0)
    """Range of a crop's share of the image's area."""
    jitter: float = Field(0.3, ge=0, le=1)
    """Strength of the colour jitter; 0 for none."""
    holdout: float = Field(0.05, ge=0, lt=1)
    """Part of the training images held back for the mAP."""
    pooling: Literal["mean", "lse"] = "lse"
    """How class activation becomes a logit: its mean, or log-mean-exp for small objects."""
    slot_block: str = "16.0"
    """Block whose slots the auxiliary head classifies, as stride.index."""
    slot_top: int = Field(6, ge=1)
    """Slots per class whose scores are averaged."""
    slot_loss: float = Field(0.5, ge=0)
    """Weight of the auxiliary loss."""

    def backbone_rate(self, images: int, pretrained: bool) -> float:
        """`backbone_lr_factor`, chosen where that is `auto`.

        Args:
            images: with tags.
            pretrained: whether the backbone comes with weights.
        """
        if self.backbone_lr_factor != "auto":
            return self.backbone_lr_factor
        return 0.0 if pretrained and images < FEW_IMAGES else 0.3


class ViewsConfig(Section):
    """How the classifier looks at an image: what class activation depends on."""

    scales: tuple[PositiveFloat, ...] = Field((1.0, 1.5), min_length=1)
    """Of the image's size; results are averaged."""
    flip: bool = True
    """Average with the mirror image."""


class SeedsConfig(ViewsConfig):
    """What the soft seeds depend on."""

    walks: tuple[Walk, ...] = (Walk("16.0", 8), Walk("16.2", 8), Walk("16.4", 8))
    """Random walks through slots; without any, the seeds are plain class activation. Where neither
    they nor `border` are named, `wsss run` chooses both for one's own images, without masks."""
    border: Border | None = Border()
    """Background evidence from the image's border; null leaves the scores, and so does
    `data.background=false`."""

    @property
    def seeding(self) -> Seeding:
        """What makes the score maps."""
        return Seeding(self.walks, self.border)


class PseudoMasksConfig(SeedsConfig):
    """Stage 2: class activation → slots → seeds → CRF → masks."""

    background: Share | Literal["otsu", "mixture"] = "otsu"
    """Score above which a class stands out: a number in (0, 1), or a rule per class and image."""
    levels: dict[str, Annotated[float, Field(ge=-8, le=8)]] = Field(default_factory=dict)
    """Class → how much more or less of it: its seeds cover 2^level times the area that the
    threshold gives them. `wsss tune` finds levels by masks that are right."""
    sharpness: float = Field(20.0, gt=0)
    """Slope of the sigmoid that makes probabilities of scores."""
    crf: str = "irn"
    """Preset of the CRF, or `none`."""
    crf_backend: Literal["torch", "pydensecrf"] = "torch"
    """`pydensecrf` takes the library of that name, where it is installed."""
    crf_iterations: int = Field(10, ge=1)
    """Mean-field iterations."""
    confidence: float = Field(0.7, ge=0, lt=1)
    """A pixel whose best marginal is lower becomes 255."""
    keep_seeds: Annotated[bool, Since(None)] = False
    """Keep the soft seeds in `seeds/<id>.npz`, several times the size of the masks; without, those
    that are scored or shown are made again."""

    def levels_by_value(self, class_names: Sequence[str]) -> dict[int, float]:
        """Mask value of a class → its level.

        Raises:
            WsssError: a level is given to what is no class.
        """
        for name in self.levels:
            if name not in class_names:
                raise WsssError(f"pseudo_masks.levels names {describe_unknown(name, class_names)}.")
        return {class_names.index(name) + 1: level for name, level in self.levels.items()}


class MaskLossConfig(Section):
    """What a pixel of a pseudo-mask costs; pseudo-masks are often wrong."""

    kind: Literal["cross_entropy", "symmetric"] = "symmetric"
    """Cross-entropy alone, or with a bounded term for wrong labels."""
    reverse_weight: float = Field(0.5, ge=0)
    """Of the bounded term of `symmetric`."""
    balanced: bool = True
    """Background and foreground weigh the same, whatever their areas."""


class TrainSegConfig(OptimConfig):
    """Stage 3: the segmenter, from the pseudo-masks alone."""

    backbone_lr_factor: float = Field(0.3, ge=0)
    """The backbone learns at `lr` times this; 0 leaves it as it is, its batch norms included."""
    backbone: str | None = None
    """Another backbone than the run's GLNet: a model of timm, such as `resnet50`."""
    backbone_weights: Annotated[Path | Literal["pretrained"], Location()] = "pretrained"
    """Of that backbone: `pretrained` for timm's, or a file in timm's naming."""
    start_from: Annotated[Path | Literal["auto", "packaged"] | None, Location(), Before(None)] = (
        "auto"
    )
    """A trained segmenter to go on from: `packaged`, the folder of a run, or a model file. Its
    backbone and decoder take the place of those named here; classes of the same name keep what it
    knows of them. null: a backbone alone. `auto`: `packaged` for one's own images with a class
    that it knows, where nothing else is said of backbones and decoder, else null. In a later
    round an earlier one's segmenter of the same shape goes first (`self_training.start`)."""
    decoder: Literal["segformer", "fpn", "upernet", "unet"] = "segformer"
    """By segmentation-models-pytorch."""
    decoder_args: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the decoder, as segmentation-models-pytorch takes them."""
    from_classifier: bool = True
    """Start a GLNet of the classifier's kind from its weights instead of `backbone.weights`."""
    batch_size: int = Field(16, ge=1)
    """Images a step."""
    crop: int = Field(256, ge=32)
    """Side of the square crops in pixels."""
    scale: Range = (0.5, 2.0)
    """Range of the random scale before the crop."""
    jitter: float = Field(0.3, ge=0, le=1)
    """Strength of the colour jitter; 0 for none."""
    paste: float = Field(0.0, ge=0, le=1)
    """Share of crops that the objects of another image are pasted on; none without background."""
    ema: float = Field(0.998, ge=0, lt=1)
    """Decay of the average of weights that is kept; 0 keeps the last ones."""
    loss: MaskLossConfig = Field(default_factory=MaskLossConfig)

    @property
    def least_images(self) -> int:
        """Images that the network takes at once, at least."""
        # UPerNet normalises the mean of a whole image over the batch, which takes two images
        other_norm = "decoder_use_norm" in self.decoder_args
        return 2 if self.decoder == "upernet" and not other_norm else 1

    @model_validator(mode="after")
    def _one_start(self) -> "TrainSegConfig":
        if self.start_from not in (None, "auto") and self.backbone is not None:
            raise ValueError("both start_from and backbone are set: keep one of them")
        return self

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

    rounds: Annotated[int, Since(None)] = Field(1, ge=1)
    """Rounds that `wsss run` goes through, the first among them."""
    start: Annotated[Literal["former", "fresh"], Since("train_seg")] = "former"
    """Go on from the last earlier segmenter of the same shape, or start as a first round does."""
    scales: tuple[PositiveFloat, ...] = Field((0.75, 1.0, 1.25), min_length=1)
    """At which the former segmenter predicts; results are averaged."""
    flip: bool = True
    """Average with the mirror image."""
    seeds: float = Field(0.5, ge=0)
    """The segmenter's probabilities are multiplied by the first round's seeds to this power."""
    crf: str = "deeplab"
    """Preset of the CRF, or `none`."""
    crf_iterations: int = Field(10, ge=1)
    """Mean-field iterations."""
    confidence: float = Field(0.7, ge=0, lt=1)
    """A pixel whose best marginal is lower becomes 255."""


class PredictionMode(NamedTuple):
    """How an image is looked at to predict its mask."""

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    crf: str = "none"


class PredictConfig(Section):
    """What a predicted mask depends on, beside the image and the model."""

    scales: tuple[PositiveFloat, ...] = Field((1.0,), min_length=1)
    """Of the image's size; probabilities are averaged."""
    flip: bool = False
    """Average with the mirror image."""
    crf: str = "none"
    """Preset of the CRF, or `none`."""
    tile: int | None = Field(1024, ge=64)
    """Larger images are cut into overlapping windows of this side; null for no limit."""
    max_side: int | None = Field(1024, ge=32)
    """Images are reduced to this long side first; null predicts at full resolution."""
    gate: bool = False
    """Drop classes that the run's classifier doesn't find in the image, where it is at hand; its
    thresholds by class come from the tags of the images that its training held back."""


class EvaluateConfig(PredictConfig):
    """Predictions and their scores: columns beside the config's own, what an unsure pixel is."""

    unsure: Literal["background", "wrong"] = "background"
    """What a predicted 255 counts as."""
    fast: bool = False
    """Score predictions by `scales`, `flip` and `crf` alone, without the columns beside them."""
    test_scales: tuple[PositiveFloat, ...] = Field((0.5, 0.75, 1.0, 1.25, 1.5, 1.75), min_length=1)
    """Scales of the columns over scales and flip."""
    test_crf: str = "deeplab"
    """Preset of the column with a CRF."""

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
    """`auto` takes a GPU where there is one; or a name that torch knows."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """`auto` takes bf16 where the device computes it natively, fp16 on older GPUs with tensor cores
    (V100, T4, RTX 20), else fp32; fp16 scales its gradients and needs a GPU."""
    compile: bool = False
    """Compile networks to train by `torch.compile`, which takes minutes at the start."""
    deterministic: bool = False
    """The same bits in every training on one GPU, at some cost; on a CPU of one thread they are."""
    threads: int | None = Field(None, ge=1)
    """Of torch on the CPU; null takes OMP_NUM_THREADS, else as many as cores are free at first."""
    workers: int | None = Field(None, ge=0)
    """Processes that load images; null takes up to 8 beside a GPU, none on a CPU."""
    save_every: float = Field(60.0, ge=0)
    """Seconds between checkpoints."""
    tensorboard: bool = False
    """Write the log for TensorBoard, too."""


def _as_they_come(section: Section, *keys: str) -> bool:
    """Whether settings of a section are at their defaults."""
    plain = type(section)()
    return all(getattr(section, key) == getattr(plain, key) for key in keys)


class RunConfig(Section):
    """A whole run."""

    run: Path = Path("runs/default")
    """The run folder."""
    round: int = Field(1, ge=1)
    """Round of self-training that the folder holds; set by --round."""
    seed: int = Field(0, ge=0)
    """Of weights, augmentation and draws."""
    data: DataConfig
    backbone: BackboneConfig = Field(default_factory=BackboneConfig)
    train_cls: TrainClsConfig = Field(default_factory=TrainClsConfig)
    pseudo_masks: PseudoMasksConfig = Field(default_factory=PseudoMasksConfig)
    train_seg: TrainSegConfig = Field(default_factory=TrainSegConfig)
    self_training: SelfTrainingConfig = Field(default_factory=SelfTrainingConfig)
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    ablate: AblateConfig = Field(default_factory=AblateConfig)
    runtime: RuntimeConfig = Field(default_factory=RuntimeConfig)

    @model_validator(mode="after")
    def _no_border_without_background(self) -> "RunConfig":
        if not self.data.background and self.pseudo_masks.border is not None:
            # by assignment this would be validated again, and again
            self.__dict__["pseudo_masks"] = self.pseudo_masks.model_copy(update={"border": None})
        return self

    @property
    def leaves_segmenter_open(self) -> bool:
        """Whether nothing is said of the network that one's own images train in stage 3."""
        network = ("start_from", "backbone", "decoder", "decoder_args", "from_classifier")
        return (
            self.data.images is not None
            and _as_they_come(self.backbone, "name", "weights", "args")
            and _as_they_come(self.train_seg, *network)
        )

    @property
    def leaves_walks_open(self) -> bool:
        """Whether walks and border of one's own images are named nowhere, and so to be chosen."""
        named = self.pseudo_masks.model_fields_set
        # without background no border is named by the user, it is taken away
        border = "border" in named and self.data.background
        return self.data.images is not None and not border and "walks" not in named
