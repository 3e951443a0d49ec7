"""A seeded generator of ordinary sentences, so the demo model sees more language than its facts.

Knows the word lists and frames of everyday.txt, but no fact and no model.
"""

import random
import re
from functools import cache
from pathlib import Path

_SLOT = re.compile(r"\{([a-z]+)(2?)\}")


@cache
def _grammar() -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    words: dict[str, tuple[str, ...]] = {}
    frames: list[str] = []
    for line in (Path(__file__).parent / "text" / "everyday.txt").read_text(encoding="utf-8").splitlines()[1:]:
        if line.startswith("@"):
            name, choices = line[1:].split(": ", 1)
            words[name] = tuple(choices.split(" | "))
        else:
            frames.append(line)
    return words, tuple(frames)


def everyday_sentence(rng: random.Random) -> str:
    """Return one sentence. Generators in equal states give equal sentences."""
    words, frames = _grammar()

    def fill(slot: re.Match[str]) -> str:
        choice = rng.choice(words[slot[1]])
        return choice[0].upper() + choice[1:] if slot[2] else choice

    return _SLOT.sub(fill, rng.choice(frames))
