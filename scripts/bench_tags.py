#!/usr/bin/env python3
"""Time and memory to open the tags of many images: `scripts/bench_tags.py FOLDER [IMAGES]`.

Makes FOLDER/images with as many empty files, a CSV, and a COCO JSON with three boxes an image,
where they are missing; then opens each in a process of its own.
"""

import csv
import json
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

CLASSES = [f"class {n}" for n in range(80)]


def name(number: int) -> str:
    return f"{number // 1000:04d}/{number:012d}.jpg"


def make(folder: Path, images: int) -> None:
    rng = random.Random(0)
    for number in range(images):
        path = folder / "images" / name(number)
        if number % 1000 == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with (folder / "tags.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "tags"])
        for number in range(images):
            rows.writerow([name(number), ";".join(rng.sample(CLASSES, rng.randint(0, 3)))])
    with (folder / "coco.json").open("w") as file:
        file.write('{"info": {}, "licenses": [], "images": [')
        for number in range(images):
            entry = {"license": 1, "file_name": name(number), "height": 480, "width": 640}
            entry |= {"coco_url": f"http://images.cocodataset.org/{number:012d}.jpg", "id": number}
            file.write(", " * (number > 0) + json.dumps(entry))
        file.write('], "annotations": [')
        for number in range(3 * images):
            box = [round(rng.uniform(0, 300), 2) for _ in range(4)]
            entry = {"area": box[2] * box[3], "iscrowd": 0, "image_id": number // 3, "bbox": box}
            entry |= {"category_id": rng.randint(1, 80), "id": number}
            file.write(", " * (number > 0) + json.dumps(entry))
        categories = [{"id": n, "name": c, "supercategory": "x"} for n, c in enumerate(CLASSES, 1)]
        file.write(f'], "categories": {json.dumps(categories)}}}')


def measure(images: Path, tags: Path) -> None:
    from wsss.formats.own_images import read_folder

    start, wall = time.process_time(), time.perf_counter()
    tagged = read_folder(images, tags)
    seconds, wall = time.process_time() - start, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    clock = f"{seconds:.1f} s of one core ({wall:.1f} s by the clock)"
    print(f"{tags.name}: {len(tagged):,} images in {clock}, {peak:.2f} GB at the peak")


if __name__ == "__main__":
    if len(sys.argv) == 4:
        measure(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        folder, count = Path(sys.argv[1]), int([*sys.argv, "1000000"][2])
        if not (folder / "coco.json").is_file():
            make(folder, count)
        for tags in (folder / "tags.csv", folder / "coco.json"):
            subprocess.run([sys.executable, __file__, "one", folder / "images", tags], check=True)
