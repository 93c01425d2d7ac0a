# SPDX-License-Identifier: GPL-3.0-or-later
"""What contrib gives to be filled in, filled in."""

import pathlib
import re

CONTRIB = pathlib.Path(__file__).resolve().parents[2] / "contrib"


def filled(text, blanks):
    """The text with its blanks, each of which it must have once, filled."""
    for blank, filling in blanks.items():
        assert text.count(blank) == 1, blank
        text = text.replace(blank, filling)
    return text


def example(name, contains):
    """The README's YAML that has these words."""
    found = [text for text in re.findall(r"^```yaml\n(.*?)^```", (CONTRIB / name / "README.md").read_text(), re.M | re.S)
             if contains in text]
    assert len(found) == 1, contains
    return found[0]
