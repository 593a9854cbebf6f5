"""What is kept of an image."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from wsss.review.edits import Actions, How

Decision = Literal["open", "accepted", "rejected", "skipped"]
TRUSTED: tuple[Decision, ...] = ("accepted", "rejected")
"""Decisions that leave a file among the trusted masks."""
State = Literal["new", "edited", "accepted", "rejected", "skipped"]


class Record(BaseModel):
    """What is kept of an image.

    Attributes:
        version: rises with every change; who changes an image names the version that was seen.
        actions: of whoever worked on it, in their order.
        tags: names of its classes, where they were changed.
        decision: the last one; `open` before it.
        how: the accepted mask was made.
        who: changed it last.
        when: of the last change, UTC.
        changed: whether actions were changed after the decision.
    """

    model_config = ConfigDict(extra="ignore")

    version: int = 0
    actions: Actions = ()
    tags: tuple[str, ...] | None = None
    decision: Decision = "open"
    how: How = "auto"
    who: str = ""
    when: str = ""
    changed: bool = False

    @property
    def state(self) -> State:
        """As the queue shows it."""
        if self.decision == "open" or (self.changed and self.decision != "accepted"):
            return "edited" if self.actions else "new"
        return self.decision


class ConflictError(Exception):
    """Somebody else changed the image since; `record` says what it is now."""

    def __init__(self, record: Record) -> None:
        super().__init__(f"version {record.version} of {record.who}")
        self.record = record
