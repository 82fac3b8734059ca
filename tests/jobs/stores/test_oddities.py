from __future__ import annotations

import re
from pathlib import Path

from jobs.stores.oddities import FLAGS, flag_meaning

DOCUMENT = Path(__file__).parents[3] / "docs" / "decoding.md"


def test_every_documented_flag_has_a_meaning_in_few_words() -> None:
    table = DOCUMENT.read_text().partition("| flag | why |\n")[2].partition("\n\n")[0]
    documented = {name for line in table.splitlines() for name in re.findall(r"`(\w+)(?::NAME)?`", line.split("|")[1])}
    assert documented == set(FLAGS)
    assert all(len(meaning) <= 70 and not meaning.endswith(".") for meaning in FLAGS.values())


def test_a_flag_with_a_name_means_what_its_kind_does() -> None:
    assert flag_meaning("codec:gif") == FLAGS["codec"]
    assert flag_meaning("of another version") == ""
