"""The dense CRF against pydensecrf: agreement, time, memory, bytes moved; tables for docs/crf.md.

    python scripts/bench_crf.py oracle
    python scripts/bench_crf.py agreement --images DIR --count 50
    python scripts/bench_crf.py time --images DIR --count 5 --resize 500x375 --threads 2
    python scripts/bench_crf.py memory --images DIR
    python scripts/bench_crf.py bytes --images DIR --resize 500x375
    python scripts/bench_crf.py parts --images DIR --resize 500x375

`oracle` compares the drop-in `wsss.crf.compat` with pydensecrf over every kernel type,
normalisation, kind of compatibility and dimension; it needs no images.

`--probs scene` (default) draws probabilities as a weak model gives them: four of the labels follow
k-means clusters of the image's colours and positions, on a grid of 16-pixel cells with noise,
interpolated; the other labels are unlikely everywhere. `smooth` is softmax(4·N(0, 1)) on such a
grid and has nothing to do with the image; `noise` is softmax(N(0, 1)) at every pixel.
"""

import argparse
import importlib
import itertools
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from measuring import cpu_name, head, in_turns, row
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from wsss.crf import PRESETS, DenseCRF
from wsss.crf.compat import densecrf as dcrf
from wsss.crf.compat import utils
from wsss.crf.lattice import Lattice
from wsss.crf.mean_field import lattice_of

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time, "main": time.thread_time}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--images", type=Path, help="folder of JPEG images; not for oracle")
    parser.add_argument("--count", type=int, default=50, help="how many, evenly spaced")
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--labels", nargs="+", type=int, default=[3, 21])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--resize", help="WxH; default: as they are")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each, interleaved")
    parser.add_argument("--probs", default="scene", choices=("scene", "smooth", "noise"))
    parser.add_argument("--downsample", type=int, default=1, help="of the agreement table")
    parser.add_argument("--iterations", type=int, help="of ours in the agreement table")
    parser.add_argument("--storage", default="fp32", choices=("fp32", "fp16", "bf16"))
    parser.add_argument(
        "--clock",
        default="wall",
        choices=CLOCKS,
        help="on a busy machine: cpu, all threads' processor time; main, the main thread's alone, "
        "which under OMP_WAIT_POLICY=passive leaves out what it waits for the others",
    )
    args = parser.parse_args()
    if args.images is None and args.command != "oracle":
        parser.error("--images is missing")
    return args


def load_images(args: argparse.Namespace) -> list[Tensor]:
    files = sorted(args.images.glob("*.jpg"))
    chosen = [files[i * len(files) // args.count] for i in range(args.count)]
    loaded = []
    for file in chosen:
        image = Image.open(file).convert("RGB")
        if args.resize:
            width, height = map(int, args.resize.split("x"))
            image = image.resize((width, height))
        loaded.append(torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous())
    return loaded


def probabilities(image: Tensor, num_labels: int, seed: int, kind: str) -> Tensor:
    _, height, width = image.shape
    generator = torch.Generator().manual_seed(seed)
    if kind == "noise":
        return torch.randn(num_labels, height, width, generator=generator).softmax(0)
    grid = (height // 16 + 2, width // 16 + 2)
    if kind == "smooth":
        cells = 4 * torch.randn(num_labels, *grid, generator=generator)
    else:
        cells = scene(image, num_labels, grid, generator)
    return interpolate(cells[None], (height, width), mode="bilinear")[0].softmax(0)


def scene(
    image: Tensor, num_labels: int, grid: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """(L, h, w) logits of labels that follow the image."""
    colours = interpolate(image[None].float(), grid, mode="area")[0].flatten(1) / 64
    positions = torch.cartesian_prod(torch.arange(grid[0]), torch.arange(grid[1])).t()
    points = torch.cat([colours, 4 * positions / max(grid)]).t()
    present = min(4, num_labels)
    centres = points[torch.randperm(len(points), generator=generator)[:present]]
    for _ in range(10):
        nearest = torch.cdist(points, centres).argmin(1)
        counts = torch.bincount(nearest, minlength=present).clamp_min(1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        centres = sums / counts[:, None]
    likely = -torch.cdist(points, centres).square()
    unlikely = (likely.amin(1, keepdim=True) - 1).expand(-1, num_labels - present)
    logits = torch.cat([likely, unlikely], 1)
    logits = logits + 0.5 * torch.randn(logits.shape, generator=generator)
    return logits.t().reshape(num_labels, *grid)


def machine(threads: int) -> str:
    """The CPU, torch's kernels on it, threads and versions: what a time holds for."""
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{cpu_name()}, {capability}, {threads} thread(s), torch {torch.__version__}"


NUM_POINTS, NUM_LABELS = 4000, 5


def clustered(dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """(d, N) features of clusters and (L, N) energies that lean on them.

    The spread shrinks with the dimension, so that points have neighbours in any.
    """
    generator = np.random.default_rng(dimension)
    cluster = np.arange(NUM_POINTS) % NUM_LABELS
    centres = generator.uniform(-3, 3, (dimension, NUM_LABELS))
    spread = generator.standard_normal((dimension, NUM_POINTS)) * 2 / dimension
    logits = generator.standard_normal((NUM_LABELS, NUM_POINTS))
    logits[cluster, np.arange(NUM_POINTS)] += 0.7
    probs = np.exp(logits) / np.exp(logits).sum(0)
    return (centres[:, cluster] + spread).astype(np.float32), utils.unary_from_softmax(probs)


def oracle(args: argparse.Namespace) -> None:
    """The drop-in against pydensecrf: largest difference of marginals, lowest agreement.

    Without normalisation costs are a 300th, lest all marginals be 0 or 1.
    """
    theirs = importlib.import_module("pydensecrf.densecrf")
    generator = np.random.default_rng(0)
    matrix = 3 * generator.random((NUM_LABELS, NUM_LABELS), dtype=np.float32)
    compatibilities = {"number": 3.0, "vector": -matrix[0], "matrix": matrix}
    print(f"{NUM_POINTS} points, {NUM_LABELS} labels, 5 iterations, over 3 kernel types")
    sides = [side.name for side in dcrf.NormalizationType]
    head("dimension", "compatibility", *sides, "lowest agreement %", "labels changed %")
    for dimension in range(1, 10):
        features, unary = clustered(dimension)
        for kind, compatibility in compatibilities.items():
            gaps, agreements, changes = [], [], []
            for side in range(4):
                found = []
                for kernel, module in itertools.product(range(3), (dcrf, theirs)):
                    crf = module.DenseCRF(NUM_POINTS, NUM_LABELS)
                    crf.setUnaryEnergy(unary)
                    weight = compatibility if side else compatibility / np.float32(300)
                    crf.addPairwiseEnergy(features, weight, kernel, side)
                    found.append(np.array(crf.inference(5)))
                pairs = list(zip(found[::2], found[1::2], strict=True))
                gaps.append(max(np.abs(a - b).max() for a, b in pairs))
                agreements += [(a.argmax(0) == b.argmax(0)).mean() for a, b in pairs]
                changes += [(a.argmax(0) != unary.argmin(0)).mean() for a, _ in pairs]
            row(dimension, kind, *(f"{gap:.1e}" for gap in gaps),
                f"{100 * min(agreements):.3f}",
                f"{100 * statistics.mean(changes):.0f}")  # fmt: skip


def agreement(args: argparse.Namespace) -> None:
    """Argmax agreement and largest difference of marginals, all images as one ragged batch."""
    images = load_images(args)
    head("preset", "labels", "agreement %", "worst image %", "largest difference", "same bits")
    for preset in args.presets:
        for num in args.labels:
            probs = [probabilities(im, num, i, args.probs) for i, im in enumerate(images)]
            options = {"storage": args.storage, "downsample": args.downsample}
            crf = DenseCRF(preset, iterations=args.iterations, **options)
            ours, again = crf(images, probs), crf(images, probs)
            theirs = DenseCRF(preset, backend="pydensecrf")(images, probs)
            same = [(a.argmax(0) == b.argmax(0)) for a, b in zip(ours, theirs, strict=True)]
            gap = max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))
            bits = all(torch.equal(a, b) for a, b in zip(ours, again, strict=True))
            overall = 100 * float(torch.cat([s.flatten() for s in same]).double().mean())
            worst = 100 * min(float(s.double().mean()) for s in same)
            row(preset, num, f"{overall:.5f}", f"{worst:.4f}", f"{gap:.1e}", bits)


def time_table(args: argparse.Namespace) -> None:
    """Seconds per image, and how many times faster than pydensecrf; medians over images."""
    clock = CLOCKS[args.clock]
    torch.set_num_threads(args.threads)
    print(f"{machine(args.threads)}, {args.clock} clock, {args.count} images")
    head("preset", "labels", "pydensecrf s", "torch s", "times", "new size s", "times", "half s",
         "times", "half agrees %")  # fmt: skip
    images = load_images(args)
    for preset in args.presets:
        for num in args.labels:
            cells = [compare(args, preset, im, num, i, clock) for i, im in enumerate(images)]
            seconds = {name: statistics.median(c[name] for c in cells) for name in cells[0]}
            ratio = {
                name: statistics.median(c["pydensecrf"] / c[name] for c in cells)
                for name in ("torch", "cold", "half")
            }
            row(preset, num, f"{seconds['pydensecrf']:.3f}",
                f"{seconds['torch']:.3f}", f"{ratio['torch']:.2f}",
                f"{seconds['cold']:.3f}", f"{ratio['cold']:.2f}",
                f"{seconds['half']:.3f}", f"{ratio['half']:.2f}",
                f"{100 * seconds['agrees']:.2f}")  # fmt: skip


def compare(
    args: argparse.Namespace,
    preset: str,
    image: Tensor,
    num: int,
    seed: int,
    clock: Callable[[], float],
) -> dict[str, float]:
    probs = [probabilities(image, num, seed, args.probs)]
    reference = DenseCRF(preset, backend="pydensecrf")
    torch_crf = DenseCRF(preset, storage=args.storage)
    half_crf = DenseCRF(preset, storage=args.storage, downsample=2)
    taken = in_turns(
        {
            "pydensecrf": lambda: reference([image], probs),
            "torch": lambda: torch_crf([image], probs),
            "cold": lambda: DenseCRF(preset, storage=args.storage)([image], probs),
            "half": lambda: half_crf([image], probs),
        },
        args.repeats,
        clock,
    )
    same = reference([image], probs)[0].argmax(0) == half_crf([image], probs)[0].argmax(0)
    seconds = {name: statistics.median(values) for name, values in taken.items()}
    return {**seconds, "agrees": float(same.double().mean())}


def parts(args: argparse.Namespace) -> None:
    """Milliseconds of process time that each operation takes within one call, profiled."""
    torch.set_num_threads(args.threads)
    print(machine(args.threads))
    head("preset", "labels", "total ms", "operations, ms")
    image = load_images(args)[0]
    for preset, num in itertools.product(args.presets, args.labels):
        probs = probabilities(image, num, 0, args.probs)
        crf = DenseCRF(preset, storage=args.storage)
        crf([image], [probs])
        start = time.process_time()
        crf([image], [probs])
        total = time.process_time() - start
        with torch.profiler.profile() as profile:
            crf([image], [probs])
        events = sorted(profile.key_averages(), key=lambda e: -e.self_cpu_time_total)
        cells = [f"{e.key.removeprefix('aten::')} {e.self_cpu_time_total / 1e3:.0f}"
                 for e in events[:10]]  # fmt: skip
        row(preset, num, f"{1e3 * total:.0f}", ", ".join(cells))


def memory(args: argparse.Namespace) -> None:
    """Peak resident memory of one image at growing sizes, each in a process of its own."""
    head("size", "labels", "preset", "MB above the inputs", "bytes per pixel")
    for size in ("500x375", "1000x750", "2000x1500"):
        for preset in args.presets:
            for num in args.labels:
                command = [sys.executable, __file__, "one", "--images", str(args.images),
                           "--count", "1", "--resize", size, "--presets", preset,
                           "--labels", str(num), "--storage", args.storage]  # fmt: skip
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                peak = int(done.stdout.split()[-1])
                width, height = map(int, size.split("x"))
                row(size, num, preset, f"{peak / 1e6:.0f}", f"{peak / (width * height):.0f}")


def one(args: argparse.Namespace) -> None:
    """One image once; prints the bytes by which the peak rose."""
    torch.set_num_threads(args.threads)
    image = load_images(args)[0]
    probs = probabilities(image, args.labels[0], 0, args.probs)
    small = DenseCRF(args.presets[0])
    small([image[:, :8, :8]], [probs[:, :8, :8].contiguous()])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    DenseCRF(args.presets[0], storage=args.storage)([image], [probs])
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)


def bytes_per_iteration(lattices: list[Lattice], num_labels: int, size: int) -> int:
    """Bytes of values, indices and weights that splat, blur, slice and softmax touch."""
    value = -(-num_labels // 8) * 8 * size if num_labels > 4 else num_labels * size
    total = 0
    for lattice in lattices:
        points, n = lattice.vertices.shape
        entries, rows = points * n, lattice.num_rows
        entry = 4 + size + value  # an index, a weight, a row read
        total += entries * entry + rows * value  # splat
        total += n * rows * (3 * entry + value)  # blur
        total += entries * entry  # slice
    points = len(lattices[0].vertices)
    return total + points * (3 * value + 4 * value // size)  # message, marginals, unary


def bytes_moved(args: argparse.Namespace) -> None:
    """What one iteration reads and writes if nothing is cached: the floor of a GPU's time."""
    head("preset", "labels", "vertices space", "vertices colour", "MB an iteration", "ms at 2 TB/s")
    size = {"fp32": 4, "fp16": 2, "bf16": 2}[args.storage]
    for preset in args.presets:
        for num in args.labels:
            parameters = PRESETS[preset]
            image = load_images(args)[0]
            space = lattice_of([image], parameters.gaussian_sxy)
            colour = lattice_of([image], parameters.bilateral_sxy, parameters.bilateral_srgb)
            total = bytes_per_iteration([space, colour], num, size)
            row(preset, num, space.num_rows - 1, colour.num_rows - 1, f"{total / 1e6:.0f}",
                f"{total / 2e9:.2f}")  # fmt: skip


COMMANDS = {
    "oracle": oracle,
    "agreement": agreement,
    "time": time_table,
    "parts": parts,
    "memory": memory,
    "bytes": bytes_moved,
    "one": one,
}


def main() -> None:
    args = arguments()
    COMMANDS[args.command](args)


if __name__ == "__main__":
    main()
