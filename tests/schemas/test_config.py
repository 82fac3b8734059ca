from __future__ import annotations

import hashlib
import json

import pytest

from schemas import config
from schemas.config import ExtractionConfig


def test_field_that_was_added_later_leaves_the_digests_of_older_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    """`keep_corrupt` stands for a new field here: stores that were made without it stand for its value False."""
    new, chosen = (ExtractionConfig(model="m", weights="random", seed=0, keep_corrupt=value) for value in (False, True))
    fields = new.model_dump(mode="json")
    del fields["keep_corrupt"]
    older = hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    assert new.digest() != older
    monkeypatch.setitem(config._LATER_FIELDS, "keep_corrupt", False)
    assert new.digest() == older != chosen.digest()
