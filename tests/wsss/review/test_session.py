"""Queue, masks and decisions, and what of them is on disk."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.wsss.review.conftest import SIZE, Quadrants, make_session
from tests.wsss.review.test_edits import actions, click, stroke
from wsss.data.images import read_image
from wsss.data.mask_io import read_mask, write_mask
from wsss.errors import WsssError
from wsss.files import write_atomic
from wsss.formats.own_images import read_folder
from wsss.review.calibration import Calibration
from wsss.review.desk import THUMBNAIL_SIDE
from wsss.review.record import ConflictError
from wsss.review.session import Session

GROWN = actions(click(2, 10, 2))
PAINT = actions(stroke(2, (0.5, 11.5), radius=0.5))


def journal(session: Session) -> list[dict[str, Any]]:
    text = session.layout.review_journal.read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_queue_shows_the_most_uncertain_first_and_the_unknown_last(session: Session) -> None:
    assert [row["id"] for row in session.queue()] == ["c", "a", "sub/b"]
    assert [row["tags"] for row in session.queue()] == [[], [1], [1, 2]]


def test_queue_without_scores_is_in_the_order_of_names(tmp_path: Path) -> None:
    session = make_session(tmp_path, {"b": (0,), "a": (0,)})
    assert [row["id"] for row in session.queue()] == ["a", "b"]


def test_mask_without_edits_is_the_pseudo_mask(session: Session) -> None:
    calls = Quadrants.calls
    np.testing.assert_array_equal(session.mask("a", ()), read_mask(session.layout.pseudo_mask("a")))
    assert Quadrants.calls == calls


def test_mask_without_a_pseudo_mask_is_made(session: Session) -> None:
    session.layout.pseudo_mask("a").unlink()
    assert (session.mask("a", ())[:, -2:] == 1).all()


def test_mask_of_paint_changes_what_is_painted_alone(session: Session) -> None:
    before, after = session.mask("sub/b", ()), session.mask("sub/b", PAINT)
    assert after[11, 0] == 2
    assert (before != after).sum() == 1


def test_mask_of_a_click_is_grown_and_paint_lies_on_it(session: Session) -> None:
    mask = session.mask("sub/b", [*GROWN, *PAINT, *actions(stroke(0, (1.5, 11.5), radius=0.5))])
    assert mask[11, :3].tolist() == [2, 0, 2]
    assert (mask[6:11, :8] == 2).all()


def test_mask_of_a_click_starts_from_the_mask_that_is_shown(session: Session) -> None:
    before, after = session.mask("sub/b", ()), session.mask("sub/b", GROWN)
    changed = before != after
    assert changed[6:, :8].all() and changed.sum() == 6 * 8


@pytest.mark.parametrize("work", [GROWN, PAINT])
def test_mask_of_another_program_stays_the_start_of_what_is_done_to_it(
    session: Session, tmp_path: Path, work: Any
) -> None:
    own = np.full(SIZE, 1, np.uint8)
    write_mask(session.layout.trusted("sub/b"), own)
    again = make_session(tmp_path, {"sub/b": (0, 1)})
    again.decide("sub/b", 0, "", work, "accepted")
    assert (again.mask("sub/b", work) == 1).any()
    again.decide("sub/b", 1, "", work, "rejected")
    again.decide("sub/b", 2, "", work, "open")
    np.testing.assert_array_equal(again.mask("sub/b", ()), own)


def test_mask_of_the_same_clicks_is_made_once(session: Session) -> None:
    calls = Quadrants.calls
    session.mask("sub/b", GROWN)
    session.mask("sub/b", [*GROWN, *PAINT])
    session.decide("sub/b", 0, "ada", GROWN, "accepted")
    assert Quadrants.calls == calls + 1


def test_mask_follows_levels_and_tags(session: Session) -> None:
    more = actions({"kind": "level", "label": 1, "steps": 4})
    assert (session.mask("a", more) == 1).mean() == pytest.approx(0.25)
    tag = actions({"kind": "tag", "label": 2, "on": True})
    assert set(np.unique(session.mask("c", tag))) == {0, 2}


def test_mask_of_a_large_photograph_is_shown_reduced_and_saved_whole(tmp_path: Path) -> None:
    session = make_session(tmp_path, {"large": (0,)}, size=(2000, 3000))
    thin = actions(stroke(1, (2999.5, 1500.5), radius=0.5))
    assert session.mask("large", thin).shape == (1365, 2048)
    session.decide("large", 0, "ada", thin, "accepted")
    saved = read_mask(session.layout.trusted("large"))
    assert saved.shape == (2000, 3000)
    assert saved[1500, 2999] == 1 and (saved[1000:] == 1).sum() == 1


def test_keep_writes_unfinished_work_and_a_new_session_reads_it(
    session: Session, tmp_path: Path
) -> None:
    assert session.keep("a", 0, "ada", GROWN).version == 1
    again = make_session(tmp_path, {"a": (0, 1)})
    item = again.item("a")
    assert (item["state"], item["version"], item["who"]) == ("edited", 1, "ada")
    assert item["actions"] == [GROWN[0].model_dump()]
    assert not session.layout.trusted("a").exists()


def test_accepted_mask_is_saved_with_who_when_and_how(session: Session) -> None:
    record = session.decide("sub/b", 0, "ada", GROWN, "accepted", seconds=4.2)
    assert (record.decision, record.how, record.who) == ("accepted", "clicked", "ada")
    assert record.when.endswith("+00:00")
    saved = read_mask(session.layout.root / "trusted" / "sub" / "b.png")
    np.testing.assert_array_equal(saved, session.mask("sub/b", GROWN))
    names = (session.layout.root / "trusted" / "class_names.txt").read_text().splitlines()
    assert names[:3] == ["0 background", "1 cat", "2 dog"]
    (line,) = journal(session)
    expected = {"who": "ada", "id": "sub/b", "decision": "accepted", "how": "clicked"}
    assert expected.items() <= line.items()
    assert (line["clicks"], line["painted"], line["seconds"]) == (1, 0, 4.2)


@pytest.mark.parametrize(("work", "how"), [((), "auto"), (GROWN, "clicked"), (PAINT, "painted")])
def test_how_says_what_made_the_mask(session: Session, work: Any, how: str) -> None:
    assert session.decide("sub/b", 0, "", tuple(work), "accepted").how == how


def test_accepted_mask_stays_as_it_is_when_the_run_makes_others(session: Session) -> None:
    accepted = session.mask("sub/b", GROWN)
    session.decide("sub/b", 0, "", GROWN, "accepted")
    session.desk.open("sub/b").open_engine = Quadrants
    write_mask(session.layout.pseudo_mask("sub/b"), np.full(SIZE, 2, np.uint8))
    np.testing.assert_array_equal(session.mask("sub/b", GROWN), accepted)


def test_accepted_mask_changed_later_stays_until_it_is_accepted_again(session: Session) -> None:
    session.decide("a", 0, "", (), "accepted")
    before = session.layout.trusted("a").read_bytes()
    session.keep("a", 1, "", GROWN)
    row = session.row("a")
    assert (row["state"], row["changed"]) == ("accepted", True)
    assert session.layout.trusted("a").read_bytes() == before
    session.decide("a", 2, "", PAINT, "accepted")
    assert not session.row("a")["changed"]


def test_rejected_mask_is_trusted_nowhere(session: Session, tmp_path: Path) -> None:
    session.decide("a", 0, "", GROWN, "accepted")
    session.decide("a", 1, "", GROWN, "rejected")
    assert (read_mask(session.layout.trusted("a")) == 255).all()
    again = make_session(tmp_path, {"a": (0,)})
    assert again.row("a")["state"] == "rejected"
    # the page shows what it would be
    np.testing.assert_array_equal(again.mask("a", GROWN), session.mask("a", GROWN))


def test_decision_taken_back_leaves_no_trusted_mask(session: Session) -> None:
    for decision in ("accepted", "rejected"):
        version = session.store.get("a").version
        session.decide("a", version, "", (), decision)  # type: ignore[arg-type]
        session.decide("a", version + 1, "", (), "open")
        assert not session.layout.trusted("a").exists()
    assert session.row("a")["state"] == "new"


def test_skipped_does_not_touch_an_accepted_mask(session: Session) -> None:
    session.decide("a", 0, "", (), "accepted")
    assert session.decide("a", 1, "", (), "skipped").decision == "accepted"
    assert session.layout.trusted("a").is_file()


def test_second_person_is_told_and_changes_nothing(session: Session, tmp_path: Path) -> None:
    other = make_session(tmp_path, {"a": (0,)})  # another server on the same folder
    session.decide("a", 0, "ada", (), "accepted")
    with pytest.raises(ConflictError) as found:
        other.decide("a", 0, "bob", PAINT, "accepted")
    assert (found.value.record.who, found.value.record.version) == ("ada", 1)
    with pytest.raises(ConflictError):
        other.keep("a", 0, "bob", PAINT)
    assert session.item("a")["who"] == "ada"
    assert len(journal(session)) == 1


def test_server_killed_between_mask_and_record_leaves_it_accepted(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.keep("a", 0, "ada", PAINT)
    monkeypatch.setattr("wsss.review.store.write_text", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        session.decide("a", 1, "ada", PAINT, "accepted")
    monkeypatch.undo()
    again = make_session(tmp_path, {"a": (0,)})
    assert again.row("a")["state"] == "accepted"
    assert again.item("a")["actions"] == [PAINT[0].model_dump()]


def test_server_killed_between_the_mask_and_record_of_a_rejection_leaves_it_rejected(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.decide("a", 0, "ada", (), "accepted")
    monkeypatch.setattr("wsss.review.store.write_text", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        session.decide("a", 1, "ada", (), "rejected")
    monkeypatch.undo()
    assert make_session(tmp_path, {"a": (0,)}).row("a")["state"] == "rejected"


@pytest.mark.parametrize("step", ["write_mask", "write_text", "json.dumps"])
def test_full_disk_leaves_mask_and_record_as_they_were(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    session.decide("a", 0, "ada", (), "accepted")
    trusted, lines = session.layout.trusted("a").read_bytes(), journal(session)
    for id_, version in (("a", 1), ("c", 0)):
        monkeypatch.setattr(f"wsss.review.store.{step}", full)
        with pytest.raises(OSError, match="No space left"):
            session.decide(id_, version, "bob", PAINT, "accepted")
        monkeypatch.undo()
    again = make_session(tmp_path, {"a": (0,), "c": ()})
    assert (again.row("a")["version"], again.row("a")["who"]) == (1, "ada")
    assert session.layout.trusted("a").read_bytes() == trusted
    assert again.row("c")["state"] == "new" and journal(session) == lines
    session.decide("c", 0, "bob", PAINT, "accepted")
    assert len(journal(session)) == 2


def test_request_that_is_sent_again_is_no_conflict(session: Session) -> None:
    for _ in range(2):
        assert session.keep("a", 0, "ada", PAINT).version == 1
    for _ in range(2):
        assert session.decide("a", 1, "ada", PAINT, "accepted").version == 2
    assert len(journal(session)) == 1
    with pytest.raises(ConflictError):
        session.decide("a", 1, "bob", PAINT, "accepted")


def test_mask_that_was_put_into_the_folder_counts_as_accepted(
    session: Session, tmp_path: Path
) -> None:
    own = np.full(SIZE, 2, np.uint8)
    write_mask(session.layout.trusted("a"), own)
    again = make_session(tmp_path, {"a": (0, 1)})
    assert again.row("a")["state"] == "accepted"
    np.testing.assert_array_equal(again.mask("a", ()), own)
    assert again.mask("a", PAINT)[0, 0] == 2  # paint lies on it, not on the pseudo-mask


def test_mask_that_was_taken_from_the_folder_is_open_again(
    session: Session, tmp_path: Path
) -> None:
    session.decide("a", 0, "", GROWN, "accepted")
    session.layout.trusted("a").unlink()
    assert make_session(tmp_path, {"a": (0,)}).row("a")["state"] == "edited"


def test_changed_tags_are_written_as_a_table_that_data_tags_reads(session: Session) -> None:
    tag = actions({"kind": "tag", "label": 3, "on": True}, {"kind": "tag", "label": 1, "on": False})
    session.decide("a", 0, "", tag, "accepted")
    assert session.row("a")["tags"] == [3]
    path = session.layout.review_tags
    assert path.read_text().splitlines() == [
        "image,tags",
        'a,"[""<b>sofa</b>""]"',
        'sub/b,"[""cat"", ""dog""]"',
        "c,",
    ]
    images = session.layout.root.parent / "images"
    read = read_folder(images, path, session.tagged.class_names)
    assert {s.id: s.tags for s in read.samples} == {"a": (2,), "sub/b": (0, 1), "c": ()}


def test_table_of_tags_follows_every_server_and_what_is_undone(
    session: Session, tmp_path: Path
) -> None:
    def tags() -> list[str]:
        return session.layout.review_tags.read_text().splitlines()[1:]

    other = make_session(tmp_path, {"a": (0,), "sub/b": (0, 1), "c": ()})
    fewer = actions({"kind": "tag", "label": 1, "on": False})
    other.decide("a", 0, "", fewer, "accepted")
    session.decide("sub/b", 0, "", fewer, "accepted")
    assert tags() == ["a,", 'sub/b,"[""dog""]"', "c,"]
    session.keep("sub/b", 1, "", ())  # undone, and accepted again
    session.decide("sub/b", 2, "", (), "accepted")
    assert tags() == ["a,", 'sub/b,"[""cat"", ""dog""]"', "c,"]
    session.layout.review_tags.unlink()  # as where a server was killed before it wrote them
    other.decide("a", 0, "", fewer, "accepted")
    assert tags()[0] == "a,"


def test_tags_that_nobody_changed_are_not_written(session: Session) -> None:
    session.decide("a", 0, "", GROWN, "accepted")
    assert not session.layout.review_tags.exists()


def test_click_outside_or_of_no_class_is_refused(session: Session) -> None:
    with pytest.raises(WsssError, match="16×12"):
        session.mask("a", actions(click(16, 3, 1)))
    with pytest.raises(WsssError, match="class 9"):
        session.keep("a", 0, "", actions(stroke(9, (1, 1))))
    assert session.item("a")["version"] == 0


def test_run_that_vanished_is_not_begun_anew(session: Session) -> None:
    run = session.layout.root
    session.decide("a", 0, "", GROWN, "accepted")
    run.rename(run.with_name("moved"))
    for _ in range(2):
        with pytest.raises(WsssError, match="is gone"):
            session.decide("c", 0, "", (), "accepted")
        run.mkdir(exist_ok=True)  # as the place where a disk was mounted
    assert list(run.iterdir()) == []
    run.rmdir()
    run.with_name("moved").rename(run)
    session.decide("c", 0, "", (), "accepted")
    assert (run / "trusted" / "c.png").is_file()


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"who": "\x80"}'])
def test_record_that_is_none_is_named(session: Session, tmp_path: Path, text: bytes) -> None:
    path = session.layout.review_record("a")
    write_atomic(path, lambda target: target.write_bytes(text))
    with pytest.raises(WsssError, match=r"review/images/a\.json"):
        make_session(tmp_path, {"a": (0,)})


@pytest.mark.parametrize("names", [b"0 background\n1 cow\n", b"\x80", None])
def test_folder_of_other_classes_is_refused(
    session: Session, tmp_path: Path, names: bytes | None
) -> None:
    session.decide("a", 0, "", (), "accepted")
    path = session.layout.root / "trusted" / "class_names.txt"
    path.unlink()
    path.mkdir() if names is None else path.write_bytes(names)
    with pytest.raises(WsssError, match=r"trusted.*other classes"):
        make_session(tmp_path, {"a": (0,)})


def test_changes_name_each_image_once_and_all_to_who_saw_another_server(session: Session) -> None:
    session.keep("a", 0, "", PAINT)
    session.keep("a", 1, "", ())
    found = session.changes(0)
    assert (found["serial"], [row["id"] for row in found["rows"]]) == (2, ["a"])
    assert session.changes(2)["rows"] == []
    assert len(session.changes(99)["rows"]) == 3


def test_thumbnail_is_small_and_shows_the_mask(session: Session, tmp_path: Path) -> None:
    large = make_session(tmp_path / "large", {"x": (0,)}, size=(600, 900))
    (tmp_path / "x.jpg").write_bytes(large.thumbnail("x"))
    pixels = read_image(tmp_path / "x.jpg").astype(int)
    assert max(pixels.shape) == THUMBNAIL_SIDE
    colour = large.colours[1].astype(int)
    top, bottom = pixels[:10].mean((0, 1)), pixels[-10:].mean((0, 1))
    assert np.abs(top - colour).sum() < np.abs(bottom - colour).sum()


def test_damaged_image_is_said_when_it_is_opened(session: Session) -> None:
    session.desk.samples["a"].path.write_bytes(b"no image")
    with pytest.raises(WsssError, match=r"a\.png"):
        session.item("a")
    session.prepare("a")  # in the background nobody is told
    session.desk.close()


def test_new_masks_and_scores_are_taken_up(session: Session) -> None:
    session.mask("sub/b", GROWN)
    write_mask(session.layout.pseudo_mask("a"), np.full(SIZE, 2, np.uint8))
    calls = Quadrants.calls
    session.renew({"sub/b": 0.9}, Quadrants)
    assert (session.order, session.about()["made"]) == (["sub/b", "a", "c"], 2)
    assert (session.mask("a", ()) == 2).all()
    session.mask("sub/b", GROWN)
    assert Quadrants.calls == calls + 1  # by the new engine


def test_calibrate_asks_for_enough_masks(session: Session) -> None:
    assert session.about()["calibrates_at"] is None
    session.calibration = calibration(session, "")
    with pytest.raises(WsssError, match="expected 20"):
        session.calibrate()
    assert session.calibrating() == {"calibration": "none", "said": ""}


def calibration(session: Session, code: str, finished: Any = lambda: "") -> Calibration:
    log = session.layout.root / "review" / "calibration.log"
    return Calibration((sys.executable, "-c", code), log, finished)


def ended(one: Calibration) -> Calibration:
    for _ in range(1000):
        if one.state in ("done", "failed"):
            return one
        time.sleep(0.02)
    raise AssertionError(one.said())


def test_calibration_runs_once_beside_the_page_and_tells_when_it_is_done(
    session: Session,
) -> None:
    one = calibration(session, "print('half', flush=True); input()", lambda: "It is done.")
    one.start()
    one.start()
    assert (ended(one).state, one.said()) == ("failed", "EOFError: EOF when reading a line")
    one = calibration(session, "print('whole')", lambda: "It is done.")
    one.start()
    assert (ended(one).state, one.said()) == ("done", "It is done.")


def test_calibration_whose_masks_cannot_be_taken_up_has_failed(session: Session) -> None:
    def refuse() -> str:
        raise WsssError("No classifier.")

    one = calibration(session, "", refuse)
    one.start()
    assert (ended(one).state, one.said()) == ("failed", "No classifier.")


def test_calibration_ends_with_the_server(session: Session) -> None:
    session.calibration = one = calibration(session, "import time; time.sleep(600)")
    one.start()
    session.close()
    assert ended(one).state == "failed"


def test_data_without_background_offer_and_take_none(session: Session) -> None:
    session.background = False
    assert session.about()["classes"][0]["value"] == 1
    with pytest.raises(WsssError, match="expected 1 to 3"):
        session.mask("a", actions(stroke(0, (1, 1))))
