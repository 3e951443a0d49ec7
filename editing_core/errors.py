"""The errors of the editing core, which are also the root of Errata's whole error tree.

ErrataError
├── InvalidEdit            an edit that cannot be used as it stands
├── EditConflict           two edits contradict each other
├── InvalidPrompt          a prompt that the model cannot take
├── InvalidSettings        a setting, option or input file that makes no sense
├── UnknownModelFamily     a model whose architecture Errata does not know
├── NotPositiveDefinite    a covariance made of too few samples
├── NotFound               something that does not exist
├── ExportRefused          an export that cannot be made, or not at this place
└── StoreError
    ├── StoreDamaged       files that are incomplete or differ from their digest
    └── StoreMismatch      a store that belongs to another model or other settings

Knows nothing about HTTP: ``service.api.problems.statuses`` maps each error to a status.
"""

from __future__ import annotations

from typing import ClassVar


class ErrataError(Exception):
    """Root of all errors that Errata raises on purpose; its text says what, where, and the way out."""

    slug: ClassVar[str] = "error"
    """Short stable name, the last part of a problem's ``type``."""
    title: ClassVar[str] = "Errata could not do this"

    def __init__(self, detail: str, *, loc: tuple[str | int, ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.loc = loc
        """Path to the offending value within the input, outermost first. Empty if no single value is wrong."""


class InvalidEdit(ErrataError):
    """An edit that cannot be used as it stands."""

    slug = "invalid-edit"
    title = "The edit is not valid"


class EditConflict(ErrataError):
    """Two edits give one (subject, relation) two objects (MEMIT, Eqn. 5)."""

    slug = "edit-conflict"
    title = "Two edits contradict each other"


class InvalidPrompt(ErrataError):
    """A prompt that the model cannot take."""

    slug = "invalid-prompt"
    title = "The prompt cannot be used"


class InvalidSettings(ErrataError):
    """A setting, an option or an input file that makes no sense."""

    slug = "invalid-settings"
    title = "A setting or an input file is not valid"


class UnknownModelFamily(ErrataError):
    """A model whose architecture Errata does not know."""

    slug = "unknown-model-family"
    title = "This model family is not supported"


class NotPositiveDefinite(ErrataError):
    """A covariance made of too few samples for the solve."""

    slug = "not-positive-definite"
    title = "The covariance holds too few samples"


class NotFound(ErrataError):
    """Something named that does not exist."""

    slug = "not-found"
    title = "The object does not exist"


class ExportRefused(ErrataError):
    """An export that cannot be made of this version, or not at this place."""

    slug = "export-refused"
    title = "The version cannot be exported in this form"


class StoreError(ErrataError):
    """Something is wrong with the version store."""

    slug = "store"
    title = "The version store cannot be used"


class StoreDamaged(StoreError):
    """Files that are incomplete or differ from their digest."""

    slug = "store-damaged"
    title = "The version store is damaged"


class StoreMismatch(StoreError):
    """A store that belongs to another model or to other settings."""

    slug = "store-mismatch"
    title = "The version store belongs to another model or other settings"
