"""What the page can ask for: the queue, an image, its mask, and a decision about it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsss.data.images import TaggedDataset
from wsss.errors import WsssError
from wsss.labels import BACKGROUND, IGNORE_INDEX
from wsss.report.colours import colours_among
from wsss.review.calibration import ENOUGH, Calibration
from wsss.review.desk import Desk, OpenEngine
from wsss.review.edits import Action, Actions, Edits, sum_up
from wsss.review.record import Decision, Record
from wsss.review.store import Store
from wsss.run.layout import Layout


class Session:
    """A review of a run.

    Attributes:
        store: what people decided.
        desk: the images that are open.
        made: how many times the masks were made since the start, the first time among them.
        calibration: that the page offers, if any.
    """

    def __init__(
        self,
        layout: Layout,
        tagged: TaggedDataset,
        scores: dict[str, float],
        open_engine: OpenEngine,
        reviewer: str = "",
        background: bool = True,
    ) -> None:
        """Sort the queue.

        Args:
            layout: of the run.
            tagged: its images.
            scores: image id → how uncertain its mask is, 0…1; images without one come last.
            open_engine: makes masks of clicks.
            reviewer: name of whoever sits at this machine.
            background: whether a pixel may be none of the classes.
        """
        self.layout, self.tagged = layout, tagged
        self.reviewer, self.background = reviewer, background
        self.store = Store(layout, tagged)
        self.desk = Desk(tagged.samples, open_engine)
        self.made = 0
        self.calibration: Calibration | None = None
        # background black, all that is no class grey
        self.colours = np.full((IGNORE_INDEX + 1, 3), 160, np.uint8)
        classes = len(tagged.class_names)
        own = colours_among(classes, (sample.tags for sample in tagged.samples))
        self.colours[: classes + 1] = np.vstack([np.zeros((1, 3), np.uint8), own])
        self.renew(scores, open_engine)

    def renew(self, scores: dict[str, float], open_engine: OpenEngine) -> None:
        """Take up masks that the run made again, by another recipe."""
        self.scores = scores
        self.order = sorted(self.desk.samples, key=lambda id_: (-scores.get(id_, -1.0), id_))
        self.desk.renew(open_engine)
        self.made += 1

    def about(self) -> dict[str, Any]:
        """The run: its name, classes with values and colours, and what it offers."""
        names = enumerate((BACKGROUND, *self.tagged.class_names))
        labels = [*names, (IGNORE_INDEX, "unsure")][0 if self.background else 1 :]
        return {
            "run": self.layout.root.resolve().name,
            "reviewer": self.reviewer,
            "serial": len(self.store.log),
            "made": self.made,
            "calibrates_at": None if self.calibration is None else ENOUGH,
            "classes": [
                {"value": value, "name": name, "colour": self.colours[value].tolist()}
                for value, name in labels
            ],
        }

    def queue(self) -> list[dict[str, Any]]:
        """Every image in its order."""
        return [self.row(id_) for id_ in self.order]

    def changes(self, since: int) -> dict[str, Any]:
        """The images that changed through this server after a serial number of its answers."""
        log = self.store.log
        # a number of an earlier start says nothing
        changed = log[since:] if since <= len(log) else self.order
        rows = [self.row(id_) for id_ in dict.fromkeys(changed)]
        return {"serial": len(log), "rows": rows, "made": self.made, **self.calibrating()}

    def calibrating(self) -> dict[str, str]:
        """How far the calibration is."""
        if self.calibration is None:
            return {"calibration": "none", "said": ""}
        return {"calibration": self.calibration.state, "said": self.calibration.said()}

    def calibrate(self) -> dict[str, str]:
        """Choose the recipe on the accepted masks, and make the others again.

        Raises:
            WsssError: this run can't be calibrated, or too few masks are accepted.
        """
        accepted = sum(one.decision == "accepted" for one in self.store.records.values())
        if self.calibration is None or accepted < ENOUGH:
            raise WsssError(
                f"{accepted} masks are accepted; expected {ENOUGH} of a run's first round to "
                "calibrate by: accept more."
            )
        self.calibration.start()
        return self.calibrating()

    def close(self) -> None:
        """Start nothing more."""
        self.desk.close()
        if self.calibration is not None:
            self.calibration.stop()

    def row(self, image_id: str) -> dict[str, Any]:
        """An image as the queue shows it."""
        record = self.store.records[image_id]
        return {
            "id": image_id,
            "tags": [tag + 1 for tag in self._tags(image_id, record.actions)],
            "score": self.scores.get(image_id),
            "state": record.state,
            "changed": record.changed,
            "version": record.version,
            "who": record.who,
            "when": record.when,
        }

    def item(self, image_id: str) -> dict[str, Any]:
        """An image with the actions on it, as they are on disk now."""
        record = self.store.get(image_id)
        opened = self.desk.open(image_id)
        height, width = opened.size
        return {
            **self.row(image_id),
            "given": [tag + 1 for tag in self.desk.samples[image_id].tags],
            "width": width,
            "height": height,
            "how": record.how,
            "actions": [action.model_dump() for action in record.actions],
        }

    def prepare(self, image_id: str) -> None:
        """Open an image in the background; see `Desk.prepare`."""
        self.desk.prepare(image_id, self._start(image_id))

    def mask(self, image_id: str, actions: Sequence[Action]) -> NDArray[np.uint8]:
        """(H, W) uint8 that actions come to, at the size that the image is shown at."""
        return self.desk.shown(image_id, self._whole_mask(image_id, actions)[1])

    def keep(self, image_id: str, seen: int, who: str, actions: Actions) -> Record:
        """Keep unfinished work; see `Store.keep`."""
        edits = self._check(image_id, actions)
        return self.store.keep(image_id, seen, who, edits, actions)

    def decide(
        self,
        image_id: str,
        seen: int,
        who: str,
        actions: Actions,
        decision: Decision,
        seconds: float = 0.0,
    ) -> Record:
        """Accept, reject, put off or take back; see `Store.decide`.

        Of a rejected mask nothing is trusted, and nothing else is learnt either: 255 all over.
        """
        edits, mask = self._check(image_id, actions), None
        if decision == "accepted":
            edits, mask = self._whole_mask(image_id, actions)
        elif decision == "rejected":
            mask = np.full(self.desk.open(image_id).size, IGNORE_INDEX, np.uint8)
        return self.store.decide(image_id, seen, who, edits, actions, decision, mask, seconds)

    def thumbnail(self, image_id: str) -> bytes:
        """A small JPEG of an image with its mask."""
        return self.desk.thumbnail(image_id, self._best_mask(image_id), self.colours)

    def _best_mask(self, image_id: str) -> Path:
        accepted = self.store.records[image_id].decision == "accepted"
        return (self.layout.trusted if accepted else self.layout.pseudo_mask)(image_id)

    def _whole_mask(
        self, image_id: str, actions: Sequence[Action]
    ) -> tuple[Edits, NDArray[np.uint8]]:
        edits = self._check(image_id, actions)
        record = self.store.records[image_id]
        as_decided = not record.changed and record.actions == tuple(actions)
        if record.decision == "accepted" and as_decided:
            nothing = sum_up((), self.desk.samples[image_id].tags)
            return edits, self.desk.mask(image_id, nothing, self.layout.trusted(image_id))
        return edits, self.desk.mask(image_id, edits, self._start(image_id))

    def _start(self, image_id: str) -> Path:
        """The mask that a person's actions start from."""
        record, foreign = self.store.records[image_id], self.layout.review_start(image_id)
        if record.decision == "accepted" and record.how == "auto":
            return self.layout.trusted(image_id)
        return foreign if foreign.is_file() else self.layout.pseudo_mask(image_id)

    def _check(self, image_id: str, actions: Sequence[Action]) -> Edits:
        """What actions come to.

        Raises:
            WsssError: one of them names a class that the run doesn't have, or clicks outside.
        """
        first, last = int(not self.background), len(self.tagged.class_names)
        for action in actions:
            label = IGNORE_INDEX if action.kind == "reset" else action.label
            if label != IGNORE_INDEX and not first <= label <= last:
                raise WsssError(
                    f"An action names the class {label}; expected {first} to {last}, or 255 where "
                    "nobody knows: load the page again."
                )
            if action.kind == "click":
                height, width = self.desk.open(image_id).size
                if not (0 <= action.x < width and 0 <= action.y < height):
                    raise WsssError(
                        f"A click is at ({action.x}, {action.y}), outside of the image's "
                        f"{width}×{height} pixels: click on the image."
                    )
        return sum_up(actions, self.desk.samples[image_id].tags)

    def _tags(self, image_id: str, actions: Sequence[Action]) -> tuple[int, ...]:
        return sum_up(actions, self.desk.samples[image_id].tags).tags
