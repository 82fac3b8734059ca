"""Training configurations: recipes, files, and refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from training.configurations import RECIPES, TASKS, read_config
from training.tasks.classify.config import ClassifyConfig
from training.tasks.contrast.config import ContrastConfig
from training.tasks.motion.config import MotionConfig

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


@pytest.mark.parametrize(("task", "name"), [(task, name) for task, names in RECIPES.items() for name in names])
def test_read_config_knows_its_recipes(task: str, name: str) -> None:
    config = read_config(name, task=task, seed=7)
    assert config.seed == 7
    assert isinstance(config, TASKS[task])
    assert type(config).model_validate_json(config.model_dump_json()) == config


def test_read_config_takes_the_first_recipe_of_a_task_by_default() -> None:
    assert read_config() == read_config("default")
    assert read_config(task="classify") == read_config("small", task="classify")


def test_read_config_refuses_the_file_of_another_task(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text('task = "classify"')
    with pytest.raises(ConfigurationError, match="task"):
        read_config(tmp_path / "my.toml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clips_per_step": 10, "clips_per_share": 4}, "multiple of clips_per_share; got 10 and 4"),
        ({"drops": (0.5, 1.5)}, "between 0 and 1"),
        ({"momentum": 0.0}, "momentum above 0"),
        ({"clips": {"size_px": 100}}, "size_px"),
    ],
)
def test_read_config_of_classes_names_what_does_not_fit(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_config("small", task="classify", **changes)


def test_shares_of_a_step_are_its_clips_over_those_of_a_share() -> None:
    config = read_config("something-something", task="classify")
    assert isinstance(config, ClassifyConfig)
    assert (config.clips_per_step, config.clips_per_share, config.share_count) == (48, 8, 6)


@pytest.mark.parametrize("task", list(TASKS))
@pytest.mark.parametrize("recipe", [0, 1])
def test_one_size_is_the_size_of_frames_whatever_the_task(task: str, recipe: int) -> None:
    config = read_config(RECIPES[task][recipe], task=task, size_px=96, seed=3)
    match config:
        case MotionConfig():
            assert {stage.size_px for stage in config.stages} | {config.evaluation_size_px} == {96}
        case ClassifyConfig():
            assert config.clips.size_px == 96
        case ContrastConfig():
            assert config.views.size_px == 96
    before = read_config(RECIPES[task][recipe], task=task).model_dump()
    assert {name for name, value in config.model_dump().items() if value != before[name]} <= {
        "seed", "clips", "views", "stages", "evaluation_size_px"}  # fmt: skip
    if isinstance(config, ClassifyConfig):
        assert config.clips.model_dump() | {"size_px": 224} == before["clips"]


def test_a_size_does_not_hide_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    for task, text, message in (
        ("classify", "clips = 3", "clips: "),
        ("motion", "stages = 3", "stages: "),
        ("motion", "stages = [3]", "stages.0: "),
        ("contrast", "size_px = 64", "size_px is not known: write views.size_px"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigurationError, match=f"training configuration: {message}"):
            read_config(path, task=task, **({} if task == "contrast" else {"size_px": 64}))


def test_read_config_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(_SMALL)
    config = read_config(path)
    assert isinstance(config, MotionConfig)
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


def test_read_config_reads_no_more_than_a_configuration_may_have(tmp_path: Path) -> None:
    path = tmp_path / "big.toml"
    path.write_bytes(_SMALL.encode() + b"#" * 2**20)
    for endless in (path, Path("/dev/zero")):
        with pytest.raises(ConfigurationError, match=f"expected at most 1 MiB of TOML; got more in {endless}"):
            read_config(endless)
