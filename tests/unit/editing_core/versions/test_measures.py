"""Stored measures are read by their present names, whatever the store calls them."""

import pytest

from editing_core.versions.measures import recorded

FORMER = {"taken": 1, "told": 2, "paraphrases": 3, "neighbors": 4, "earlier": 5}
NAMES = ("reliability", "generation_success", "generalization", "specificity", "earlier")


@pytest.mark.parametrize(("name", "value"), list(zip(NAMES, FORMER.values(), strict=True)))
def test_a_store_with_the_former_names_is_read(name: str, value: int) -> None:
    assert recorded(FORMER, name) == value
    assert recorded({**FORMER, name: 9}, name) == 9


def test_an_edit_report_says_whether_the_edit_holds_by_either_name() -> None:
    assert (recorded({"taken": True}, "holds"), recorded({"holds": False, "taken": True}, "holds")) == (True, False)


def test_what_was_not_measured_is_none() -> None:
    assert recorded({"reliability": None}, "reliability") is None
    assert recorded({}, "specificity") is None
