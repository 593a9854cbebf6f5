"""What people decided, on disk: whole at any moment, by one person at a time.

review/images/<id>.json   an image's actions, decision and version
review/journal.jsonl      one line per decision: who, when, what, how
review/tags.csv           tags of all images, once a person changed one
review/starts/<id>.png    masks of other programs that lay in trusted/, as they were
trusted/<id>.png          accepted masks, beside class_names.txt; rejected ones: 255 all over
"""

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from wsss.data.images import TaggedDataset
from wsss.data.mask_io import read_origin, write_class_names, write_mask
from wsss.errors import WsssError
from wsss.files import csv_text, make_folder, write_atomic, write_text
from wsss.labels import CLASS_NAMES_FILE, class_lines
from wsss.review.edits import Actions, Edits
from wsss.review.record import TRUSTED, ConflictError, Decision, Record
from wsss.run.layout import Layout


class Store:
    """The records of a run's images.

    Several threads and several servers may share a run: every change is made under a lock, on top
    of the version that its author saw, or not at all.

    Attributes:
        records: image id → its record, as this server saw it last.
        log: ids of the images that this server changed, in that order.
    """

    def __init__(self, layout: Layout, tagged: TaggedDataset) -> None:
        """Read every record.

        Raises:
            WsssError: a record isn't one, or the accepted masks are of other classes.
        """
        self.layout, self.tagged = layout, tagged
        self._given = {sample.id: sample.tags for sample in tagged.samples}
        self._thread = Lock()
        self._lock = layout.review / ".lock"
        self._begun = layout.review.is_dir()
        self._refuse_other_classes()
        self.log: list[str] = []
        self.records = {sample.id: self._read(sample.id) for sample in tagged.samples}

    def get(self, image_id: str) -> Record:
        """The record of an image as it is on disk, where another server may have written it."""
        self.records[image_id] = self._read(image_id)
        return self.records[image_id]

    def keep(self, image_id: str, seen: int, who: str, edits: Edits, actions: Actions) -> Record:
        """Keep unfinished work.

        Args:
            image_id: of an image of the run.
            seen: version that the person saw.
            who: the person.
            edits: what the actions come to.
            actions: all of them.

        Raises:
            ConflictError: there is another version.
        """
        new = {"actions": actions, "tags": self._tags(image_id, edits), "changed": True}
        with self._changing(image_id, seen, {**new, "who": who}) as (old, done):
            if done:
                return old
            record = _next(old.model_copy(update=new), who)
            self._write(image_id, record)
            return record

    def decide(
        self,
        image_id: str,
        seen: int,
        who: str,
        edits: Edits,
        actions: Actions,
        decision: Decision,
        mask: NDArray[np.uint8] | None = None,
        seconds: float = 0.0,
    ) -> Record:
        """Accept a mask, reject it, put it off, or take a decision back.

        Args:
            image_id: of an image of the run.
            seen: version that the person saw.
            who: the person.
            edits: what the actions come to.
            actions: all of them.
            decision: what about it.
            mask: (H, W) of the full-size image, to be trusted from now on.
            seconds: that the person looked at it, for the journal.

        Raises:
            ConflictError: there is another version.
            WsssError: the disk refuses.
        """
        new = {
            "actions": actions,
            "tags": self._tags(image_id, edits),
            "decision": decision,
            "how": edits.how,
            "changed": False,
        }
        with self._changing(image_id, seen, {**new, "who": who}) as (old, done):
            if done or (decision == "skipped" and old.decision == "accepted"):
                self._write_tags(image_id)  # a server may have been killed before it did
                return old
            path = self.layout.trusted(image_id)
            if path.is_file() and _stamp(path)[0] == 0:  # another program's
                start = self.layout.review_start(image_id)
                write_atomic(start, lambda target: shutil.copyfile(path, target))
            with _taken_back(path, self.layout.review_journal):
                if mask is None:
                    path.unlink(missing_ok=True)
                else:
                    # before the record: a server killed in between leaves the mask that counts
                    write_class_names(self.layout.trusted_masks, self.tagged.class_names)
                    write_mask(path, mask, origin=f"wsss review {old.version + 1} {decision}")
                record = _next(old.model_copy(update=new), who)
                self._note(image_id, record, edits, seconds)
                self._write(image_id, record)
            self._write_tags(image_id)
            return record

    @contextmanager
    def _changing(
        self, image_id: str, seen: int, new: dict[str, Any]
    ) -> Iterator[tuple[Record, bool]]:
        """The record to change, and whether this very change is made already.

        A page asks again where the answer got lost with its server.
        """
        with self._thread:
            self._refuse_vanished()
            make_folder(self._lock.parent)
            self._begun = True
            with _held(self._lock):
                found = self.get(image_id)
                done = found.version == seen + 1 and found == found.model_copy(update=new)
                if found.version != seen and not done:
                    raise ConflictError(found)
                yield found, done

    def _refuse_vanished(self) -> None:
        """Refuse to begin the run's folder anew, where nobody would look for the masks."""
        if not self.layout.root.is_dir() or (self._begun and not self._lock.parent.is_dir()):
            raise WsssError(
                f"The run {self.layout.root} is gone, or was begun anew since this server started; "
                "this change was not kept. Bring the folder back, or start wsss review again."
            )

    def _write(self, image_id: str, record: Record) -> None:
        write_text(self.layout.review_record(image_id), record.model_dump_json() + "\n")
        self.records[image_id] = record
        self.log.append(image_id)

    def _read(self, image_id: str) -> Record:
        """The record, put right where a server was killed between a mask and its record."""
        path, mask = self.layout.review_record(image_id), self.layout.trusted(image_id)
        try:
            found = Record.model_validate_json(path.read_text(encoding="utf-8"))
            version, decision = _stamp(mask)
            if mask.is_file() and (version > found.version or found.decision not in TRUSTED):
                return found.model_copy(update={"decision": decision, "changed": False})
            if found.decision in TRUSTED and not mask.is_file():
                return found.model_copy(update={"decision": "open", "changed": True})
            return found
        except FileNotFoundError:
            # a mask that was put there by other means is as good as accepted
            return Record(decision="accepted" if mask.is_file() else "open")
        except (OSError, ValueError) as error:  # of pydantic, and of what is no UTF-8
            raise WsssError(
                f"{path} is no record of a review ({type(error).__name__}); expected what "
                "`wsss review` writes: move the file away, its accepted mask stays."
            ) from None

    def _tags(self, image_id: str, edits: Edits) -> tuple[str, ...] | None:
        if edits.tags == self._given[image_id]:
            return None
        return tuple(self.tagged.class_names[tag] for tag in edits.tags)

    def _note(self, image_id: str, record: Record, edits: Edits, seconds: float) -> None:
        line = {
            "when": record.when,
            "who": record.who,
            "id": image_id,
            "decision": record.decision,
            "how": record.how,
            "clicks": len(edits.clicks),
            "levels": len(edits.levels),
            "painted": len(edits.paint),
            "tags": record.tags,
            "seconds": round(seconds, 1),
        }
        with self.layout.review_journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _write_tags(self, image_id: str) -> None:
        """Keep an image's tags in the table, if anybody changed any; its other rows stay."""
        path = self.layout.review_tags
        written: dict[str, str] = {}
        with suppress(OSError, ValueError, csv.Error):  # missing, or no table: made anew
            written = dict(list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))[1:])
        cell = self._cell(image_id)
        anybody = written or self.records[image_id].tags is not None
        if written.get(image_id) == cell or not anybody:
            return
        # another server may have written rows that this one's records don't know of
        rows = {id_: written[id_] if id_ in written else self._cell(id_) for id_ in self._given}
        rows[image_id] = cell
        write_text(path, csv_text([("image", "tags"), *rows.items()]))

    def _cell(self, image_id: str) -> str:
        names, changed = self.tagged.class_names, self.records[image_id].tags
        tags = [names[tag] for tag in self._given[image_id]] if changed is None else changed
        return json.dumps(list(tags), ensure_ascii=False) if tags else ""

    def _refuse_other_classes(self) -> None:
        path = self.layout.trusted_masks / CLASS_NAMES_FILE
        expected = class_lines(self.tagged.class_names)
        if not path.exists():
            return
        try:
            found = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            found = []
        if found != expected:
            raise WsssError(
                f"{path} names other classes than the run's {', '.join(expected[1:6])}, …; "
                "expected the same, because masks hold their numbers: move the folder away, or "
                "give the run the classes that it was reviewed with."
            )


def _stamp(mask: Path) -> tuple[int, Decision]:
    """Version and decision that a mask was written for; 0 and accepted for one made elsewhere."""
    words = (read_origin(mask) or "").split()
    if words[:2] == ["wsss", "review"] and len(words) == 4 and words[2].isdecimal():
        return int(words[2]), "rejected" if words[3] == "rejected" else "accepted"
    return 0, "accepted"


def _next(record: Record, who: str) -> Record:
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return record.model_copy(update={"version": record.version + 1, "who": who, "when": now})


@contextmanager
def _taken_back(mask: Path, journal: Path) -> Iterator[None]:
    """Leave mask and journal as they were where the disk refuses part of a decision."""
    before = mask.read_bytes() if mask.is_file() else None
    length = journal.stat().st_size if journal.is_file() else 0
    try:
        yield
    except (OSError, WsssError):
        with suppress(OSError):
            os.truncate(journal, length)
        with suppress(OSError, WsssError):
            if before is None:
                mask.unlink(missing_ok=True)
            elif not mask.is_file() or mask.read_bytes() != before:
                write_atomic(mask, lambda target: target.write_bytes(before))
        raise


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Wait until no other process changes a record."""
    lock = FileLock(path, timeout=20)
    try:
        lock.acquire(poll_interval=0.01)
    except NotImplementedError:  # a file system without locks
        yield
        return
    try:
        yield
    finally:
        lock.release()
