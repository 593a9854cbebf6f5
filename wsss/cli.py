"""The command line: load a config, run a stage, print the path it wrote.

Torch is imported by the stages alone, so that `wsss --help` is quick.
"""

import errno
import io
import os
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from wsss import __version__, recipes
from wsss.engine import environment
from wsss.errors import WsssError, on_one_line

if TYPE_CHECKING:
    from wsss.config import RunConfig


class Sentences(TyperGroup):
    """Errors that a user can fix are reported in one sentence, with exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # whoever read the output has gone, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except WsssError as error:
            sentence = str(error)
        except OSError as error:
            sentence = _of_system(error)
        print(f"wsss: {on_one_line(sentence)}", file=sys.stderr)
        raise typer.Exit(2)


_PATHS = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.ENOENT)


def _of_system(error: OSError) -> str:
    """What the system refused, as a sentence."""
    reason = error.strerror or str(error)
    if error.filename and error.errno in _PATHS:
        return f"{error.filename} can't be used ({reason}): give another path, or check this one."
    where = f" {error.filename}" if error.filename else ""
    return f"The disk refused{where} ({reason}); what is finished is kept."


app = typer.Typer(
    cls=Sentences,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _tell(value: object) -> None:
    """Print what a command made; of several processes that share it the first does."""
    from wsss.engine.runtime import join

    if join().is_main:
        typer.echo(value)


def _alone(call: Callable[[], object]) -> None:
    """Print what the first process makes of a command that isn't shared."""
    from wsss.engine.runtime import join

    _tell(join().once(call))


def _print_version(wanted: bool) -> None:
    if wanted:
        python = ".".join(map(str, sys.version_info[:3]))
        typer.echo(f"wsss {__version__} (Python {python}, torch {metadata.version('torch')})")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Versions in use."),
    ] = False,
) -> None:
    """Semantic segmentation from image-level labels alone: tags in, masks out."""


Source = Annotated[
    Path | None,
    typer.Argument(
        metavar="CONFIG",
        help=f"YAML config, packaged recipe ({', '.join(recipes.names())}), or folder of a run.",
    ),
]
Settings = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="section.key=value")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Recompute finished work.")]
Round = Annotated[
    int | None, typer.Option(min=1, help="Round of self-training, from 2: masks by the last one.")
]
Split = Annotated[str | None, typer.Option(help="List of images, such as train or val.")]
Images = Annotated[Path | None, typer.Option(help="Image, or folder of images.")]


OwnImages = Annotated[Path | None, typer.Option("--images", help="Folder of your own images.")]
OwnTags = Annotated[
    Path | None,
    typer.Option("--tags", help="Their tags: a CSV, or another file or folder (docs/formats.md)."),
]


def _own(images: Path | None, tags: Path | None) -> list[str]:
    """Settings of one's own data that were given as options."""
    from wsss.config import quoted

    given = (("images", images), ("tags", tags))
    return [f"data.{key}={quoted(value)}" for key, value in given if value]


def _config(
    source: Path | None, settings: list[str] | None, round: int | None = None
) -> "RunConfig":
    """The config of a command, with what `wsss run` has chosen."""
    from wsss.run.recipe import as_begun

    return as_begun(_read(source, settings, round))


def _read(source: Path | None, settings: list[str] | None, round: int | None = None) -> "RunConfig":
    from wsss.run.state import read_config, read_round

    settings = list(settings or [])
    if source is not None and "=" in str(source) and not source.exists():
        settings.insert(0, str(source))
        source = None
    return read_config(source, settings) if round is None else read_round(source, round, settings)


@app.command("train-cls")
def train_cls(
    source: Source = None, settings: Settings = None, overwrite: Overwrite = False
) -> None:
    """Stage 1: train the classifier from tags."""
    config = _config(source, settings)
    from wsss.stages import train_cls as stage

    _tell(stage.run(config, overwrite))


@app.command("generate-pseudo-masks")
def generate_pseudo_masks(
    source: Source = None,
    settings: Settings = None,
    overwrite: Overwrite = False,
    shard: Annotated[
        str, typer.Option(help="i/n: this process takes every n-th, from i = 0.")
    ] = "0/1",
    round: Round = None,
) -> None:
    """Stage 2: class activation → slots → seeds → CRF → masks."""
    config = _config(source, settings, round)
    from wsss.arguments import parse_shard
    from wsss.stages import generate_pseudo_masks as stage

    _tell(stage.run(config, overwrite, parse_shard(shard)))


@app.command()
def tune(
    source: Source = None,
    settings: Settings = None,
    trusted: Annotated[
        Path | None, typer.Option(help="Masks, in any format; else those accepted in review.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Show what would be chosen; leave settings and masks.")
    ] = False,
) -> None:
    """Choose walks, threshold, CRF and levels by class on some 20 right masks; remake masks.

    Without any, walks and border by how compact class activation is.
    """
    config = _config(source, settings)
    from wsss import pipeline

    _tell(pipeline.tuned_masks(config, trusted, keep))


@app.command("train-seg")
def train_seg(
    source: Source = None,
    settings: Settings = None,
    overwrite: Overwrite = False,
    round: Round = None,
) -> None:
    """Stage 3: train the segmenter from the pseudo-masks."""
    config = _config(source, settings, round)
    from wsss import pipeline

    _tell(pipeline.segmenter(config, overwrite))


@app.command()
def evaluate(
    source: Source = None,
    settings: Settings = None,
    of: Annotated[
        str, typer.Option(help="cam, seeds, pseudo-masks or predictions.")
    ] = "predictions",
    split: Split = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Without the columns over scales, flip and CRF.")
    ] = False,
    ceiling: Annotated[
        bool, typer.Option("--ceiling", help="Beside the same network trained on true masks.")
    ] = False,
    protocol: Annotated[
        str | None, typer.Option(help="As papers print it: voc, coco, irn or toco.")
    ] = None,
) -> None:
    """Score masks against true masks: one confusion matrix over the split."""
    if ceiling and protocol:
        raise WsssError("--ceiling has a table of its own: leave --protocol out.")
    if ceiling and of != "predictions":
        raise WsssError(f"--ceiling scores predictions, not --of {of}: leave one of the two out.")
    config = _config(source, [*(settings or []), *(["evaluate.fast=true"] if fast else [])])
    from wsss import pipeline

    if ceiling:
        _tell(pipeline.score_beside_ceiling(config, split))
    else:
        _tell(pipeline.score(config, of, split, protocol))


@app.command()
def ablate(
    source: Source = None,
    settings: Settings = None,
    rows: Annotated[str, typer.Option(help="Names of rows, * for anything, ; between.")] = "*",
    overwrite: Overwrite = False,
) -> None:
    """The table of seeds and refinements on the same classifier and images, resumable."""
    config = _config(source, settings)
    from wsss.ablation import run as stage

    _tell(stage.run(config, rows, overwrite))


@app.command("ablate-clicks")
def ablate_clicks(
    source: Source = None,
    settings: Settings = None,
    clicks: Annotated[int, typer.Option(min=1, help="Per image, at most.")] = 10,
    methods: Annotated[
        str, typer.Option(help="Of slots, superpixels, grabcut, crf; ; between.")
    ] = "slots;crf",
    skip: Annotated[
        int, typer.Option(min=0, help="Leave out so many of the images drawn first.")
    ] = 0,
    overwrite: Overwrite = False,
) -> None:
    """A simulated annotator: masks after clicks, through slots and otherwise, resumable."""
    config = _config(source, settings)
    from wsss.ablation import clicks as stage

    _tell(stage.run(config, clicks, methods, skip, overwrite))


@app.command()
def run(
    source: Source = None,
    settings: Settings = None,
    images: OwnImages = None,
    tags: OwnTags = None,
    overwrite: Overwrite = False,
) -> None:
    """Every stage in order, each skipped when finished; then scores and a page with images."""
    config = _read(source, [*(settings or []), *_own(images, tags)])
    from wsss import pipeline

    _tell(pipeline.run(config, overwrite))


@app.command()
def predict(
    source: Source = None,
    settings: Settings = None,
    images: Images = None,
    model: Annotated[
        Path | None, typer.Option(help="Model file or folder, in place of a run's.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the masks.")] = None,
    max_side: Annotated[
        int | None, typer.Option(help="Reduce images to this long side first; 0: never.")
    ] = None,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also draw each mask over its image, with a legend.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Masks for images, by the segmenter of a run, of a file, or of this package.

    Images may stand where the run does: `wsss predict photo.jpg`, `wsss predict *.jpg`.
    """
    from wsss.arguments import sort_images
    from wsss.stages import predict as stage

    source, settings, found = sort_images(source, settings, images, model)
    if max_side is not None:
        settings = [*settings, f"evaluate.max_side={max_side or 'null'}"]
    if not found:
        raise WsssError("predict was given no images: add --images with an image or a folder.")
    if source is None:  # no run: where the images of a run lie isn't asked for
        settings = ["data.root=.", "run=.", *settings]
        model, out = model or stage.shipped_model(), out or Path("masks")
    _tell(stage.run(_config(source, settings), found, out, overwrite, model, overlay))


@app.command("pack-voc-test")
def pack_voc_test(
    source: Source = None,
    settings: Settings = None,
    images: Images = None,
    out: Annotated[Path | None, typer.Option(help="The archive, .tar.gz.")] = None,
) -> None:
    """Segment the VOC test images and pack the masks as the evaluation server takes them."""
    if images is None:
        raise WsssError("pack-voc-test was given no images: add --images with their folder.")
    config = _config(source, settings)
    from wsss import pipeline

    _tell(pipeline.pack_voc_test(config, images, out))


@app.command("check-voc-archive")
def check_voc_archive(
    file: Annotated[Path, typer.Argument(help="The archive, .tar.gz.")],
    ids: Annotated[Path | None, typer.Option(help="List of the ids it must hold.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of their images.")] = None,
) -> None:
    """Name everything in an archive that the VOC server would refuse or score as 0."""
    from wsss.stages import voc_archive as stage

    problems = stage.check(file, ids, images)
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise WsssError(f"{len(problems)} problems in {file}: fix what is named above.")
    typer.echo("The archive is as the server takes it.")


@app.command()
def export(
    source: Source = None,
    settings: Settings = None,
    to: Annotated[str, typer.Option(help="onnx, torch-export, safetensors or hub.")] = "onnx",
    out: Annotated[Path | None, typer.Option(help="File, or folder for the hub.")] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Weights in bfloat16, half the size (safetensors).")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model card that you changed (hub).")
    ] = False,
) -> None:
    """The segmenter of a run as a file that `predict --model` runs without the run."""
    config = _config(source, settings)
    from wsss.stages import export as stage

    _alone(lambda: stage.run(config, to, out, half, overwrite))


@app.command("export-masks")
def export_masks(
    source: Annotated[Path, typer.Argument(metavar="RUN|FOLDER", help="A run, or masks.")],
    to: Annotated[
        str,
        typer.Option(help="coco, yolo-seg, voc, cvat, label-studio, labelme, png, hf, overlay."),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder to write.")] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images, where no run knows them.")
    ] = None,
    semantic: Annotated[
        bool, typer.Option("--semantic", help="One annotation a class, not one a component.")
    ] = False,
    polygons: Annotated[
        bool, typer.Option("--polygons", help="Polygons (coco, cvat, label-studio), not masks.")
    ] = False,
    min_area: Annotated[int, typer.Option(min=0, help="Without smaller components.")] = 0,
    confidence: Annotated[
        float, typer.Option(min=0, max=1, help="Without masks that are less sure on the mean.")
    ] = 0.0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files of other programs.")
    ] = False,
) -> None:
    """Masks in the format of another program: annotation tools, COCO, YOLO, datasets."""
    from wsss.stages import export_masks as stage

    _alone(
        lambda: stage.run(
            source, to, out, images, semantic, polygons, min_area, confidence, overwrite
        )
    )


@app.command()
def quickstart(
    folder: Annotated[Path, typer.Argument(help="Where images and run go.")] = Path(
        "runs/quickstart"
    ),
    overwrite: Overwrite = False,
) -> None:
    """The whole pipeline on synthetic images, in under 2 minutes on 2 cores."""
    from wsss import quickstart as embedded

    _tell(embedded.run(folder, overwrite))


@app.command()
def visualize(
    source: Source = None,
    settings: Settings = None,
    count: Annotated[int, typer.Option(help="Images on the sheet.")] = 12,
    ids: Annotated[str, typer.Option(help="These images, separated by commas.")] = "",
    split: Split = None,
    out: Annotated[Path | None, typer.Option(help="Path of the sheet.")] = None,
    worst: Annotated[
        str | None, typer.Option(help="Worst masks: leak, part, mixed, small or crowd.")
    ] = None,
) -> None:
    """A contact sheet: image, CAM, slots, seed, pseudo-mask, prediction, truth."""
    config = _config(source, settings)
    from wsss.stages import visualize as stage

    _alone(lambda: stage.run(config, count, [i for i in ids.split(",") if i], split, out, worst))


@app.command()
def review(
    source: Source = None,
    settings: Settings = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond this machine a token is asked for.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8765,
    token: Annotated[
        str | None, typer.Option(help="What the page asks for, instead of one made at random.")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser", help="Open the page.")] = False,
) -> None:
    """A page in the browser to correct a run's pseudo-masks by clicks, and to accept them."""
    config = _config(source, settings)
    from wsss.review import run as page

    typer.echo(page.run(config, host, port, token, browser))


@app.command("visualize-slots")
def visualize_slots(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Images.")],
    model: Annotated[str, typer.Option(help="Registered GLNet.")] = "glnet_nano",
    checkpoint: Annotated[
        str, typer.Option(help="Its weights: a file, pretrained, or none for random ones.")
    ] = "pretrained",
    out: Annotated[Path, typer.Option(help="Folder of the PNGs.")] = Path("slots"),
    blocks: Annotated[str, typer.Option(help="Blocks as stride.index, with commas.")] = "",
) -> None:
    """Draw what the slots of a backbone hold: all as a mosaic, four outlined on the image."""
    from wsss.stages import visualize_slots as stage

    chosen = [block for block in blocks.split(",") if block]
    weights = None if checkpoint == "none" else checkpoint
    _alone(lambda: stage.run(images, model, weights, out, chosen or None))


@app.command()
def refine(
    masks: Annotated[list[Path], typer.Argument(metavar="MASKS...", help="PNGs, .npy, folders.")],
    images: Annotated[Path, typer.Option(help="Folder of their images.")],
    out: Annotated[Path, typer.Option(help="Folder of the refined masks.")] = Path("refined"),
    preset: Annotated[str, typer.Option(help="psa, irn, deeplab, afa, toco, mctformer.")] = "irn",
    backend: Annotated[str, typer.Option(help="torch, pydensecrf, brute or par.")] = "torch",
    gt_prob: Annotated[float, typer.Option(help="How likely a PNG's labels are right.")] = 0.7,
    device: Annotated[str, typer.Option(help="auto takes a GPU where there is one.")] = "auto",
    downsample: Annotated[int, typer.Option(help="2: half resolution.")] = 1,
    overwrite: Overwrite = False,
) -> None:
    """Refine anybody's masks or probability maps by the dense CRF."""
    from wsss.stages import refine as stage

    done = stage.run(
        masks,
        images,
        out,
        preset=preset,
        backend=backend,
        gt_prob=gt_prob,
        device=device,
        downsample=downsample,
        overwrite=overwrite,
    )
    _tell(done)


@app.command("check-data")
def check_data(
    source: Source = None,
    settings: Settings = None,
    images: OwnImages = None,
    tags: OwnTags = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Decode every image, not its header alone.")
    ] = False,
) -> None:
    """Show what the data hold, and name every missing, unreadable or mismatched file at once."""
    config = _config(source, [*(settings or []), *_own(images, tags)])
    from wsss.stages import check_data as stage

    problems = stage.run(config.data, verify)
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise WsssError(f"{len(problems)} problems in the data: fix the files named above.")
    for line in stage.describe(config):
        typer.echo(line)
    typer.echo("The data are complete.")


@app.command("fetch-voc")
def fetch_voc(
    root: Annotated[Path, typer.Argument(help="Where VOCdevkit goes.")] = Path("data"),
    sbd: Annotated[bool, typer.Option(help="Also the SBD masks and the train_aug list.")] = True,
) -> None:
    """Download PASCAL VOC 2012 and the SBD masks, resumable."""
    from wsss.stages import fetch_voc as stage

    _alone(lambda: stage.run(root, sbd=sbd))


@app.command("fetch-coco")
def fetch_coco(
    root: Annotated[Path, typer.Argument(help="Where images and annotations go.")] = Path(
        "data/coco"
    ),
) -> None:
    """Download MS COCO 2014, images and instances, resumable."""
    from wsss.stages import fetch_coco as stage

    _alone(lambda: stage.run(root))


def main() -> None:
    """Entry point."""
    environment.prepare()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a console that lacks a sign shows another
            stream.reconfigure(errors="replace")
    app()
