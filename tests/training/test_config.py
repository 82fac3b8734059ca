"""Training configurations: recipes, files, and refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from training.config import RECIPES, TrainingConfig, read_config

_SMALL = """
model = "tsm_resnet18"
[[stages]]
name = "one"
steps = 3
[[stages]]
name = "two"
steps = 2
losses = { matching = 0.5 }
"""


@pytest.mark.parametrize("name", RECIPES)
def test_read_config_knows_its_recipes(name: str) -> None:
    config = read_config(name, seed=7)
    assert config.seed == 7
    assert config.steps == sum(stage.steps for stage in config.stages) > 0
    assert TrainingConfig.model_validate_json(config.model_dump_json()) == config


def test_read_config_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(_SMALL)
    config = read_config(path)
    assert config.model == "tsm_resnet18"
    assert config.steps == 5
    assert [config.stage_at(step)[0].name for step in range(5)] == ["one", "one", "one", "two", "two"]
    assert [config.stage_at(step)[1] for step in range(5)] == [0, 1, 2, 0, 1]
    assert config.stages[1].losses.matching == 0.5
    with pytest.raises(IndexError, match="below 5; got 5"):
        config.stage_at(5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages = 3", "stages"),
        ("no toml at all", "expected TOML; got .*bad.toml, which is not valid"),
        (_SMALL + "colour = 1", "colour"),
        (_SMALL.replace("steps = 3", "steps = 3\nsize_px = 100"), "size_px"),
        ("seed = 1000000\n" + _SMALL, "seed"),
    ],
)
def test_read_config_names_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        read_config(path)


def test_read_config_of_a_missing_file_names_the_recipes(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="default or miniature"):
        read_config(tmp_path / "none.toml")
