"""HEAD and the pointer in Redis are compared by one rule, and an older Redis is described by one text."""

from __future__ import annotations

import pytest

from editing_core.versions.head import Head
from worker.protocol.entities import Pointer
from worker.protocol.head_state import HeadState, compare_head, describe_older_redis

V2 = Head(revision=2, version="v2")


@pytest.mark.parametrize(
    ("head", "pointer", "state"),
    [
        (None, None, HeadState.NOTHING_PROMOTED),
        (V2, None, HeadState.REDIS_EMPTY),
        (None, Pointer(revision=1, version="v1"), HeadState.HEAD_BEHIND),
        (V2, Pointer(revision=3, version="v3"), HeadState.HEAD_BEHIND),
        (V2, Pointer(revision=2, version="v2"), HeadState.EQUAL),
        (V2, Pointer(revision=1, version="v1"), HeadState.HEAD_AHEAD),
        (V2, Pointer(revision=2, version="v1"), HeadState.HEAD_AHEAD),
    ],
)
def test_head_and_pointer_are_compared(head: Head | None, pointer: Pointer | None, state: HeadState) -> None:
    assert compare_head(head, pointer) == state


def test_the_text_about_an_older_redis_names_both_promotions_and_a_command_that_helps() -> None:
    text = describe_older_redis(V2, Pointer(revision=1, version="v1"))
    assert "promotion 2, version v2" in text
    assert "promotion 1, version v1" in text
    assert "`errata recover --from-files`" in text
