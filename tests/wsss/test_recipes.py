"""The recipes of the package: found by name, the same as in `configs/`."""

from importlib.resources import files
from pathlib import Path

import pytest

from wsss import recipes
from wsss.config import load
from wsss.errors import WsssError
from wsss.run.state import read_config

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("name", recipes.names())
def test_read_config_of_a_recipe_by_name_with_settings_on_top(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path(str(files("wsss.recipes") / f"{name}.yaml"))
    assert read_config(Path(name), ["seed=7"]) == load(file, ["seed=7"])
    assert read_config(Path(f"{name}.yaml")) == load(file)


@pytest.mark.parametrize("name", recipes.names())
def test_recipes_are_those_of_the_checkout(name: str) -> None:
    assert (CONFIGS / f"{name}.yaml").read_bytes() == (recipes.FOLDER / f"{name}.yaml").read_bytes()


def test_recipes_find_prefers_what_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = Path(recipes.names()[0])
    assert recipes.find(own) == recipes.FOLDER / f"{own}.yaml"
    own.write_text("seed: 12\ndata: {root: mine}\n")
    assert recipes.find(own) == own
    assert read_config(own).seed == 12


def test_recipes_find_takes_names_alone(tmp_path: Path) -> None:
    for path in (tmp_path / recipes.names()[0], Path("elsewhere", f"{recipes.names()[0]}.yaml")):
        assert recipes.find(path) == path


def test_read_config_of_an_unknown_name_lists_the_recipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WsssError, match="voc12_glnet_5g") as error:
        read_config(Path("voc12_glnet_5g"))
    assert all(name in str(error.value) for name in ("voc12_glnet_4g", "voc61_nano_cpu"))
    assert "\n" not in str(error.value)
