#!/usr/bin/env python
"""Parameters, FLOPs, speed, memory and cost of the GLNets, each beside what it is compared with.

    scripts/bench_glmix.py --table      the paper's ablation table, ours beside it
    scripts/bench_glmix.py --speed      inference and training against the plain formulation
    scripts/bench_glmix.py --memory     peak memory at 1024², both formulations
    scripts/bench_glmix.py --cost       time against pixels, by kind of block (--plot FILE.svg)
    scripts/bench_glmix.py --kernels    the ways round slow kernels in glmix/cpu.py, each both ways

Times are processor time of one process (the machine may be shared), the least of the repetitions;
what is compared runs in turn, in one process. Threads: --threads, 1 if not given.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from measuring import cpu_name, head, in_turns, row
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import glmix
from glmix import cpu
from glmix.blocks import AttentionBlock, GLMixBlock
from glmix.inference import fold
from glmix.plain import plain_forward

# name of the row, variant, arguments; the paper's parameters (M), FLOPs (G), relative throughput
ROWS: list[tuple[str, str, dict[str, Any], str, str, str]] = [
    ("pooled slots, 64, 5×5", "glnet_stl", {}, "30.3", "4.4", "1"),
    ("local branch only", "glnet_stl_local", {}, "26.4", "3.8", "1.20"),
    ("global branch only", "glnet_stl_global", {}, "28.3", "3.8", "1.18"),
    ("global → local", "glnet_stl_global_local", {}, "30.3", "4.4", "1.03"),
    ("local → global", "glnet_stl_local_global", {}, "30.3", "4.4", "0.99"),
    ("7×7 window attention", "glnet_stl_window", {}, "32.2", "5.0", "0.79"),
    ("k-means with hashing", "glnet_stl_hard", {}, "30.3", "5.2", "0.53"),
    ("static slots", "glnet_stl_paramslot", {}, "30.5", "4.4", "1.02"),
    ("7×7 convolution", "glnet_stl_dw7", {}, "30.4", "4.4", "~1.02"),
    ("3×3 convolution", "glnet_stl_dw3", {}, "30.3", "4.3", "~0.99"),
    ("9 slots", "glnet_stl", {"slot_grid": (3, 3)}, "30.3", "3.9", "1.07"),
    ("25 slots", "glnet_stl", {"slot_grid": (5, 5)}, "30.3", "4.0", "1.05"),
    ("36 slots", "glnet_stl", {"slot_grid": (6, 6)}, "30.3", "4.1", "1.05"),
    ("49 slots", "glnet_stl", {"slot_grid": (7, 7)}, "30.3", "4.2", "1.04"),
    ("81 slots", "glnet_stl", {"slot_grid": (9, 9)}, "30.3", "4.5", "0.95"),
    ("glnet_nano", "glnet_nano", {}, "–", "–", "–"),
    ("glnet_4g", "glnet_4g", {}, "27", "4.5", "–"),
    ("glnet_9g", "glnet_9g", {}, "60", "9.7", "–"),
    ("glnet_16g", "glnet_16g", {}, "106", "16.7", "–"),
]
SIZES = (224, 320, 448, 640, 768, 1024)


def model(name: str, **kwargs: Any) -> glmix.GLNet:
    torch.manual_seed(0)
    net = timm.create_model(name, **{"slot_scale": 8.0, **kwargs})
    assert isinstance(net, glmix.GLNet)
    return net


def in_turn(steps: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Least processor seconds of each step, run one after the other `repeats` times."""
    return {name: min(taken) for name, taken in in_turns(steps, repeats).items()}


def size_of(name: str, kwargs: dict[str, Any]) -> tuple[float, float]:
    """Parameters in millions, multiply-adds in billions at 224²."""
    with torch.device("meta"):
        net = timm.create_model(name, **kwargs).eval()
        x = torch.empty(1, 3, 224, 224)
    with FlopCounterMode(display=False) as counter:
        net(x)
    millions = sum(p.numel() for p in net.parameters()) / 1e6
    return millions, counter.get_total_flops() / 2e9


def table(repeats: int) -> None:
    nets = {one[0]: model(one[1], **one[2]).eval() for one in ROWS if one[5] != "–"}
    x = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        taken = in_turn({name: lambda n=net: n(x) for name, net in nets.items()}, repeats)
    first = taken[ROWS[0][0]]
    head("row", "params (M)", "paper", "FLOPs (G)", "paper", "throughput, relative", "paper")
    for title, name, kwargs, params, flops, speed in ROWS:
        millions, billions = size_of(name, kwargs)
        ours = f"{first / taken[title]:.2f}" if title in taken else "–"
        row(title, f"{millions:.1f}", params, f"{billions:.1f}", flops, ours, speed)


def speed(repeats: int) -> None:
    head("model", "input", "plain (s)", "ours", "×", "folded", "×", "largest relative difference")
    for name in ("glnet_nano", "glnet_stl", "glnet_4g"):
        for size in (224, 512):
            infer(name, size, repeats)
    print()
    head("model", "input", "precision", "plain (s a step)", "ours", "×")
    for name, size, batch in (("glnet_nano", 128, 48), ("glnet_4g", 224, 4)):
        for low in (False, True):
            train(name, size, batch, low, max(2, repeats // 2))


def infer(name: str, size: int, repeats: int) -> None:
    net = model(name).eval()
    folded, x = fold(net), torch.randn(1, 3, size, size)
    with torch.inference_mode():
        plain = plain_forward(net, x)[0]
        gap = max(((f(x) - plain).abs().max() / plain.abs().max()).item() for f in (net, folded))
        steps = {
            "plain": lambda: plain_forward(net, x),
            "ours": lambda: net(x),
            "folded": lambda: folded(x),
        }
        taken = in_turn(steps, repeats)
    p, o, f = taken["plain"], taken["ours"], taken["folded"]
    times = (f"{value:.{digits}f}" for value, digits in ((p, 3), (o, 3), (p / o, 2), (f, 3)))
    row(name, f"1×{size}²", *times, f"{p / f:.2f}", f"{gap:.0e}")


def train(name: str, size: int, batch: int, low: bool, repeats: int) -> None:
    net, x = model(name).train(), torch.randn(batch, 3, size, size)

    def step(forward: Callable[[], Tensor]) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            answer = forward()
        answer.float().square().mean().backward()
        net.zero_grad()

    steps = {
        "plain": lambda: step(lambda: plain_forward(net, x)[0]),
        "ours": lambda: step(lambda: net(x)),
    }
    taken = in_turn(steps, repeats)
    p, o = taken["plain"], taken["ours"]
    precision = "bfloat16 autocast" if low else "float32"
    row(name, f"{batch}×{size}²", precision, f"{p:.2f}", f"{o:.2f}", f"{p / o:.2f}")


def memory(threads: int) -> None:
    head("model, one 1024² image", "plain (MiB)", "ours (MiB)")
    for name in ("glnet_nano", "glnet_4g"):
        for train_step in ("", "train"):
            command = [sys.executable, __file__, "--threads", str(threads), "--peak", name]
            peaks = [
                subprocess.check_output([*command, kind, train_step], text=True).strip()
                for kind in ("plain", "ours")
            ]
            row(f"{name}, {'training step' if train_step else 'inference'}", *peaks)


def peak(name: str, kind: str, train_step: str) -> None:
    """Growth of the resident set in one pass, MiB; in a process of its own."""
    net = model(name).train(bool(train_step))
    x = torch.randn(1 + bool(train_step), 3, 64, 64)
    forward = (lambda x: plain_forward(net, x)[0]) if kind == "plain" else net
    with torch.set_grad_enabled(bool(train_step)):
        forward(x)  # libraries take their own memory first
        x = torch.randn(1, 3, 1024, 1024)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answer = forward(x)
        if train_step:
            answer.sum().backward()
    print(f"{(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024:.0f}")


def cost(repeats: int, plot: Path | None) -> None:
    net = model("glnet_4g").eval()
    spent = {"GLMix": 0.0, "attention": 0.0}
    for kind, cls in (("GLMix", GLMixBlock), ("attention", AttentionBlock)):
        for block in (m for m in net.modules() if isinstance(m, cls)):
            block.register_forward_pre_hook(lambda *_, k=kind: clock(spent, k, -1))
            block.register_forward_hook(lambda *_, k=kind: clock(spent, k, 1))
    lines: dict[str, list[tuple[int, float]]] = {"all": [], "GLMix": [], "attention": []}
    head("image", "all (ms)", "17 GLMix blocks", "ns a pixel", "13 attention blocks", "ns a pixel")
    for size in SIZES:
        x, best = torch.randn(1, 3, size, size), dict.fromkeys(lines, float("inf"))
        for _ in range(repeats + 1):
            spent.update(GLMix=0.0, attention=0.0)
            start = time.process_time()
            with torch.inference_mode():
                net(x)
            now = {"all": time.process_time() - start, **spent}
            best = {k: min(best[k], now[k]) for k in best}
        for kind, seconds in best.items():
            lines[kind].append((size, seconds))
        g, a = best["GLMix"], best["attention"]
        per = 1e9 / size**2
        row(
            f"{size}²",
            *(f"{v:.0f}" for v in (1e3 * best["all"], 1e3 * g, g * per, 1e3 * a, a * per)),
        )
    if plot:
        plot.write_text(svg(lines))


def clock(spent: dict[str, float], kind: str, sign: int) -> None:
    spent[kind] += sign * time.process_time()


def svg(lines: dict[str, list[tuple[int, float]]]) -> str:
    """Seconds against pixels, both axes logarithmic, as a small SVG."""
    pixels = torch.tensor([float(s * s) for s, _ in lines["all"]]).log10()
    seconds = torch.tensor([t for line in lines.values() for _, t in line]).log10()
    low, high = seconds.min().floor(), seconds.max().ceil()

    def at(size: int, t: float) -> str:
        across = (torch.tensor(float(size * size)).log10() - pixels[0]) / (pixels[-1] - pixels[0])
        up = (torch.tensor(t).log10() - low) / (high - low)
        return f"{60 + 400 * across.item():.1f},{270 - 240 * up.item():.1f}"

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" width="580" height="320" font-family="sans-serif"'
        ' font-size="12"><rect width="580" height="320" fill="white"/>'
    ]
    for size, _ in lines["all"]:
        x = at(size, 10.0 ** low.item()).split(",")[0]
        parts.append(f'<text x="{x}" y="290" text-anchor="middle">{size}²</text>')
    for power in range(int(low), int(high) + 1):
        y = at(SIZES[0], 10.0**power).split(",")[1]
        parts.append(f'<text x="52" y="{y}" text-anchor="end">{10.0**power:g} s</text>')
        parts.append(f'<path d="M60 {y}H460" stroke="#ddd"/>')
    for (kind, line), colour in zip(lines.items(), ("#444", "#1b7837", "#c51b7d"), strict=True):
        points = " ".join(at(size, t) for size, t in line)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        x, y = points.split()[-1].split(",")
        parts.append(f'<text x="{float(x) + 8:.0f}" y="{y}" fill="{colour}">{kind}</text>')
    return "\n".join([*parts, "</svg>\n"])


def kernels(repeats: int) -> None:
    """Each way that glmix/cpu.py knows beside the plain operation, chosen on this CPU or not."""
    print(f"chosen on this CPU: {cpu.capability()}\n")
    cpu.capability = lambda: cpu.Capability(True, True)  # type: ignore[assignment]
    head("operation", "PyTorch's (ms)", "ours (ms)", "×")
    for dtype in (torch.float32, torch.bfloat16):
        for side in (5, 7):
            depthwise_rows(side, dtype, repeats)
    for rows, d, e in ((64, 256, 768), (196, 256, 256), (784, 128, 128)):
        inputs = leaves((48, rows, d), (e, d), (e,))
        kernel(f"linear {d} → {e}, 48×{rows} rows", F.linear, cpu.row_linear, inputs, repeats)
    for d, e, side in ((64, 192, 56), (256, 768, 14)):
        x, w, b = leaves((4, d, side, side), (e, d, 1, 1), (e,))
        x = x.detach().to(memory_format=torch.channels_last).requires_grad_()
        title = f"1×1 convolution {d} → {e}, 4×{side}²"
        kernel(title, F.conv2d, cpu.pointwise_conv2d, (x, w, b), repeats)
    for dtype in (torch.float32, torch.bfloat16):
        for n in (64, 196, 784):
            (q,) = leaves((16, 8, n, 32), dtype=dtype)
            title = f"fused / plain attention, 16×8 heads, {n} tokens, {str(dtype)[6:]}"
            kernel(title, fused_attention, plain_attention, (q,), repeats, inference=False)


def depthwise_rows(side: int, dtype: torch.dtype, repeats: int) -> None:
    x, w, b = leaves((48, 32, 32, 32), (32, 1, side, side), (32,), dtype=dtype)
    x = x.detach().to(memory_format=torch.channels_last).requires_grad_()
    kernel(
        f"{side}×{side} depth-wise, 48×32×32², {str(dtype)[6:]}",
        lambda x, w, b: F.conv2d(x, w, b, padding=side // 2, groups=32),
        cpu.depthwise_conv2d,
        (x, w, b),
        repeats,
        inference=False,
    )


def leaves(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    return tuple(torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes)


def fused_attention(q: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, q, q)


def plain_attention(q: Tensor) -> Tensor:
    return (q * q.shape[-1] ** -0.5 @ q.transpose(-2, -1)).softmax(-1) @ q


def kernel(
    title: str,
    plain: Callable[..., Tensor],
    ours: Callable[..., Tensor],
    inputs: tuple[Tensor, ...],
    repeats: int,
    inference: bool = True,
) -> None:
    """Rows for forward and backward pass together, and for inference."""
    ways = {"plain": plain, "ours": ours}
    train = {k: lambda f=f: torch.autograd.grad(f(*inputs).sum(), inputs) for k, f in ways.items()}
    print_ratio(f"{title}, training", in_turn(train, repeats))
    if inference:
        with torch.no_grad():
            infer = {k: lambda f=f: f(*inputs) for k, f in ways.items()}
            print_ratio(f"{title}, inference", in_turn(infer, repeats))


def print_ratio(title: str, taken: dict[str, float]) -> None:
    p, o = taken["plain"] * 1e3, taken["ours"] * 1e3
    row(title, f"{p:.1f}", f"{o:.1f}", f"{p / o:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for mode in ("table", "speed", "memory", "cost", "kernels"):
        parser.add_argument(f"--{mode}", action="store_true")
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--plot", type=Path, help="where --cost draws its table, as SVG")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.peak:
        peak(*args.peak)
        return
    print(
        f"{cpu_name()}, {torch.backends.cpu.get_cpu_capability()}; torch {torch.__version__}, "
        f"{args.threads} thread(s), least of {args.repeats}\n"
    )
    if args.table:
        table(args.repeats)
    if args.speed:
        speed(args.repeats)
    if args.memory:
        memory(args.threads)
    if args.cost:
        cost(args.repeats, args.plot)
    if args.kernels:
        kernels(args.repeats)


if __name__ == "__main__":
    main()
