"""The King James Version (its copyright has expired), one verse per line, from Debian's package bible-kjv."""

import re
import subprocess

# Whole books that are kept out of the training text.
HELD_OUT = ("Ruth", "Jonah", "Phi", "Jas")


def verses():
    """(book, text) of every verse in order."""
    dump = subprocess.run(["bible", "-f", "gen1:1-rev22:21"], capture_output=True, check=True, text=True).stdout
    for line in dump.splitlines():
        match = re.fullmatch(r"(\d?[A-Za-z]+)\s*\d+:\d+\s+(.*)", line.strip())
        if match is None:
            raise ValueError(f"a line that is no verse: {line!r}")
        yield match.groups()


def texts():
    """The training text and the held-out text."""
    train, held_out = [], []
    for book, text in verses():
        (held_out if book in HELD_OUT else train).append(text)
    return "\n".join(train) + "\n", "\n".join(held_out) + "\n"
