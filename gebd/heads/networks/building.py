"""`build_head`: a head from its spec."""

from __future__ import annotations

from gebd.heads.networks.base import Head
from gebd.heads.networks.contrast import ContrastHead
from gebd.heads.networks.similarity import SimilarityHead
from gebd.heads.networks.spec import HeadName, HeadSpec
from gebd.heads.networks.temporal import TemporalHead


def build_head(spec: HeadSpec) -> Head:
    """Build a head with fresh weights from torch's random state."""
    heads = {
        HeadName.CONTRAST: ContrastHead,
        HeadName.TEMPORAL: TemporalHead,
        HeadName.SIMILARITY: SimilarityHead,
    }
    return heads[spec.name](spec)
