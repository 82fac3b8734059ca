"""Names of parameters: ours, the reference's, and the dialects of the latter in users' files.

Inside a file everything is compared under *canonical* names: the reference implementation's without `module.` and
`base_model.` (for ResNet these are torchvision's), torchvision's for MobileNetV2, `fc` for the classifier. Our own
files use them too, so a renamed module never invalidates a file.

    ours                                              canonical
    backbone.conv1.{conv,norm}                        conv1, bn1
    backbone.layer1.0.conv2.{conv,norm}               layer1.0.conv2, layer1.0.bn2
    backbone.layer1.0.downsample.{conv,norm}          layer1.0.downsample.{0,1}
    backbone.features.0.{conv,norm}                   features.0.{0,1}
    backbone.features.3.expand.{conv,norm}            features.3.conv.0.{0,1}
    backbone.features.3.depthwise.{conv,norm}         features.3.conv.1.{0,1}
    backbone.features.3.project.{conv,norm}           features.3.conv.2, features.3.conv.3
    motion_squeeze.reduction.{conv,norm}              chnl_reduction.{0,1}
    motion_squeeze.transformation.0.0.{conv,norm}     flow_refinement.conv1.{0,1}   (depthwise)
    motion_squeeze.transformation.0.1.{conv,norm}     flow_refinement.conv1.{3,4}   (pointwise)
    classifier                                        fc
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_MOST_LISTED = 8
_COUNTER = "num_batches_tracked"  # inference never reads it, and old files lack it
_CLASSIFIERS = re.compile(r"^(new_fc|fc1|fc|classifier\.1|classifier)\.(weight|bias)$")
_SHIFTED = re.compile(r"^(layer\d\.\d+|features\.\d+)\.(conv1|conv\.0)\.net\.")
_MOBILENET_FIRST = {"0": "0.0", "1": "0.1", "3": "1", "4": "2"}
_MOBILENET_OTHER = {"0": "0.0", "1": "0.1", "3": "1.0", "4": "1.1", "6": "2", "7": "3"}


def canonical_name(ours: str) -> str | None:
    """Canonical name of our parameter or statistic; None for what files need not have."""
    if ours.endswith(_COUNTER):
        return None
    name = ours.removeprefix("backbone.")
    name = re.sub(r"^classifier\.", "fc.", name)
    name = re.sub(r"^motion_squeeze\.reduction\.", "chnl_reduction.", name)
    name = re.sub(r"^motion_squeeze\.transformation\.(\d)\.(\d)\.(conv|norm)\.", _transformation, name)
    name = re.sub(r"^features\.1\.(depthwise|project)\.(conv|norm)\.", _first_inverted_residual, name)
    name = re.sub(r"^(features\.\d+)\.(expand|depthwise|project)\.(conv|norm)\.", _inverted_residual, name)
    name = re.sub(r"(^|\.)conv(\d)\.conv\.", r"\1conv\2.", name)
    name = re.sub(r"(^|\.)conv(\d)\.norm\.", r"\1bn\2.", name)
    return re.sub(r"^(.*)\.(conv|norm)\.(\w+)$", lambda m: f"{m[1]}.{_unit(m[2])}.{m[3]}", name)


def canonical_names(ours: Iterable[str]) -> dict[str, str]:
    """Our names to canonical ones, of everything a file must have."""
    named = {name: canonical_name(name) for name in ours}
    return {name: canonical for name, canonical in named.items() if canonical is not None}


def plain_name(name: str) -> tuple[str, str | None]:
    """Canonical form of a name in a user's file, and the block that the name marks as shifted, if any.

    "module.base_model.layer1.0.conv1.net.weight" is ("layer1.0.conv1.weight", "layer1.0"). Names of the classifier
    become `fc`; an unknown name only loses its prefixes.
    """
    plain = name.removeprefix("module.").removeprefix("base_model.")
    plain = _CLASSIFIERS.sub(r"fc.\2", plain)
    shifted = _SHIFTED.match(plain)
    if shifted is None:
        return plain, None
    return plain.replace(".net.", ".", 1), shifted[1]


def spell_as_torchvision(names: Iterable[str]) -> dict[str, str]:
    """Map plain names to canonical ones, also of a MobileNetV2 with flatly numbered layers, as in TSM's releases."""
    names = list(names)
    if any(re.match(r"^features\.\d+\.conv\.\d+\.\d+\.", name) for name in names):
        return {name: name for name in names}
    return {name: re.sub(r"^features\.(\d+)\.conv\.(\d)\.", _from_flat, name) for name in names}


def is_motion_name(canonical: str) -> bool:
    """Whether it belongs to the MS module."""
    return canonical.startswith(("chnl_reduction.", "flow_refinement."))


def _unit(part: str) -> str:
    return "0" if part == "conv" else "1"


def _transformation(match: re.Match[str]) -> str:
    block, step, part = match.groups()
    return f"flow_refinement.conv{int(block) + 1}.{3 * int(step) + (part == 'norm')}."


def _first_inverted_residual(match: re.Match[str]) -> str:
    layer, part = match.groups()
    return f"features.1.conv.0.{_unit(part)}." if layer == "depthwise" else f"features.1.conv.{1 + (part == 'norm')}."


def _inverted_residual(match: re.Match[str]) -> str:
    block, layer, part = match.groups()
    if layer == "project":
        return f"{block}.conv.{2 + (part == 'norm')}."
    return f"{block}.conv.{0 if layer == 'expand' else 1}.{_unit(part)}."


def _from_flat(match: re.Match[str]) -> str:
    block, layer = match.groups()
    layers = _MOBILENET_FIRST if block == "1" else _MOBILENET_OTHER
    return f"features.{block}.conv.{layers.get(layer, layer)}."


def listed(names: Sequence[str]) -> str:
    """Names in a message: the first ones, and how many more."""
    shown = ", ".join(name[:120] for name in names[:_MOST_LISTED])
    return shown if len(names) <= _MOST_LISTED else f"{shown} and {len(names) - _MOST_LISTED} more"
