"""The public weights that have a name: their addresses, hashes and licences.

Addresses are those of torchvision 0.29 (`models/resnet.py`, `models/mobilenetv2.py`). Their file names hold the first
eight digits of the SHA-256, too few against somebody who makes a file on purpose; so each whole hash stands here, found
alike in at least two independent public records of these files.

The releases of TSM are not here: no SHA-256 of them is published, and a file that cannot be checked is not fetched.
Downloaded by hand they load by their path.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from schemas.errors import WeightsError

_PYTORCH = "https://download.pytorch.org/models"
_SLACK = 1.05  # of a stated size, of which some are rounded


@dataclass(frozen=True, slots=True)
class PublicWeights:
    """A file of weights that anybody may fetch.

    size_bytes: about, as stated by those who publish it. network: one that they fit. about: what they were trained on.
    """

    name: str
    url: str
    sha256: str
    size_bytes: int
    network: str
    about: str
    licence: str = "BSD-3-Clause"

    @property
    def file_name(self) -> str:
        """Name of the file, as published."""
        return self.url.rpartition("/")[2]

    @property
    def most_bytes(self) -> int:
        """A larger file is another one."""
        return int(self.size_bytes * _SLACK)


def _imagenet(network: str, version: int, file: str, sha256: str, size_bytes: int, top1: float) -> PublicWeights:
    return PublicWeights(
        f"imagenet_{network.partition('_')[2]}_v{version}",
        f"{_PYTORCH}/{file}",
        sha256,
        size_bytes,
        network,
        f"ImageNet-1k, {top1:.1f} % top-1 (torchvision, IMAGENET1K_V{version})",
    )


_MIB = 2**20  # torchvision states sizes in MiB with three decimals; those in plain bytes are exact
_ALL = (
    _imagenet(
        "tsn_resnet18",
        1,
        "resnet18-f37072fd.pth",
        "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
        46_830_571,
        69.758,
    ),
    _imagenet(
        "tsn_resnet34",
        1,
        "resnet34-b627a593.pth",
        "b627a593bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f",
        87_319_819,
        73.314,
    ),
    _imagenet(
        "tsn_resnet50",
        1,
        "resnet50-0676ba61.pth",
        "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
        102_530_333,
        76.130,
    ),
    _imagenet(
        "tsn_resnet50",
        2,
        "resnet50-11ad3fa6.pth",
        "11ad3fa62ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca",
        102_540_417,
        80.858,
    ),
    _imagenet(
        "tsn_resnet101",
        1,
        "resnet101-63fe2227.pth",
        "63fe2227b86e8f1f2063f43a75c84d195911b6a0eace650907dd3dc62dd49a0a",
        int(170.511 * _MIB),
        77.374,
    ),
    _imagenet(
        "tsn_resnet101",
        2,
        "resnet101-cd907fc2.pth",
        "cd907fc2a0de2292b2ba2b27d2216bc672d84632d1cf20058d01c0c03b5e020e",
        int(170.53 * _MIB),
        81.886,
    ),
    _imagenet(
        "msnet_mobilenetv2",
        1,
        "mobilenet_v2-b0353104.pth",
        "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
        int(13.555 * _MIB),
        71.878,
    ),
    _imagenet(
        "msnet_mobilenetv2",
        2,
        "mobilenet_v2-7ebf99e0.pth",
        "7ebf99e03e254b273379b23edca7ec0da9f48273b23a332b93c1c99d49e86e8f",
        14_258_573,
        72.154,
    ),
)

PUBLIC_WEIGHTS = MappingProxyType({entry.name: entry for entry in _ALL})
"""By name."""


def public_weights(name: str) -> PublicWeights:
    """The public weights of this name; WeightsError where there are none."""
    if name not in PUBLIC_WEIGHTS:
        raise WeightsError(
            f"expected the name of public weights; got {name[:80]!r}. Choose one of {', '.join(PUBLIC_WEIGHTS)}"
        )
    return PUBLIC_WEIGHTS[name]
