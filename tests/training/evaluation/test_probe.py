"""The linear probe: its minimum, its standardisation, and folds that never see their own group."""

from __future__ import annotations

import torch
from torch import Tensor

from training.evaluation.probe import fit_probe, out_of_fold


def samples(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Features (N, 4), the first two of which determine three classes, and the classes."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(count, 4, generator=generator)
    labels = torch.stack((features[:, 0], features[:, 1], -features[:, 0] - features[:, 1]), 1).argmax(1)
    return features * torch.tensor([1.0, 100.0, 0.01, 1.0]) + torch.tensor([5.0, 0.0, 0.0, -3.0]), labels


def test_fit_probe_ends_where_the_gradient_vanishes() -> None:
    features, labels = samples(300, 0)
    probe = fit_probe(features, labels, 3, strength=0.1)
    x = (features.double() - features.double().mean(0)) / features.double().std(0, correction=0)
    residual = (x @ probe.weight + probe.bias).softmax(1) - torch.eye(3, dtype=torch.float64)[labels]
    torch.testing.assert_close(x.T @ residual / 300, -0.1 * probe.weight, atol=5e-4, rtol=0)
    torch.testing.assert_close(residual.sum(0) / 300, torch.zeros(3, dtype=torch.float64), atol=5e-4, rtol=0)


def test_fit_probe_generalises_whatever_the_scale_of_a_feature() -> None:
    probe = fit_probe(*samples(600, 1), 3, strength=1e-3)
    features, labels = samples(600, 2)
    assert (probe(features).argmax(1) == labels).double().mean() > 0.95
    stretched = fit_probe(samples(600, 1)[0] * 7 - 2, samples(600, 1)[1], 3, strength=1e-3)
    torch.testing.assert_close(stretched(features * 7 - 2), probe(features), atol=1e-3, rtol=1e-3)


def test_constant_feature_is_ignored() -> None:
    features, labels = samples(100, 3)
    features[:, 3] = 2.0
    probe = fit_probe(features, labels, 3, strength=0.1)
    assert probe.weight.isfinite().all()
    changed = features.clone()
    changed[:, 3] = 50.0
    torch.testing.assert_close(probe(changed), probe(features))


def test_out_of_fold_never_sees_the_group_it_judges() -> None:
    """Every group has its own feature with its labels, useless to a probe that never saw the group."""
    groups = torch.arange(8).repeat_interleave(30)
    labels = torch.randint(0, 2, (240,), generator=torch.Generator().manual_seed(4))
    features = torch.nn.functional.one_hot(groups, 8) * (2.0 * labels - 1).unsqueeze(1)
    seen = fit_probe(features, labels, 2, 1e-3)(features).argmax(1)
    unseen = out_of_fold(features, labels, groups, 2, 1e-3)
    assert (seen == labels).all()
    assert (unseen.argmax(1) == labels).double().mean() < 0.7
    for fold in range(3):  # of the groups in a fold none was seen: every sample of it looks the same
        of_fold = unseen[groups % 3 == fold]
        torch.testing.assert_close(of_fold, of_fold[:1].expand_as(of_fold), atol=1e-6, rtol=0)
