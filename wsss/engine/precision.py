"""Which precision networks train in: a pure choice from what was asked for and what is at hand."""

from typing import Literal, NamedTuple

from wsss.errors import WsssError

Precision = Literal["fp32", "bf16", "fp16"]
Asked = Literal["auto", "fp32", "bf16", "fp16"]


class Hardware(NamedTuple):
    """What a device computes by instructions of its own, not by way of float32.

    Attributes:
        bfloat16: products of bfloat16.
        float16: products of float16, whose gradients are scaled.
        quick_float16: those at a multiple of float32's rate, on tensor cores.
    """

    bfloat16: bool = False
    float16: bool = False
    quick_float16: bool = False


class Choice(NamedTuple):
    """A precision, and what the user should know of it.

    Attributes:
        precision: to train in.
        remark: a clause to follow the name of the training; None where nothing is unexpected.
    """

    precision: Precision
    remark: str | None = None


def choose(asked: Asked, hardware: Hardware, begun: Precision | None = None) -> Choice:
    """The precision of a training.

    Args:
        asked: of the config; `auto` takes bf16 where the device has it, fp16 where that is quick,
            and fp32 elsewhere.
        hardware: of the device.
        begun: that of the training which goes on, maybe from another machine; `auto` keeps it.

    Raises:
        WsssError: fp16 on a device that doesn't train in it.
    """
    halved: Precision = "fp16" if hardware.quick_float16 else "fp32"
    own: Precision = "bf16" if hardware.bfloat16 else halved
    precision = (begun or own) if asked == "auto" else asked
    if precision == "fp16" and not hardware.float16:
        raise WsssError(
            "fp16 can be trained in on a GPU alone, and none is used here: take "
            f"runtime.precision={own}."
        )
    emulated = precision == "bf16" and not hardware.bfloat16
    if precision != own and asked == "auto":
        why = "which is emulated here" if emulated else f"where it would take {own} here"
        return Choice(
            precision,
            f"goes on in {precision}, as it began, {why}: runtime.precision={own} changes that.",
        )
    if emulated:
        return Choice(
            precision,
            "runs in bf16, which this machine emulates slowly: "
            f"runtime.precision=auto takes {own}.",
        )
    return Choice(precision)
