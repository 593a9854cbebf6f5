"""How published evaluations count the same masks. Pure.

All of them add up one confusion matrix over the split and leave out pixels whose target is 255.
They differ in what a predicted 255 is, and in which classes the mean goes over.
"""

from dataclasses import dataclass
from typing import Literal

from wsss.metrics.confusion import ConfusionMatrix, Unsure, mean_known


@dataclass(frozen=True)
class Counting:
    """One way to count.

    Attributes:
        unsure: what a predicted 255 counts as.
        over: the classes of the mean: those that `occur` in target or prediction, or those of the
            `target` alone, which forgives a class that is only predicted.
    """

    unsure: Unsure
    over: Literal["occur", "target"] = "occur"

    def miou(self, confusion: ConfusionMatrix) -> float:
        """The mean IoU; nan where no class is counted."""
        counted = confusion.counted(self.unsure)
        iou, (_, true, _) = counted.compute().iou, counted.areas()
        return mean_known(iou[true > 0] if self.over == "target" else iou)


COUNTINGS = {
    "irn": Counting("background"),  # step/eval_sem_seg.py of jiwoon-ahn/irn
    "strict": Counting("wrong"),
    "toco": Counting("background", "target"),  # `scores` of utils/evaluate.py of rulixiang/ToCo
    "toco-pseudo": Counting("skipped", "target"),  # `pseudo_scores` of the same file
}
"""By the code they are taken from; `strict` is the hardest on masks that leave pixels out."""
