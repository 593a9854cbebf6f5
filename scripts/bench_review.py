#!/usr/bin/env python
"""Time from a click on the page of `wsss review` to the repainted mask, in a real browser.

    scripts/bench_review.py RUN [--size 500x375] [--images 10] [--clicks 8]

The run's images are brought to one size and opened one after the other in Debian's chromium without
a window, driven by playwright; clicks of the image's first tag and of background fall at random.
The browser measures from the click to the end of drawing the mask that it led to: request, walk,
CRF, answer, colours and outlines. The review itself is kept in a temporary folder.
"""

import argparse
import random
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from wsss.data.augment import resize
from wsss.data.images import TaggedDataset, read_image
from wsss.data.open import open_stage
from wsss.review.run import LOCAL, engine_of, listen
from wsss.review.server import make_server
from wsss.review.session import Session
from wsss.run.layout import Layout
from wsss.run.state import open_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--size", default="500x375", help="of the images, width x height")
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--clicks", type=int, default=8, help="on each image")
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    config = open_run(args.run)
    tagged, _ = open_stage(config.data, config.seed, "pseudo_masks")
    chosen = [sample for sample in tagged.samples if sample.tags][: args.images]
    with tempfile.TemporaryDirectory() as folder:
        samples = []
        for sample in chosen:
            path = Path(folder) / f"{sample.id}.png"
            write(path, resize(read_image(sample.path), (height, width)))
            samples.append(sample._replace(path=path))
        session = Session(
            Layout(Path(folder) / "run"),
            TaggedDataset(tagged.class_names, tuple(samples)),
            {},
            engine_of(config, tagged.class_names),
        )
        with listen(LOCAL[0], 0) as bound:
            port = bound.getsockname()[1]
            server = make_server(session, port, LOCAL)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
            thread.start()
            while not server.started:
                time.sleep(0.01)
            try:
                report(measure(f"http://{LOCAL[0]}:{port}/", session, args.clicks), args.size)
            finally:
                server.should_exit = True
                thread.join()
                session.desk.close()


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def measure(address: str, session: Session, clicks: int) -> dict[str, list[float]]:
    """Milliseconds, by what was done: opening an image that was prepared, a first click, others."""
    draw = random.Random(0)
    found: dict[str, list[float]] = {"next image": [], "first click": [], "later clicks": []}
    with sync_playwright() as running:
        browser = running.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1440, "height": 860})
        page.goto(address)
        for n, id_ in enumerate(session.order):
            began = time.perf_counter()
            if n:
                page.keyboard.press("ArrowRight")
            page.wait_for_function(
                "id => document.getElementById('title').textContent === id"
                " && document.getElementById('message').hidden",
                arg=id_,
            )
            if n:
                found["next image"].append(1000 * (time.perf_counter() - began))
            page.wait_for_timeout(4000)  # as long as a person looks; the engine gets ready
            box = page.locator("#canvas").bounding_box()
            assert box is not None
            for i in range(clicks):
                x, y = draw.uniform(0.3, 0.7), draw.uniform(0.3, 0.7)
                where = (box["x"] + x * box["width"], box["y"] + y * box["height"])
                page.mouse.click(*where, button="left" if i % 2 == 0 else "right")
                found["first click" if i == 0 else "later clicks"].append(answer(page))
        browser.close()
    return found


def answer(page: Page) -> float:
    """Milliseconds from the last click to its mask on the screen."""
    page.wait_for_function("() => performance.getEntriesByName('answer').length > 0")
    taken = page.evaluate(
        "() => { const [one] = performance.getEntriesByName('answer');"
        " performance.clearMeasures(); return one.duration; }"
    )
    return float(taken)


def report(found: dict[str, list[float]], size: str) -> None:
    print(f"images of {size}; milliseconds")
    for what, times in found.items():
        if times:
            ordered = sorted(times)
            worst = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
            print(
                f"{what:14} n {len(times):3}  median {statistics.median(times):4.0f}"
                f"  95th percentile {worst:4.0f}  worst {ordered[-1]:4.0f}"
            )


if __name__ == "__main__":
    main()
