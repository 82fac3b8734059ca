"""The MS module alone on backbones of others: it learns, they stay, and displacement is read in their cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from extractor.models.motion_squeeze import MotionSqueeze
from training.tasks.motion.grafting import GraftConfig, measure_module, train_matching

SMALL = GraftConfig(size_px=64, steps=3, clips=1, num_frames=3, nuisances=0.0, textures=6, shapes=8)


class _ConvNeXtStage(nn.Module):
    """Patches of 4 x 4 px, then halved: two blocks of depthwise 7 x 7 and a layer norm over channels, at stride 8."""

    channels, stride_px = 48, 8

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 4, 4)
        self.halve = nn.Conv2d(24, self.channels, 2, 2)
        self.depthwise = nn.ModuleList(nn.Conv2d(48, 48, 7, padding=3, groups=48) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(48) for _ in range(2))
        self.wide = nn.ModuleList(nn.Linear(48, 96) for _ in range(2))
        self.narrow = nn.ModuleList(nn.Linear(96, 48) for _ in range(2))

    def forward(self, frames: Tensor) -> Tensor:
        x = self.halve(self.stem(frames * 2 - 1))
        for depthwise, norm, wide, narrow in zip(self.depthwise, self.norms, self.wide, self.narrow, strict=True):
            y = norm(depthwise(x).movedim(1, -1))
            x = x + narrow(nn.functional.gelu(wide(y))).movedim(-1, 1)
        return x


class _VGGStage(nn.Sequential):
    """Plain 3 x 3 convolutions with norms and pooling, to stride 4."""

    channels, stride_px = 20, 4

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for into, out in ((3, 16), (16, self.channels)):
            layers += [nn.Conv2d(into, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(), nn.MaxPool2d(2)]
        super().__init__(*layers)


class _MobileStage(nn.Sequential):
    """Depthwise separable convolutions with strides, to stride 16."""

    channels, stride_px = 33, 16

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for into, out in ((3, 8), (8, 16), (16, 24), (24, self.channels)):
            layers += [nn.Conv2d(into, into, 3, 2, 1, groups=into), nn.Conv2d(into, out, 1), nn.ReLU6()]
        super().__init__(*layers)


BACKBONES = (_ConvNeXtStage, _VGGStage, _MobileStage)


def _built(backbone: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return backbone()


def _module(channels: int, seed: int = 0) -> MotionSqueeze:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MotionSqueeze(channels)


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def _changed(module: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("kind", BACKBONES)
def test_train_matching_changes_the_embedding_alone(kind: type[_ConvNeXtStage | _VGGStage | _MobileStage]) -> None:
    backbone, module = _built(kind), _module(kind.channels)
    theirs, ours = _copy(backbone), _copy(module)
    heard: list[int] = []
    config = replace(SMALL, cell_px=kind.stride_px)
    train_matching(module, backbone, config, report=lambda step, losses: heard.append(step + len(losses)))
    assert heard == [4, 5, 6] and backbone.training and not module.training
    assert not _changed(backbone, theirs)
    assert {"reduction.conv.weight", "reduction.norm.weight"} <= _changed(module, ours)
    trained = {name for name, _ in module.named_parameters()} & _changed(module, ours)
    assert all(name.startswith("reduction.") for name in trained)
    motion = module(backbone(torch.rand(4, 3, 64, 96)), 2)
    assert motion.displacement.shape == (2, 2, 64 // kind.stride_px, 96 // kind.stride_px)
    assert measure_module(module, backbone, config, clips=2).inside.cells > 0


def test_a_trained_module_is_saved_by_its_state_and_goes_on_learning() -> None:
    backbone, module = _built(_VGGStage), _module(20)
    config = replace(SMALL, cell_px=4)
    train_matching(module, backbone, config)
    again = _module(20, seed=1)
    again.load_state_dict(module.state_dict())
    x = backbone(torch.rand(4, 3, 64, 64)).detach()
    one, other = (each.eval()(x, 2).displacement for each in (module, again))
    assert torch.equal(one, other)
    train_matching(again, backbone, replace(config, steps=1, learning_rate=1e-12))
    torch.testing.assert_close(again.embed(x), module.embed(x), rtol=0.1, atol=0.05)  # norms saw one more step


def test_a_module_started_at_zero_adds_nothing_and_learns_from_the_first_step() -> None:
    backbone, module = _built(_ConvNeXtStage).eval(), _module(48)
    assert not module.is_zero
    module.start_at_zero()
    assert module.is_zero
    x = backbone(torch.rand(6, 3, 64, 64)).detach()
    motion = module.train()(x, 3)
    assert torch.equal(x + motion.features, x)
    motion.features.square().sum().sub(motion.features.sum()).backward()
    norm = module.transformation[-1][-1].norm  # type: ignore[index,union-attr]
    assert bool(norm.weight.grad.any()) and bool(norm.bias.grad.any())  # type: ignore[union-attr]
    with torch.no_grad():
        assert torch.equal(x + module.eval()(x, 3).features, x)


def test_measure_module_of_a_module_that_finds_no_motion_is_the_error_of_zero_motion() -> None:
    module = _module(20)
    nn.init.zeros_(module.reduction.norm.weight)
    nn.init.zeros_(module.reduction.norm.bias)
    scores = measure_module(module, _built(_VGGStage), replace(SMALL, cell_px=4), clips=2)
    assert scores.ratio == pytest.approx(1.0, abs=1e-4) and module.training


def test_train_matching_names_features_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"expected features \(3, 20, 8, 8\) .* got \(3, 20, 16, 16\)"):
        train_matching(_module(20), _built(_VGGStage), SMALL)
    with pytest.raises(ValueError, match="Give the module the backbone's channels"):
        measure_module(_module(21), _built(_VGGStage), replace(SMALL, cell_px=4))


@pytest.mark.parametrize("changes", [{"size_px": 60}, {"cell_px": 0}, {"steps": 0}, {"seed": 1_000_000}])
def test_graft_config_refuses_what_cannot_be(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        replace(SMALL, **changes)  # type: ignore[arg-type]
