"""Builds an answer's text token by token: complete characters only, cut at stop strings.

A token may end within a character, which takes up to four bytes in UTF-8, and some tokenizers decode a token
differently at the start of a text. New tokens are therefore decoded together with some of the tokens before them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

REPLACEMENT_CHARACTER = "\ufffd"
"""The character that a decoder writes for bytes that are not, or not yet, a character."""

MAX_CONTEXT_TOKENS = 16
"""Earlier tokens that are decoded again with each new token. Dropping them costs another decoding."""

Decode = Callable[[Sequence[int]], str]


class AnswerText:
    """The text of one answer. Text that may begin a stop string is held back until this is decided."""

    def __init__(self, decode: Decode, stop: Sequence[str] = ()) -> None:
        self._decode = decode
        self._stop = tuple(stop)
        self._longest_stop = max(map(len, self._stop), default=0)
        self._context: list[int] = []
        self._context_text = ""
        self._incomplete: list[int] = []
        """The tokens since the last complete character."""
        self._num_taken = 0
        self.text = ""
        """The text so far, up to a stop string."""
        self.stopped = False
        """Whether a stop string has occurred."""

    def add(self, token: int) -> None:
        """Add the next token."""
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
        """End the text. Bytes that form no character become the replacement that the decoder writes for them."""
        if self._incomplete and not self.stopped:
            self._extend(self._decode([*self._context, *self._incomplete])[len(self._context_text) :])
            self._incomplete = []

    def take_new_text(self, *, everything: bool = False) -> str:
        """Return the text since the last call. ``everything``: include text that may begin a stop string."""
        end = len(self.text) if everything or self.stopped else len(self.text) - self._num_held_back()
        new = self.text[self._num_taken : end]
        self._num_taken = max(end, self._num_taken)
        return new

    def _extend(self, new: str) -> None:
        searched_from = max(0, len(self.text) - self._longest_stop + 1)
        self.text += new
        places = {stop: self.text.find(stop, searched_from) for stop in self._stop}
        found = [(place + len(stop), place) for stop, place in places.items() if place >= 0]
        if found:  # the stop string that is complete first, however the text is split into tokens
            self.text = self.text[: min(found)[1]]
            self.stopped = True

    def _num_held_back(self) -> int:
        """Return how many of the last characters may be the beginning of a stop string."""
        for size in range(min(self._longest_stop - 1, len(self.text)), 0, -1):
            if any(stop.startswith(self.text[-size:]) for stop in self._stop):
                return size
        return 0
