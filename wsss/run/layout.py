"""The file names of a run folder, known here and nowhere else.

config.yaml            the merged config
train_cls/             model.safetensors, metrics.json, log.jsonl, settings.json, done.json
features/<id>.safetensors  what heads on a frozen backbone are trained on, while they are
seeds/<id>.npz         soft seeds where they are kept: class activation and slot seeds of the tags
pseudo_masks/<id>.png  masks in the VOC palette, 255 where not confident; class_names.txt;
                       scores.csv, how uncertain each is
train_seg/             model.safetensors, log.jsonl, settings.json, done.json
trusted/<id>.png       masks that a person accepted, at the image's size; class_names.txt
review/                what was done to them: images/<id>.json, journal.jsonl, tags.csv;
                       starts/<id>.png, masks of other programs as they were before it
predictions/<split>/   <id>.png; <split>.<column>/ for the other columns of an evaluation
evaluation/            <of>_<split>.json, confusion_<split>.csv
ablation/              ablation.json, ablation.md; rows/<row>.npz, counts so far
tuning.json            what `tune` compared on trusted masks, and what it chose
report/                index.html with images
export/                models in other formats
ceiling/               the fully supervised baseline, a run like this one
round_2/               a run of its own: pseudo-masks made by the segmenter of this one, and the
                       segmenter that they train; round_3/ lies in it, and so on
"""

from pathlib import Path

from wsss.config import EvaluateConfig
from wsss.files import make_folder


class Layout:
    """Paths of a run.

    Attributes:
        root: the run folder, which need not exist.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    @property
    def config_file(self) -> Path:
        """The merged config of the run."""
        return self.root / "config.yaml"

    def stage(self, name: str) -> Path:
        """Folder of a stage, made where missing."""
        path = self.root / name
        make_folder(path)
        return path

    def model(self, stage: str) -> Path:
        """Weights that a training stage leaves."""
        return self.root / stage / "model.safetensors"

    def checkpoint(self, stage: str) -> Path:
        """State of an unfinished training."""
        return self.root / stage / "checkpoint.pt"

    def log(self, stage: str) -> Path:
        """Log of a training, one JSON object per line."""
        return self.root / stage / "log.jsonl"

    def settings(self, stage: str) -> Path:
        """Settings that a stage was begun with."""
        return self.root / stage / "settings.json"

    def done(self, stage: str) -> Path:
        """Mark of a finished stage, with a summary."""
        return self.root / stage / "done.json"

    def lock(self, stage: str, part: str = "") -> Path:
        """What keeps two processes from making one stage, or one part of it."""
        return self.root / stage / f".lock{part}"

    @property
    def metrics(self) -> Path:
        """Scores of the classifier."""
        return self.root / "train_cls" / "metrics.json"

    @property
    def features(self) -> Path:
        """Folder of what a frozen backbone finds in training images."""
        return self.root / "features"

    def feature(self, image_id: str) -> Path:
        """What a frozen backbone finds in an image."""
        return self.features / f"{image_id}.safetensors"

    @property
    def seeds(self) -> Path:
        """Folder of the soft seeds."""
        return self.root / "seeds"

    def seed(self, image_id: str) -> Path:
        """Soft seeds of an image."""
        return self.seeds / f"{image_id}.npz"

    @property
    def pseudo_masks(self) -> Path:
        """Folder of the pseudo-masks."""
        return self.root / "pseudo_masks"

    def pseudo_mask(self, image_id: str) -> Path:
        """Pseudo-mask of an image."""
        return self.pseudo_masks / f"{image_id}.png"

    def trusted(self, image_id: str) -> Path:
        """Mask of an image that a person accepted."""
        return self.trusted_masks / f"{image_id}.png"

    @property
    def review(self) -> Path:
        """Folder of what people did to masks."""
        return self.root / "review"

    def review_record(self, image_id: str) -> Path:
        """What a person did to an image's mask."""
        return self.review / "images" / f"{image_id}.json"

    def review_start(self, image_id: str) -> Path:
        """Mask of another program that a person changed, as it was."""
        return self.review / "starts" / f"{image_id}.png"

    @property
    def review_journal(self) -> Path:
        """Every decision of a review, one JSON object per line."""
        return self.review / "journal.jsonl"

    @property
    def review_tags(self) -> Path:
        """CSV of all images' tags, once a person changed some."""
        return self.review / "tags.csv"

    @property
    def trusted_copies(self) -> Path:
        """Folder of `data.trusted` as PNGs, where it comes in another format."""
        return self.root / "train_seg" / "trusted"

    def predictions(self, split: str, column: str = "") -> Path:
        """Folder of a split's predicted masks, of the config's own column or of another one."""
        return self.root / "predictions" / (f"{split}.{column}" if column else split)

    def columns(self, settings: EvaluateConfig, split: str) -> dict[str, Path]:
        """Folder of a split's predicted masks for every column of the evaluation, by its name."""
        return {
            name: self.predictions(split, "" if mode == settings.own else name)
            for name, mode in settings.columns().items()
        }

    @property
    def evaluations(self) -> Path:
        """Folder of all scores."""
        return self.root / "evaluation"

    def evaluation(self, of: str, split: str) -> Path:
        """Scores of one kind of mask on one split."""
        return self.evaluations / f"{of.replace('-', '_')}_{split}.json"

    def confusion(self, split: str) -> Path:
        """Confusion matrix of the predictions on one split."""
        return self.evaluations / f"confusion_{split}.csv"

    @property
    def ablation(self) -> Path:
        """Folder of the ablation's counts and table."""
        return self.root / "ablation"

    @property
    def report(self) -> Path:
        """Folder of the page with images."""
        return self.root / "report"

    @property
    def trusted_masks(self) -> Path:
        """Folder of the masks that a person accepted, `<id>.png`."""
        return self.root / "trusted"

    @property
    def tuning(self) -> Path:
        """What `tune` compared, and what it chose."""
        return self.root / "tuning.json"

    @property
    def export(self) -> Path:
        """Folder of models in other formats."""
        return self.root / "export"

    @property
    def ceiling(self) -> Path:
        """Run folder of the fully supervised baseline."""
        return self.root / "ceiling"

    def later_rounds(self) -> list[Path]:
        """Folders of the self-training rounds that are built on this one."""
        found = self.root.glob("round_*")
        return [one for one in found if one.name[6:].isdecimal() and one.is_dir()]


def round_folder(first: Path, round: int) -> Path:
    """Folder of a round of a run: each lies in the one that it is built on."""
    return first.joinpath(*(f"round_{n}" for n in range(2, round + 1)))
