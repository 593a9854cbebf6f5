"""What stands on the command line, sorted out before a stage is called."""

from collections.abc import Sequence
from pathlib import Path

from wsss.data.image_header import IMAGE_SUFFIXES
from wsss.errors import WsssError


def sort_images(
    source: Path | None, settings: Sequence[str] | None, images: Path | None, model: Path | None
) -> tuple[Path | None, list[str], list[Path]]:
    """Sort out images, or settings, that were given in place of the run.

    Args:
        source: what stands first: a config, the folder of a run, images, or `key=value`.
        settings: the rest.
        images: images that were named as such.
        model: file or folder of a model.

    Returns:
        `source`, None without a run; `settings`; the images, none if none were given.

    Raises:
        WsssError: a file stands there that is not an image.
    """
    rest = list(settings or [])
    given = [] if images is None else [images]
    if source is not None and images is None:
        _refuse_other_files([source, *map(Path, rest)])
        named = [text for text in rest if "=" not in text and _is_images(Path(text))]
        rest, given = [text for text in rest if text not in named], [*map(Path, named)]
        if _is_images(source):
            return None, rest, [source, *given]
    if source is not None and "=" in str(source) and not source.exists():
        words = [str(source), *rest]
        if model is not None or not any(word.startswith(("run=", "data.")) for word in words):
            return None, words, given
    return source, rest, given


def _refuse_other_files(paths: Sequence[Path]) -> None:
    for path in paths:
        if path.is_file() and path.suffix.lower() not in (*IMAGE_SUFFIXES, ".yaml", ".yml"):
            raise WsssError(
                f"{path} is not an image that predict looks for; expected "
                f"{', '.join(IMAGE_SUFFIXES)}: convert it."
            )


def _is_images(source: Path) -> bool:
    if source.is_dir():
        return not (source / "config.yaml").is_file()
    return source.suffix.lower() in IMAGE_SUFFIXES


def parse_shard(text: str) -> tuple[int, int]:
    """`i/n` → (i, n).

    Raises:
        WsssError: it isn't of that form, or i is not a shard of n.
    """
    first, _, count = text.partition("/")
    if not (first.isdigit() and count.isdigit() and int(first) < int(count)):
        raise WsssError(f"--shard is {text!r}: expected i/n with 0 ≤ i < n, such as 0/2.")
    return int(first), int(count)
