"""The configuration of fine-tuning: bundled recipes, bounds, what does not fit together."""

from __future__ import annotations

from pathlib import Path

import pytest

from gebd.heads.config import HeadConfig
from jobs.finetuning.config import RECIPES, FinetuneConfig, Form, read_config
from schemas.config import ExtractionConfig
from schemas.errors import ConfigurationError


@pytest.mark.parametrize("name", RECIPES)
def test_bundled_recipes_are_of_their_form(name: str) -> None:
    assert read_config(name).form is Form(name)


def test_windows_are_five_frames_before_and_after_at_ten_a_second() -> None:
    config = read_config("windows")
    assert config.clip_frames == 11 and config.head.context_frames == 5 and config.head.rate_hz == 10


def test_stretches_are_a_hundred_frames_for_the_strong_head() -> None:
    config = read_config()
    assert config.clip_frames == 100 and config.head.head is HeadConfig().head


def test_options_override_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("epochs = 3\n[head]\nwidth = 32\n")
    config = read_config(file, epochs=5.0, size_px=112)
    assert (config.epochs, config.size_px, config.head.width) == (5.0, 112, 32)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"clips_per_step": 3, "clips_per_share": 2}, "multiple of clips_per_share"),
        ({"ema_decay": 0.9}, "expected ema_decay 0"),
        ({"frozen_stages": 1}, "frozen_stages"),
        ({"size_px": 30}, "size_px"),
        ({"form": "windows"}, "compares one instant"),
        ({"epoch": 3}, "epoch is not known"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as refused:
        read_config(**changes)
    assert "\n" not in str(refused.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="stretches or windows"):
        read_config(tmp_path / "missing.toml")
    (tmp_path / "bad.toml").write_text("epochs =")
    with pytest.raises(ConfigurationError, match="not valid"):
        read_config(tmp_path / "bad.toml")


def test_a_head_on_other_frames_is_refused() -> None:
    config = FinetuneConfig(size_px=112)
    config.require_same_frames(ExtractionConfig(model="msnet_resnet18", weights="0" * 64, size=112))
    with pytest.raises(ConfigurationError, match="size 112; got one with 64"):
        config.require_same_frames(ExtractionConfig(model="msnet_resnet18", weights="0" * 64, size=64))
