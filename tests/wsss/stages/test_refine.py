"""Refining files: labels and maps in, masks out."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from wsss.crf import DenseCRF
from wsss.data.mask_io import read_mask, write_mask
from wsss.errors import WsssError
from wsss.stages import refine

HEIGHT, WIDTH = 40, 50
COLOURS = np.arange(768, dtype=np.uint8).reshape(256, 3)


def mask_with_a_dent() -> NDArray[np.uint8]:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, 25:] = 15
    mask[10:14, 25:29] = 0  # wrong
    mask[30:, 20:30] = 255  # unsure
    return mask


def right_mask() -> NDArray[np.uint8]:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, 25:] = 15
    return mask


def probabilities(mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    probs = np.full((16, HEIGHT, WIDTH), 0, np.float32)
    probs[15] = np.where(mask == 15, 0.7, np.where(mask == 0, 0.3, 0.5))
    probs[0] = 1 - probs[15]
    return probs


@pytest.fixture
def files(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    image = np.where(np.arange(WIDTH)[None, :, None] < 25, 60, 180) + rng.integers(
        -5, 6, (HEIGHT, WIDTH, 3)
    )
    (tmp_path / "images").mkdir()
    Image.fromarray(image.astype(np.uint8)).save(tmp_path / "images" / "a.png")
    write_mask(tmp_path / "masks" / "a.png", mask_with_a_dent(), COLOURS)
    return tmp_path


def test_refine_label_png(files: Path) -> None:
    out = refine.run([files / "masks"], files / "images", files / "out")
    assert out == files / "out"
    assert np.array_equal(read_mask(out / "a.png"), right_mask())
    with Image.open(out / "a.png") as file:
        assert file.mode == "P" and file.getpalette() == COLOURS.flatten().tolist()


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_refine_probability_map(files: Path, suffix: str) -> None:
    path = files / f"a{suffix}"
    probs = probabilities(mask_with_a_dent())
    if suffix == ".npy":
        np.save(path, probs)
    else:
        np.savez(path, probs=probs)
    refine.run([path], files / "images" / "a.png", files / "out")
    assert np.array_equal(read_mask(files / "out" / "a.png"), right_mask())


def test_refine_at_half_resolution(files: Path) -> None:
    refine.run([files / "masks"], files / "images", files / "out", downsample=2)
    # the edge runs through the middle of blocks of 2×2: a column of 50 may be off
    assert (read_mask(files / "out" / "a.png") == right_mask()).mean() >= 0.98


def test_refine_keeps_finished_masks(files: Path) -> None:
    arguments = [files / "masks" / "a.png"], files / "images", files / "out"
    refined = refine.run(*arguments) / "a.png"
    made = refined.stat().st_mtime_ns
    refine.run(*arguments)
    assert refined.stat().st_mtime_ns == made
    refine.run(*arguments, overwrite=True)
    assert refined.stat().st_mtime_ns > made
    assert [path.name for path in (files / "out").iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    "settings", [{"preset": "psa"}, {"gt_prob": 0.6}, {"downsample": 2}, {"backend": "par"}]
)
def test_refine_replaces_masks_of_other_settings(files: Path, settings: dict[str, object]) -> None:
    arguments = [files / "masks" / "a.png"], files / "images", files / "out"
    refined = refine.run(*arguments) / "a.png"
    made = refined.stat().st_mtime_ns
    refine.run(*arguments, **settings)  # type: ignore[arg-type]
    assert refined.stat().st_mtime_ns > made


def test_refine_replaces_masks_of_other_files(files: Path) -> None:
    images, out = files / "images", files / "out"
    done = np.full((HEIGHT, WIDTH), 7, np.uint8)
    refine.run([files / "masks"], images, out)
    write_mask(files / "other" / "a.png", done)
    refine.run([files / "other"], images, out)
    assert np.array_equal(read_mask(out / "a.png"), done)
    # the mask of that path was recomputed
    write_mask(files / "other" / "a.png", mask_with_a_dent(), COLOURS)
    refine.run([files / "other"], images, out)
    assert np.array_equal(read_mask(out / "a.png"), right_mask())


def test_refine_never_replaces_a_file_that_was_not_made_here(files: Path) -> None:
    drawn = np.full((HEIGHT, WIDTH), 7, np.uint8)
    write_mask(files / "out" / "a.png", drawn)
    arguments = [files / "masks"], files / "images", files / "out"
    with pytest.raises(WsssError, match=r"a\.png was not made by this program"):
        refine.run(*arguments)
    assert np.array_equal(read_mask(files / "out" / "a.png"), drawn)
    refine.run(*arguments, overwrite=True)
    assert np.array_equal(read_mask(files / "out" / "a.png"), right_mask())


@pytest.mark.parametrize("place", ["masks", "images", "linked"])
def test_refine_pairs_a_mask_with_its_image_beside_it(files: Path, place: str) -> None:
    """A photo and its mask in one folder, as many tools leave them."""
    data = files / "data"
    data.mkdir()
    with Image.open(files / "images" / "a.png") as file:
        file.save(data / "a.jpg", quality=95)
    write_mask(data / "a.png", mask_with_a_dent())
    masks = data if place == "masks" else files / "masks"
    images = data
    if place == "linked":
        (files / "links").mkdir()
        images = files / "links"
        (images / "data").symlink_to(data)
    refine.run([masks], images, files / "out")
    assert (read_mask(files / "out" / "a.png") == right_mask()).mean() > 0.97


def test_refine_says_what_it_leaves_out(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "masks" / "b.tif").write_bytes(b"")
    (files / "masks" / "more").mkdir()
    (files / "masks" / "more" / "c.txt").write_bytes(b"")
    refine.run([files / "masks"], files / "images", files / "out")
    assert "refine  left out, no masks: 1 .tif, 1 .txt" in capsys.readouterr().err


@pytest.mark.parametrize("out", ["out", "masks/refined"])
@pytest.mark.parametrize("nested", [True, False])
def test_refine_takes_masks_in_subfolders(files: Path, nested: bool, out: str) -> None:
    """As `wsss` writes them of photographs in subfolders; a second start finds no more."""
    folder = files / "masks" / "day"
    folder.mkdir()
    write_mask(folder / "a.png", np.zeros_like(right_mask()))
    if nested:  # of another photograph than the one of its name above
        (files / "images" / "day").mkdir()
        Image.new("RGB", (WIDTH, HEIGHT)).save(files / "images" / "day" / "a.jpg")
    for _ in range(2):
        refine.run([files / "masks"], files / "images", files / out)
        made = sorted(p.relative_to(files / out).as_posix() for p in (files / out).rglob("*.png"))
        assert made == ["a.png", "day/a.png"]
    assert np.array_equal(read_mask(files / out / "a.png"), right_mask())
    assert not read_mask(files / out / "day" / "a.png").any()


def test_refine_gives_no_mask_the_photograph_of_another(files: Path) -> None:
    """Cameras number their photographs alike in every folder; one folder's is missing."""
    (files / "images" / "a.png").rename(files / "images" / "b.png")
    for day in ("monday", "tuesday"):
        write_mask(files / "masks" / day / "a.png", right_mask())
    (files / "masks" / "a.png").unlink()
    (files / "images" / "tuesday").mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(files / "images" / "tuesday" / "a.jpg")
    with pytest.raises(WsssError, match=r"1 of 2 masks have no image .*monday/a\.png first"):
        refine.run([files / "masks"], files / "images", files / "out")


def test_refine_refuses_masks_of_0_and_255_alone(files: Path) -> None:
    binary = np.where(right_mask() > 0, 255, 0).astype(np.uint8)
    write_mask(files / "masks" / "a.png", binary)
    with pytest.raises(WsssError, match=r"0 and 255 alone, .*a\.png first; expected labels"):
        refine.run([files / "masks"], files / "images", files / "out")
    assert not (files / "out").exists()


def test_refine_refuses_two_images_of_one_mask(files: Path) -> None:
    Image.new("RGB", (WIDTH, HEIGHT)).save(files / "images" / "a.jpg")
    with pytest.raises(WsssError, match=r"may be of .*a\.jpg or of .*a\.png; expected one image"):
        refine.run([files / "masks"], files / "images", files / "out")


def test_refine_agrees_between_backends(files: Path) -> None:
    pytest.importorskip("pydensecrf", reason="pip install 'wsss[crf-reference]'")
    for backend in ("torch", "pydensecrf"):
        refine.run([files / "masks"], files / "images", files / backend, backend=backend)
    one, other = (read_mask(files / b / "a.png") for b in ("torch", "pydensecrf"))
    assert np.array_equal(one, other)


def test_refine_keeps_a_mask_that_is_unsure_everywhere(files: Path) -> None:
    write_mask(files / "masks" / "a.png", np.full((HEIGHT, WIDTH), 255, np.uint8))
    refine.run([files / "masks"], files / "images", files / "out")
    assert (read_mask(files / "out" / "a.png") == 255).all()


def test_refine_solves_for_the_images_own_labels(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    call = DenseCRF.__call__

    def spy(self, images, probs, labels=None):  # type: ignore[no-untyped-def]
        seen.append(probs[0].shape[0])
        return call(self, images, probs, labels)

    monkeypatch.setattr(DenseCRF, "__call__", spy)
    np.save(files / "a.npy", probabilities(right_mask()))
    refine.run([files / "masks"], files / "images", files / "out")
    refine.run([files / "a.npy"], files / "images", files / "out2")
    assert seen == [2, 2]


def test_refine_refuses(files: Path) -> None:
    images, out = files / "images", files / "out"
    write_mask(files / "small" / "a.png", np.zeros((5, 6), np.uint8))
    write_mask(files / "other" / "b.png", right_mask())
    (files / "empty").mkdir()
    (files / "a.txt").write_text("")
    (files / "broken").mkdir()
    (files / "broken" / "a.npy").write_bytes(b"nothing")
    np.save(files / "a.npy", probabilities(right_mask())[0])
    (files / "logits").mkdir()
    np.save(files / "logits" / "a.npy", 9 * probabilities(right_mask()) - 4)
    (files / "blank").mkdir()
    np.save(files / "blank" / "a.npy", 0 * probabilities(right_mask()))
    (files / "many" / "b.png").mkdir(parents=True)  # no mask, whatever its name
    np.save(files / "many" / "a.npy", np.ones((256, 1, 1), np.float32))
    np.savez(files / "a.npz", x=np.zeros(1), y=np.zeros(1))
    for masks, says in (
        ([], "There is no mask in no folder"),
        ([files / "empty"], "There is no mask in .*empty"),
        ([files / "nowhere"], "There is no .*nowhere"),
        ([files / "a.txt"], "a.txt is not a mask"),
        ([files / "small"], r"is 6×5 and its image .* is 50×40"),
        ([files / "other"], r"1 of 1 masks have no image .*b.png first"),
        ([files / "masks", files / "small"], "would both become a.png"),
        ([files / "broken"], "does not load"),
        ([files / "a.npy"], r"float32 of shape \(40, 50\)"),
        ([files / "a.npz"], "holds 2 arrays"),
        ([files / "logits"], "a.npy can't be refined: .*negative values"),
        ([files / "blank"], "zero everywhere"),
        ([files / "many"], r"a.npy has 256 labels; expected 255 at most"),
    ):
        with pytest.raises(WsssError, match=says):
            refine.run(masks, images, out)
    masks = [files / "masks"]
    for options, says in (
        ({"preset": "irm"}, "did you mean 'irn'"),
        ({"backend": "gpu"}, "no CRF backend 'gpu'"),
        ({"gt_prob": 2.0}, "gt_prob is 2.0"),
        ({"downsample": 0}, "downsample is 0"),
        ({"device": "abacus"}, "'abacus' can't be used"),
    ):
        with pytest.raises(WsssError, match=says):
            refine.run(masks, images, out, **options)  # type: ignore[arg-type]
    with pytest.raises(WsssError, match="would replace it"):
        refine.run(masks, images, files / "masks")
    with pytest.raises(WsssError, match=r"no .*nothing; expected the folder of the images"):
        refine.run(masks, files / "nothing", out)
    assert not out.exists()
