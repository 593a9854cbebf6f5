"""The page in a real browser: Debian's chromium, driven by playwright."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from tests.wsss.review.conftest import SIZE, Quadrants, make_session
from tests.wsss.review.serving import open_browser, served
from wsss.data.images import Sample
from wsss.data.mask_io import read_mask, write_mask
from wsss.review.calibration import Calibration
from wsss.review.session import Session

pytest.importorskip("starlette", reason="needs the extra `review`")

pytestmark = pytest.mark.slow

FIRST, SECOND, THIRD = "c", "a", "sub/b"  # in the queue's order


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    """Windows with storage of their own; none may log an error."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="light")
    context.set_default_timeout(20_000)
    problems: list[str] = []
    context.on("weberror", lambda error: problems.append(str(error.error)))
    context.on(
        "console",
        lambda message: (
            problems.append(message.text)
            if message.type == "error" and "Failed to load resource" not in message.text
            else None
        ),
    )
    yield context
    context.close()
    assert problems == []


@pytest.fixture
def address(session: Session) -> Iterator[str]:
    with served(session) as address:
        yield address


def show(context: Any, address: str, id_: str = FIRST) -> Any:
    page = context.new_page()
    page.goto(f"{address}#{quote(id_)}")
    opened(page, id_)
    return page


def opened(page: Any, id_: str) -> None:
    page.wait_for_function(
        "id => document.getElementById('title').textContent === id"
        " && document.querySelectorAll('#legend li').length > 0"
        " && document.getElementById('message').hidden",
        arg=id_,
    )


def position(page: Any, x: float, y: float, size: tuple[int, int] = SIZE) -> dict[str, float]:
    """Where a share of the image's width and height lies in the window, as `View.fit` has it."""
    box = page.locator("#canvas").bounding_box()
    free = box["width"] - 64 - 24, box["height"] - 56 - 84
    scale = min(free[0] / size[1], free[1] / size[0], 8)
    left = box["x"] + 64 + (free[0] - size[1] * scale) / 2
    top = box["y"] + 56 + (free[1] - size[0] * scale) / 2
    return {"x": left + x * size[1] * scale, "y": top + y * size[0] * scale}


def click(page: Any, x: float, y: float, button: str = "left", **more: Any) -> None:
    page.mouse.click(**position(page, x, y, **more), button=button)


def area(page: Any, label: int) -> str:
    return str(page.locator(f'#legend li[data-label="{label}"] .area').inner_text())


def wait_for(session: Session, id_: str, **values: Any) -> Any:
    """The record of an image, once it is as expected on disk."""
    import time

    for _ in range(400):
        record = session.store._read(id_)
        if all(getattr(record, key) == value for key, value in values.items()):
            return record
        time.sleep(0.05)
    raise AssertionError(f"{record} is not {values}")


def kinds(record: Any) -> list[str]:
    return [action.kind for action in record.actions]


def test_page_shows_queue_image_and_classes(context: Any, address: str) -> None:
    page = show(context, address)
    page.goto(address)
    opened(page, FIRST)
    ids = page.locator(".row b").all_inner_texts()
    assert ids == [FIRST, SECOND, THIRD]
    assert page.locator("#sorted").inner_text() == "most uncertain first"
    assert page.locator("#progress-text").inner_text() == "0 of 3 accepted"
    assert page.input_value("#who") == "ada"
    page.wait_for_function("() => document.querySelector('.row img').naturalWidth > 0")
    page.locator(".row", has_text=THIRD).click()
    opened(page, THIRD)
    assert page.locator("#legend b").all_inner_texts() == ["cat", "dog", "background", "unsure"]
    assert area(page, 1) == "25 %"


def test_names_and_tags_are_text_and_no_html(context: Any, tmp_path: Path) -> None:
    session = make_session(tmp_path, {"<img src=x>": (2,), "b": ()})
    with served(session) as address:
        page = show(context, address, "<img src=x>")
        opened(page, "<img src=x>")
        assert page.locator("#legend b").first.inner_text() == "<b>sofa</b>"
        assert page.locator(".row img[src=x], .row b b, #legend b b").count() == 0


def test_click_grows_a_region_and_a_right_click_background(
    context: Any, address: str, session: Session
) -> None:
    page = show(context, address, THIRD)
    page.keyboard.press("2")
    click(page, 0.25, 0.75)
    record = wait_for(session, THIRD, version=1)
    assert record.actions[0].model_dump() == {
        "kind": "click",
        "x": pytest.approx(4, abs=0.2),
        "y": pytest.approx(9, abs=0.2),
        "label": 2,
    }
    assert (record.who, record.state) == ("ada", "edited")
    page.wait_for_function(
        "() => document.querySelector('[data-label=\"2\"] .area').textContent != ''"
    )
    click(page, 0.75, 0.75, "right")
    record = wait_for(session, THIRD, version=2)
    assert record.actions[1].label == 0
    page.wait_for_function(
        "() => document.querySelector('[data-label=\"2\"] .area').textContent === '25 %'"
    )
    x, y = position(page, 0.1, 0.9).values()
    box = page.locator("#canvas").bounding_box()
    shown = page.evaluate(
        "([x, y]) => [...document.getElementById('canvas').getContext('2d')"
        ".getImageData(x, y, 1, 1).data]",
        [x - box["x"], y - box["y"]],
    )
    colour = session.colours[2] / 2
    assert (np.array(shown[:3]) >= colour - 3).all()


def test_drag_with_the_click_tool_moves_the_image_and_says_nothing(
    context: Any, address: str, session: Session
) -> None:
    page = show(context, address)
    page.mouse.move(**position(page, 0.5, 0.5))
    page.mouse.down()
    page.mouse.move(**position(page, 0.9, 0.9), steps=5)
    page.mouse.up()
    page.mouse.wheel(0, -300)
    page.wait_for_function("() => document.getElementById('zoom').textContent !== '800 %'")
    assert session.store.get(FIRST).version == 0
    page.keyboard.press("f")
    page.wait_for_function("() => document.getElementById('zoom').textContent === '800 %'")


def test_undo_and_redo_work_and_undo_works_after_a_reload(
    context: Any, address: str, session: Session
) -> None:
    page = show(context, address, THIRD)
    assert page.locator("#undo").is_disabled()
    click(page, 0.25, 0.75)
    wait_for(session, THIRD, version=1)
    click(page, 0.75, 0.75, "right")
    wait_for(session, THIRD, version=2)
    page.keyboard.press("z")
    assert kinds(wait_for(session, THIRD, version=3)) == ["click"]
    page.keyboard.press("Control+Shift+z")
    assert kinds(wait_for(session, THIRD, version=4)) == ["click", "click"]
    page.reload()
    opened(page, THIRD)
    assert page.locator("#chip").inner_text() == "edited"
    page.locator("#undo").click()
    assert kinds(wait_for(session, THIRD, version=5)) == ["click"]
    page.keyboard.press("r")
    assert kinds(wait_for(session, THIRD, version=6)) == ["click", "reset"]
    page.wait_for_function(
        "() => document.querySelector('[data-label=\"1\"] .area').textContent === '25 %'"
    )


def test_more_and_less_by_keys_wheel_and_buttons(
    context: Any, address: str, session: Session
) -> None:
    page = show(context, address, SECOND)
    for _ in range(3):
        page.keyboard.press("+")
    page.wait_for_function("() => document.querySelector('.level').title === '+3'")
    page.keyboard.press("-")
    page.wait_for_function("() => document.querySelector('.level').title === '+2'")
    page.wait_for_timeout(1000)  # what is pressed in one burst is one action
    page.locator('#legend [aria-label="More (+): cat"]').click()
    page.wait_for_function("() => document.querySelector('.level').title === '+3'")
    page.locator('#legend li[data-label="1"]').hover()
    page.mouse.wheel(0, 100)
    page.wait_for_function("() => document.querySelector('.level').title === '+2'")
    page.mouse.move(**position(page, 0.5, 0.5))
    page.keyboard.down("Alt")
    page.mouse.wheel(0, -100)
    page.keyboard.up("Alt")
    page.wait_for_function("() => document.querySelector('.level').title === '+3'")
    page.wait_for_function("() => document.querySelector('#undo').disabled === false")
    steps = [action.steps for action in session.store.get(SECOND).actions]
    assert sum(steps) == 3


def test_brush_eraser_and_polygon_paint_what_they_cover(
    context: Any, address: str, session: Session
) -> None:
    page = show(context, address, THIRD)
    page.keyboard.press("p")
    page.keyboard.press("2")
    for _ in range(12):
        page.keyboard.press("[")
    page.mouse.move(**position(page, 0.1, 0.79))
    page.mouse.down()
    page.mouse.move(**position(page, 0.4, 0.79), steps=6)
    page.mouse.up()
    wait_for(session, THIRD, version=1)
    page.keyboard.press("g")
    for x, y in ((0.5, 0.5), (0.9, 0.5), (0.9, 0.7)):
        click(page, x, y)
    page.keyboard.press("Enter")
    wait_for(session, THIRD, version=2)
    page.keyboard.press("e")
    click(page, 0.03, 0.04)
    wait_for(session, THIRD, version=3)
    page.keyboard.press("u")
    click(page, 0.97, 0.04)
    record = wait_for(session, THIRD, version=4)
    assert kinds(record) == ["stroke", "polygon", "stroke", "stroke"]
    assert [action.label for action in record.actions] == [2, 2, 0, 255]
    page.keyboard.press("a")
    opened(page, FIRST)
    wait_for(session, THIRD, decision="accepted", how="painted")
    mask = read_mask(session.layout.trusted(THIRD))
    assert (mask[9, 2:6] == 2).all() and mask[7, 13] == 2
    assert (mask[0, 0], mask[0, 15], mask[0, 8]) == (0, 255, 1)


def test_accept_saves_and_goes_on_to_the_last(context: Any, address: str, session: Session) -> None:
    page = show(context, address)
    page.keyboard.press("a")
    opened(page, SECOND)
    page.locator("#accept").click()
    opened(page, THIRD)
    page.keyboard.press("Enter")
    page.wait_for_function(
        "() => document.getElementById('message').textContent.includes('decided')"
    )
    page.wait_for_function(
        "() => document.getElementById('progress-text').textContent === '3 of 3 accepted'"
    )
    for id_ in (FIRST, SECOND, THIRD):
        record = wait_for(session, id_, decision="accepted")
        assert (record.how, record.who) == ("auto", "ada")
        assert session.layout.trusted(id_).is_file()
    lines = [json.loads(line) for line in session.layout.review_journal.read_text().splitlines()]
    # the page goes on before the server has saved: their order may differ
    assert sorted(line["id"] for line in lines) == sorted((FIRST, SECOND, THIRD))
    assert all(0 <= line["seconds"] < 60 for line in lines)


def test_reject_skip_and_undo_of_a_decision(context: Any, address: str, session: Session) -> None:
    page = show(context, address)
    page.keyboard.press("x")
    opened(page, SECOND)
    wait_for(session, FIRST, decision="rejected")
    assert (read_mask(session.layout.trusted(FIRST)) == 255).all()
    page.keyboard.press("s")
    opened(page, THIRD)
    wait_for(session, SECOND, decision="skipped")
    page.keyboard.press("a")
    wait_for(session, THIRD, decision="accepted")
    page.get_by_role("button", name="Undo").last.click()
    wait_for(session, THIRD, decision="open")
    opened(page, THIRD)
    assert not session.layout.trusted(THIRD).exists()


def test_keys_move_between_images_and_open_search_and_help(context: Any, address: str) -> None:
    page = show(context, address)
    page.keyboard.press("ArrowRight")
    opened(page, SECOND)
    page.keyboard.press("ArrowLeft")
    opened(page, FIRST)
    page.keyboard.press("/")
    page.keyboard.type("dog")
    page.wait_for_function("() => document.getElementById('found').textContent === '1 image'")
    page.keyboard.press("Enter")
    opened(page, THIRD)
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("a")  # closed, keys mean something else
    page.keyboard.press("Escape")
    assert page.locator("#keys").is_hidden()
    assert page.locator("#progress-text").inner_text() == "0 of 3 accepted"
    page.keyboard.press("h")
    assert page.get_attribute("#hide", "aria-pressed") == "true"
    page.keyboard.press("o")
    assert page.get_attribute("#outline", "aria-pressed") == "false"


def test_filters_by_state_and_class(context: Any, address: str, session: Session) -> None:
    session.decide(FIRST, 0, "bob", (), "accepted")
    page = show(context, address, SECOND)
    assert page.locator(".row").count() == 2
    page.locator('#states [data-state="accepted"]').click()
    assert page.locator(".row b").all_inner_texts() == [FIRST]
    page.locator('#states [data-state="all"]').click()
    page.select_option("#class-filter", "2")
    assert page.locator(".row b").all_inner_texts() == [THIRD]


def test_tags_are_added_and_removed(context: Any, address: str, session: Session) -> None:
    page = show(context, address)
    page.keyboard.press("t")
    page.keyboard.type("DOG")
    page.keyboard.press("Enter")
    record = wait_for(session, FIRST, version=1)
    assert record.tags == ("dog",)
    page.wait_for_selector('#legend li[data-label="2"][aria-selected="true"]')
    page.wait_for_function(
        "() => document.querySelector('[data-label=\"2\"] .area').textContent === '13 %'"
    )
    page.keyboard.press("Delete")
    assert wait_for(session, FIRST, version=2).tags is None
    assert page.locator('#legend li[data-label="2"]').count() == 0


def test_dark_and_light_follow_the_system_and_the_button(browser: Any, address: str) -> None:
    context = browser.new_context(color_scheme="dark")
    page = show(context, address)
    theme = "document.documentElement.dataset.theme"
    assert page.evaluate(theme) == "dark"
    page.locator("#theme").click()
    page.reload()
    opened(page, FIRST)
    assert page.evaluate(theme) == "light"
    context.close()


def test_second_tab_is_told_of_the_first(context: Any, address: str, session: Session) -> None:
    one, two = show(context, address, THIRD), show(context, address, THIRD)
    two.fill("#who", "bob")
    two.locator("#who").blur()
    click(one, 0.25, 0.75)
    wait_for(session, THIRD, version=1)
    two.keyboard.press("p")
    click(two, 0.75, 0.75)
    two.wait_for_selector("#conflict[open]")
    assert "ada changed" in two.locator("#conflict-text").inner_text()
    assert session.store.get(THIRD).who == "ada"
    two.locator("#mine").click()
    assert kinds(wait_for(session, THIRD, version=2, who="bob")) == ["stroke"]
    one.keyboard.press("a")  # the first has gone on; its mask is not saved over the second's
    one.get_by_text("changed “sub/b” before you").wait_for()
    assert not session.layout.trusted(THIRD).exists()
    one.get_by_role("button", name="Look").click()
    opened(one, THIRD)
    assert one.locator("#facts").inner_text().count("bob") == 1


def test_two_servers_on_one_run_tell_the_second_person(
    context: Any, address: str, session: Session, tmp_path: Path
) -> None:
    tags: dict[str, tuple[int, ...]] = {"a": (0,), "sub/b": (0, 1), "c": ()}
    with served(make_session(tmp_path, tags)) as other:
        one, two = show(context, address), show(context, other)
        two.fill("#who", "bob")
        two.locator("#who").blur()
        one.keyboard.press("a")
        wait_for(session, FIRST, decision="accepted", who="ada")
        saved = session.layout.trusted(FIRST).read_bytes()
        two.keyboard.press("x")
        two.get_by_text("ada changed “c” before you: it was not rejected").wait_for()
        assert two.get_by_text("Rejected c").count() == 0
        assert session.layout.trusted(FIRST).read_bytes() == saved
        two.get_by_role("button", name="Look").click()
        opened(two, FIRST)
        assert two.locator("#chip").inner_text() == "accepted"


def test_decision_that_the_disk_refuses_is_said_and_not_called_accepted(
    context: Any, address: str, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    page = show(context, address)
    monkeypatch.setattr("wsss.review.store.write_text", full)
    page.keyboard.press("a")
    page.get_by_text("No space left").wait_for()
    assert page.get_by_text(f"Accepted {FIRST}").count() == 0
    page.wait_for_function(
        "() => document.getElementById('progress-text').textContent === '0 of 3 accepted'"
    )
    assert not session.layout.trusted(FIRST).exists()
    opened(page, SECOND)
    page.reload()
    opened(page, SECOND)
    assert page.locator(f'.row[data-id="{FIRST}"]').get_attribute("data-state") == "new"
    monkeypatch.undo()
    page.locator(".row", has_text=FIRST).first.click()
    opened(page, FIRST)
    page.keyboard.press("a")
    page.get_by_text(f"Accepted {FIRST}").wait_for()
    wait_for(session, FIRST, decision="accepted")


def test_long_names_show_their_end(context: Any, tmp_path: Path) -> None:
    folder = "a folder with a long name/of a camera/"
    ids = [f"{folder}_x(1)", f"{folder}_x(2).jpg", "folder/_x(1).jpg"]
    with served(make_session(tmp_path, dict.fromkeys(ids, (0,)))) as address:
        page = show(context, address, ids[0])
        for width in (1280, 900):
            page.set_viewport_size({"width": width, "height": 700})
            for id_ in ids:
                name = page.locator(f'.row[data-id="{id_}"] b')
                assert name.text_content() == id_ == name.get_attribute("title")
                head, tail = name.locator("span").all()
                assert tail.evaluate("node => node.scrollWidth <= node.clientWidth")
                assert tail.text_content() == id_[-12:]
                assert name.evaluate("node => node.scrollWidth <= node.clientWidth")
                assert id_ != ids[0] or head.evaluate("node => node.scrollWidth > node.clientWidth")


def test_narrow_window_opens_the_queue_by_a_button(context: Any, address: str) -> None:
    page = show(context, address)
    assert page.locator("#list").is_hidden()
    page.set_viewport_size({"width": 700, "height": 700})
    assert page.locator("#queue").is_hidden()
    page.locator("#list").click()
    page.locator('#states [data-state="all"]').click()
    page.locator(f'.row[data-id="{SECOND}"]').click()
    opened(page, SECOND)
    assert page.locator("#queue").is_hidden()
    page.keyboard.press("/")
    page.keyboard.type("dog")
    page.keyboard.press("Enter")
    opened(page, THIRD)
    page.locator("#list").click()
    page.keyboard.press("Escape")
    assert page.locator("#queue").is_hidden()


def test_other_peoples_decisions_appear_in_the_queue(
    context: Any, address: str, session: Session
) -> None:
    page = show(context, address)
    session.decide(THIRD, 0, "bob", (), "accepted")
    page.wait_for_function(
        "() => document.getElementById('progress-text').textContent === '1 of 3 accepted'"
    )


def test_server_that_was_killed_gets_the_work_when_it_is_back(context: Any, tmp_path: Path) -> None:
    tags: dict[str, tuple[int, ...]] = {"a": (0,), "b": (0,)}
    with served(make_session(tmp_path, tags)) as address:
        page = show(context, address, "a")
        port = int(address.rsplit(":", 1)[1].strip("/"))
    page.keyboard.press("p")
    click(page, 0.5, 0.5)
    page.get_by_text("The server does not answer").wait_for()
    click(page, 0.7, 0.7)
    again = make_session(tmp_path, tags)
    with served(again, port):
        page.get_by_text("The server does not answer").wait_for(state="detached")
        page.wait_for_timeout(500)
        assert kinds(again.store.get("a")) == ["stroke", "stroke"]


def test_address_with_a_token_opens_the_page_and_leaves_the_address_bar(
    context: Any, session: Session
) -> None:
    with served(session, token="a-token-of-some-length") as address:
        page = context.new_page()
        assert page.goto(address).status == 401
        page.goto(f"{address}?token=a-token-of-some-length")
        opened(page, FIRST)
        assert "token" not in page.url
        page.keyboard.press("a")
        opened(page, SECOND)
        wait_for(session, FIRST, decision="accepted")


def test_calibration_is_offered_and_its_masks_are_shown(context: Any, tmp_path: Path) -> None:
    session = make_session(tmp_path, {f"i{n:02d}": (0,) for n in range(22)})
    for id_ in session.order[:19]:
        session.decide(id_, 0, "ada", (), "accepted")

    def finished() -> str:
        write_mask(session.layout.pseudo_mask("i21"), np.full(SIZE, 2, np.uint8))
        session.renew({"i21": 0.9, "i20": 0.1}, Quadrants)
        return "They were made again by tests."

    log = session.layout.root / "review" / "calibration.log"
    code = "print('masks 1/2', flush=True); import time; time.sleep(7)"
    session.calibration = Calibration((sys.executable, "-c", code), log, finished)
    with served(session) as address:
        page = show(context, address, "i19")
        assert page.locator("#offer").is_hidden()
        page.keyboard.press("a")
        opened(page, "i20")
        page.locator("#calibrate").click()
        page.get_by_text("masks 1/2").wait_for()
        page.get_by_text("They were made again by tests.").wait_for()
        assert page.locator(".row b").all_inner_texts() == ["i21", "i20"]
        page.keyboard.press("ArrowRight")
        opened(page, "i21")
        page.wait_for_function("() => document.querySelectorAll('.area.none').length === 1")


def test_queue_of_2000_images_draws_what_is_in_sight(context: Any, tmp_path: Path) -> None:
    session = make_session(tmp_path, {"first": (0,)})
    (sample,) = session.tagged.samples
    tags: dict[str, tuple[int, ...]] = {f"image {n:04d}": (n % 3,) for n in range(2000)}
    many = make_session(tmp_path / "many", {})
    many.__init__(  # type: ignore[misc]
        many.layout,
        type(many.tagged)(
            many.tagged.class_names,
            tuple(Sample(id_, sample.path, own) for id_, own in tags.items()),
        ),
        {},
        session.desk.open_engine,
    )
    with served(many) as address:
        page = show(context, address, "image 0000")
        assert page.locator("#found").inner_text() == "2,000 images"
        assert page.locator(".row").count() < 40
        page.evaluate("document.getElementById('rows').scrollTop = 1e9")
        page.get_by_text("image 1999").wait_for()
        assert page.locator(".row").count() < 40
        page.get_by_text("image 1999").click()
        opened(page, "image 1999")
        page.keyboard.press("/")
        page.keyboard.type("0123")
        page.wait_for_function("() => document.querySelectorAll('.row').length === 1")
        page.keyboard.press("Enter")
        opened(page, "image 0123")


def test_photograph_of_12_megapixels_is_shown_reduced_and_saved_whole(
    context: Any, tmp_path: Path
) -> None:
    session = make_session(tmp_path, {"photo": (0,), "b": ()})
    path = tmp_path / "photo.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    image = Image.fromarray(pixels).resize((4000, 3000), Image.Resampling.BILINEAR)
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    image.save(path, exif=exif)
    session.desk.samples["photo"] = Sample("photo", path, (0,))
    with served(session) as address:
        page = show(context, address, "photo")
        assert "3000 × 4000" in page.locator("#facts").inner_text()
        size = (4000, 3000)
        page.keyboard.press("p")
        page.mouse.move(**position(page, 0.25, 0.5, size))
        page.mouse.down()
        page.mouse.move(**position(page, 0.75, 0.5, size), steps=10)
        page.mouse.up()
        record = wait_for(session, "photo", version=1)
        ends = record.actions[0].points[0], record.actions[0].points[-1]
        assert np.abs(np.array(ends) - [(750, 2000), (2250, 2000)]).max() < 8
        page.keyboard.press("a")
        opened(page, "b")
        wait_for(session, "photo", decision="accepted")
    mask = read_mask(session.layout.trusted("photo"))
    assert mask.shape == (4000, 3000)
    assert (mask[1999, 800:2200] == 1).all() and (mask[2100, :2000] == 0).all()
