"""The run-length code of Label Studio's brush, in bytes.

32 bits: number of values. 5 bits: bits of a value − 1. 4 × 4 bits: sizes of length fields − 1.
Then runs: 1 bit (1: one value repeated, 0: each its own), 2 bits (which size), length − 1, values.
The values are RGBA, four a pixel, row by row; a pixel is painted where its alpha is high.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_SIZES = (3, 4, 8, 16)
_VALUE = 8


def encode_brush(mask: NDArray[np.bool_]) -> list[int]:
    """(H, W) bool → bytes, as the brush of Label Studio saves it."""
    flat = mask.ravel()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1, [flat.size]])
    bits = [f"{4 * flat.size:032b}", f"{_VALUE - 1:05b}", *(f"{size - 1:04b}" for size in _SIZES)]
    for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        value = "1" * _VALUE if flat[start] else "0" * _VALUE
        left = 4 * (end - start)
        while left:
            length = min(left, 1 << 16)
            which = next(i for i, size in enumerate(_SIZES) if length <= 1 << size)
            bits.append(f"1{which:02b}{length - 1:0{_SIZES[which]}b}{value}")
            left -= length
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def decode_brush(code: Sequence[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Bytes of an image of `size` = (H, W) → (H, W) bool.

    Raises:
        ValueError: they are no such code, or of another size.
    """
    try:
        data = bytes(code)
    except (TypeError, ValueError):
        raise ValueError("a brush whose rle is no list of bytes") from None
    reader = _Bits(data)
    total, width = reader.take(32), reader.take(5) + 1
    sizes = [reader.take(4) + 1 for _ in range(4)]
    if total != 4 * size[0] * size[1] or width != _VALUE:
        raise ValueError(f"a brush of {total // 4} pixels in an image of {size[1]}×{size[0]}")
    values = np.empty(total, np.uint8)
    at = 0
    while at < total:
        repeated = reader.take(1)
        length = reader.take(sizes[reader.take(2)]) + 1
        if at + length > total:
            raise ValueError("a brush whose runs are longer than its image")
        if repeated:
            values[at : at + length] = reader.take(width)
        else:
            values[at : at + length] = [reader.take(width) for _ in range(length)]
        at += length
    return np.asarray(values.reshape(*size, 4)[..., 3] > 127)


class _Bits:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> int:
        """The next bits as a number."""
        end = self.at + count
        if end > 8 * len(self.data):
            raise ValueError("a brush that ends early")
        first, last = self.at // 8, (end + 7) // 8
        number = int.from_bytes(self.data[first:last], "big") >> (8 * last - end)
        self.at = end
        return number & ((1 << count) - 1)
