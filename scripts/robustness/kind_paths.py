"""Paths on the command line and names of files, as nobody expects them."""

import os
import shutil
import socket
from pathlib import Path
from random import Random

from robustness.case import Case, case

_EVERYTHING = (
    *("config", "run", "photo", "table", "weights", "model", "label", "map", "archive", "hub"),
    *("onnx", "pt2", "id list", "list"),
)


def arguments(rng: Random, box: Path) -> Case:
    """A path of the command line is wrong, or stands for something else."""
    place = rng.choice(
        (
            *("config", "run", "voc", "photos", "tags", "photo", "weights", "model", "hub"),
            *("labels", "maps", "archive", "ids", "served", "out"),
        )
    )
    (box / "empty").mkdir()
    (box / "loop").symlink_to("loop")
    (box / "file").write_text("x")
    paths = {
        "nothing there": "nowhere/at/all",
        "an empty folder": "empty",
        "a file": "file",
        "a link to itself": "loop",
        "a long name": "x" * 300,
        "a long path": "x/" * 3000,
        "a device": "/dev/null",
        "below a file": "file/x",
        "blanks": "  ",
        "no UTF-8": "\udcff",
        "marks": "#=;&|<>$(x)`'\"",
        "two lines": "a\nb",
        "the root": "/proc/1",
        "a folder that can't be made": "/proc/x",
        "an option": "--x",
        "another user": "~nobody/x",
        "an image": "own/photos/p00.jpg",
        "a table": "own/tags.csv",
        "a model": "models/model.safetensors",
        "a run": "run",
        "a folder of images": "own/photos",
        "a data set": "VOC",
    }
    what, path = rng.choice(tuple(paths.items()))
    # words of a call are separated by blanks: another one is put in afterwards
    return case(f"{what} for {place}", *_EVERYTHING, places={place: path})


def names(rng: Random, box: Path) -> Case:
    """One's own images and their folder have names that nobody expects."""
    photos = box / "own" / "photos"
    odd = rng.choice(
        (
            *("ä ö.jpg", "e\u0301.jpg", "a#b=c.jpg", "a;b.jpg", "a,b.jpg", "'a'.jpg", '"a".jpg'),
            *("a\nb.jpg", "\udcff.jpg", "-a.jpg", "a.b.c.jpg", "%20.jpg", "x" * 240 + ".jpg"),
            *(
                "x" * 251 + ".jpg",
                "CON.jpg",
                "a.jpg.jpg",
                ".jpg",
                "a\\b.jpg",
                "\x1b[31m.jpg",
                "😀.jpg",
            ),
        )
    )
    source = photos / "p00.jpg"
    how = rng.randrange(3)
    if how == 0:
        shutil.copyfile(source, photos / odd)
    elif how == 1:
        folder = photos / (odd.removesuffix(".jpg") or ".hidden")
        folder.mkdir()
        shutil.copyfile(source, folder / "a.jpg")
    else:
        (photos / odd).symlink_to(source.resolve())
    return case(f"an image called {odd[:30]!r}, {how}", "photo")


def formats(rng: Random, box: Path) -> Case:
    """Files among one's own images that are none, or link in circles."""
    photos = box / "own" / "photos"
    what = rng.choice(
        ("a circle", "a pipe", "a socket", "two of a name", "a deep folder", "a video")
    )
    if what == "a circle":
        (photos / "again").symlink_to("..")
    elif what == "a pipe":
        os.mkfifo(photos / "pipe.jpg")
    elif what == "a socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("own/photos/s.jpg")
    elif what == "two of a name":
        shutil.copyfile(photos / "p00.jpg", photos / "p00.jpeg")
    elif what == "a deep folder":
        deep = photos.joinpath(*["d"] * 100)
        deep.mkdir(parents=True)
        shutil.copyfile(photos / "p00.jpg", deep / "p00.jpg")
    else:
        (photos / "clip.mp4").write_bytes(bytes(100))
    means = "either" if what in ("two of a name", "a deep folder", "a circle") else "same"
    return case(f"{what} among the images", "photo", means=means)
