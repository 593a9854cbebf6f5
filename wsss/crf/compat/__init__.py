"""A drop-in for pydensecrf: its names, arguments and answers, by `wsss.crf`'s lattices.

    from wsss.crf.compat import densecrf as dcrf  # import pydensecrf.densecrf as dcrf
    from wsss.crf.compat import utils  # from pydensecrf import utils

It needs torch and numpy alone.
"""

from wsss.crf.compat import densecrf, utils

__all__ = ["densecrf", "utils"]
