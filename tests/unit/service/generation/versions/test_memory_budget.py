"""The memory that is missing for one more version."""

from service.generation.versions.memory_budget import RESERVED_BYTES, MemoryBudget


def test_a_limit_counts_held_and_requested_bytes() -> None:
    budget = MemoryBudget(limit_bytes=100, free_bytes=lambda: None)
    assert budget.missing_bytes(40, held_bytes=60) == 0
    assert budget.missing_bytes(40, held_bytes=61) == 1


def test_without_a_limit_some_free_memory_is_reserved() -> None:
    assert MemoryBudget(limit_bytes=None, free_bytes=lambda: RESERVED_BYTES + 5).missing_bytes(6, held_bytes=99) == 1
    assert MemoryBudget(limit_bytes=None, free_bytes=lambda: RESERVED_BYTES + 6).missing_bytes(6, held_bytes=99) == 0


def test_everything_fits_if_free_memory_is_unknown_and_the_original_always_fits() -> None:
    assert MemoryBudget(limit_bytes=None, free_bytes=lambda: None).missing_bytes(10**15, held_bytes=0) == 0
    assert MemoryBudget(limit_bytes=0, free_bytes=lambda: 0).missing_bytes(0, held_bytes=0) == 0
