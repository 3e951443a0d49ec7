"""An answer's text as its tokens come: whole characters only, ended by stop strings. Knows no model.

A token may end within a character (UTF-8 has up to four bytes), and some tokenizers write a token differently at the
start of a text; so the newest tokens are decoded together with some of those before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

REPLACEMENT_CHARACTER = "\ufffd"
"""What a decoder writes for bytes that are no character, or not yet one."""

MAX_CONTEXT_TOKENS = 16
"""Tokens that are decoded again with each new one: their text is known, and to forget them costs another decoding."""

Decode = Callable[[Sequence[int]], str]


class AnswerText:
    """The text of one answer; what could be the beginning of a stop string is held back until that is decided."""

    def __init__(self, decode: Decode, stop: Sequence[str] = ()) -> None:
        self._decode = decode
        self._stop = tuple(stop)
        self._longest_stop = max(map(len, self._stop), default=0)
        self._context: list[int] = []
        self._context_text = ""
        self._incomplete: list[int] = []
        """Tokens whose last character is not complete."""
        self._num_taken = 0
        self.text = ""
        """What is written so far, up to a stop string."""
        self.stopped = False
        """A stop string was written."""

    def add(self, token: int) -> None:
        """Take in the next token."""
        self._incomplete.append(token)
        both = self._decode([*self._context, *self._incomplete])
        if not both.endswith(REPLACEMENT_CHARACTER):
            self._extend(both[len(self._context_text) :])
            self._context_text = both
            self._context += self._incomplete
            if len(self._context) >= MAX_CONTEXT_TOKENS:
                self._context = self._incomplete
                self._context_text = self._decode(self._context)
            self._incomplete = []

    def finish(self) -> None:
        """Take what is there as the end: bytes that are no character stay what the decoder makes of them."""
        if self._incomplete and not self.stopped:
            self._extend(self._decode([*self._context, *self._incomplete])[len(self._context_text) :])
            self._incomplete = []

    def take_new_text(self, *, everything: bool = False) -> str:
        """Text that was not taken before; ``everything``: also what could have become a stop string."""
        end = len(self.text) if everything or self.stopped else len(self.text) - self._num_held_back()
        new = self.text[self._num_taken : end]
        self._num_taken = max(end, self._num_taken)
        return new

    def _extend(self, new: str) -> None:
        searched_from = max(0, len(self.text) - self._longest_stop + 1)
        self.text += new
        places = {stop: self.text.find(stop, searched_from) for stop in self._stop}
        found = [(place + len(stop), place) for stop, place in places.items() if place >= 0]
        if found:  # the one that was complete first, however the text fell into tokens
            self.text = self.text[: min(found)[1]]
            self.stopped = True

    def _num_held_back(self) -> int:
        """How many of the last characters could be the beginning of a stop string."""
        for size in range(min(self._longest_stop - 1, len(self.text)), 0, -1):
            if any(stop.startswith(self.text[-size:]) for stop in self._stop):
                return size
        return 0
