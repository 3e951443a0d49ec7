"""Operations and bytes of every stage in closed form, from a model's shape and the tokens that are run.

Operations are those of matrix products: two per weight of a matrix and token, four per pair of places in attention and
unit of hidden size; the factorisation of the solve is counted by its textbook formula. Bytes are a lower bound: every
matrix is read once a pass, every product's input read once and its output written once, and nothing else is moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass

from torch import Tensor, nn

from editing_core.models.load import LoadedModel


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done."""

    operations: float = 0.0
    """In the model's dtype."""
    single: float = 0.0
    """Operations in float32 because the stage says so: second moments, edited matrices."""
    double: float = 0.0
    """In float64."""
    num_bytes: float = 0.0

    def __add__(self, other: Work) -> Work:
        """Both."""
        return Work(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def times(self, factor: float) -> Work:
        """The work multiplied by ``factor``."""
        return Work(*(factor * value for value in astuple(self)))

    @property
    def all_operations(self) -> float:
        """In whatever dtype."""
        return self.operations + self.single + self.double


NOTHING = Work()


@dataclass(frozen=True, slots=True)
class Matrices:
    """The matrices of an attention or an MLP."""

    weights: int
    features: int
    """Inputs and outputs of all of them, in numbers per token."""

    @classmethod
    def of(cls, parameters: Iterable[Tensor]) -> Matrices:
        """Those of the parameters that are matrices."""
        shapes = [parameter.shape for parameter in parameters if parameter.ndim == 2]
        return cls(sum(rows * columns for rows, columns in shapes), sum(rows + columns for rows, columns in shapes))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """All of a model that decides what its passes cost."""

    num_layers: int
    hidden: int
    width: int
    """d_ff."""
    vocabulary: int
    attention: Matrices
    mlp: Matrices
    item_bytes: int
    """Bytes of a number in the model's dtype."""

    @classmethod
    def of(cls, loaded: LoadedModel) -> ModelShape:
        """Read off a model, which may be on the meta device."""
        family = loaded.family
        blocks: nn.Module = family.base_model(loaded.model).get_submodule(family.blocks)
        first = next(iter(blocks.children()))
        whole, mlp = Matrices.of(first.parameters()), Matrices.of(_mlp(first, family.projection).parameters())
        return cls(
            num_layers=family.num_layers(loaded.model),
            hidden=loaded.hidden_size,
            width=family.projection_weight(loaded.model, 0).numel() // loaded.hidden_size,
            vocabulary=loaded.vocabulary_size,
            attention=Matrices(whole.weights - mlp.weights, whole.features - mlp.features),
            mlp=mlp,
            item_bytes=loaded.dtype.itemsize,
        )


def _mlp(block: nn.Module, projection: str) -> nn.Module:
    return block.get_submodule(projection.rpartition(".")[0])


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens that go through some blocks, and the pairs of places that attention looks at."""

    num: float
    pairs: float

    def __add__(self, other: Tokens) -> Tokens:
        """Both."""
        return Tokens(self.num + other.num, self.pairs + other.pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchLayout:
    """The tokens of searches that share a batch."""

    whole: Tokens
    """Rows through blocks 0 … L."""
    prefix: Tokens
    """Before the look-up tokens, above L."""
    suffix: Tokens
    """From the look-up tokens on."""
    asked: int
    """Positions that the vocabulary head sees."""


@dataclass(frozen=True, slots=True)
class SweepLayout:
    """Rows up to the look-up tokens: those of all contexts, and the bare ones alone."""

    contexts: Tokens
    bare: Tokens


@dataclass(frozen=True, slots=True)
class Pass:
    """What one model is asked in the checks."""

    tokens: Tokens
    asked: int
    num_calls: int
    """How often the weights are read."""


def search_work(shape: ModelShape, layout: SearchLayout, *, target_layer: int, num_steps: int) -> Work:
    """The searches of a batch, each with all its steps: ``num_steps`` losses and one gradient less."""
    above = shape.num_layers - 1 - target_layer
    once = passed(shape, layout.whole, target_layer + 1) + passed(shape, layout.prefix, above, last_mlp_tokens=0)
    keys_and_values = Work(num_bytes=2 * shape.item_bytes * shape.hidden * layout.prefix.num * above)
    read = head(shape, layout.asked)
    forward = passed(shape, layout.suffix, above, last_mlp_tokens=layout.asked) + read + keys_and_values
    backward = passed(shape, layout.suffix, above, last_mlp_tokens=layout.asked, attention_factor=2) + read
    return once + forward.times(num_steps) + backward.times(num_steps - 1)


def sweep_work(shape: ModelShape, layout: SweepLayout, layers: Sequence[int]) -> Work:
    """Keys and residuals: each edited layer is read once, and passed over with its new weight unless it is the last."""
    n = len(layers)
    below = passed(shape, layout.contexts, layers[0] + 2 * n - 1)
    return _with_edited(shape, below, layout.contexts.num * (n - 1)) + passed(shape, layout.bare, n * (n - 1) // 2)


def solve_work(shape: ModelShape, *, num_edits: int, num_layers: int) -> Work:
    """The solve of all layers: λC + K Kᵀ, its Cholesky factor, two triangular systems, and R times them.

    The covariance is read in float32; the bracket is written, factored in place, and read by both systems.
    """
    m, n = shape.width, num_edits
    bracket = Work(double=2 * m * m * n, num_bytes=(4 + 8) * m * m + 8 * m * n)
    factor = Work(double=m**3 / 3, num_bytes=2 * 8 * m * m)
    systems = Work(double=2 * m * m * n, num_bytes=2 * 8 * (m * m + 2 * m * n))
    return (bracket + factor + systems + solve_readout(shape, num_edits=n)).times(num_layers)


def solve_readout(shape: ModelShape, *, num_edits: int) -> Work:
    """R times what was solved, for one layer: the one part of the solve that torch's counter sees."""
    m, n, h = shape.width, num_edits, shape.hidden
    return Work(double=2 * h * m * n, num_bytes=8 * (m * n + h * n + h * m))


def prepare_work(shape: ModelShape, *, num_tokens: int, window: int, layers: Sequence[int]) -> Work:
    """Second moments of ``num_tokens`` tokens of all layers; what goes from device to host is not counted."""
    lower = passed(shape, Tokens(num_tokens, num_tokens * window), layers[-1] + 1)
    return lower + Work(single=2.0 * shape.width**2 * num_tokens).times(len(layers))


def checks_work(shape: ModelShape, parent: Pass, candidate: Pass, *, num_edited: int) -> Work:
    """All questions to both models; the candidate has ``num_edited`` matrices in float32."""
    asked_of_candidate = _asked(shape, candidate)
    return _asked(shape, parent) + _with_edited(shape, asked_of_candidate, candidate.tokens.num * num_edited)


def view_work(shape: ModelShape, *, num_layers: int) -> Work:
    """The new matrices go where they are served from, in float32: read once, written once."""
    return Work(num_bytes=2 * 4.0 * shape.width * shape.hidden * num_layers)


def passed(
    shape: ModelShape,
    tokens: Tokens,
    num_blocks: int,
    *,
    last_mlp_tokens: float | None = None,
    attention_factor: int = 1,
) -> Work:
    """Tokens through some blocks; the last one's MLP sees ``last_mlp_tokens`` of them, if given.

    The way back to the input has as many products as the way there, and twice those of attention.
    """
    attended = tokens.num * num_blocks
    fed = attended if last_mlp_tokens is None else tokens.num * (num_blocks - 1) + last_mlp_tokens
    operations = 2 * (attended * shape.attention.weights + fed * shape.mlp.weights)
    operations += attention_factor * 4 * tokens.pairs * num_blocks * shape.hidden
    numbers = num_blocks * (shape.attention.weights + shape.mlp.weights)
    numbers_moved = numbers + attended * shape.attention.features + fed * shape.mlp.features
    return Work(operations=operations, num_bytes=shape.item_bytes * numbers_moved)


def head(shape: ModelShape, asked: float, num_calls: int = 1) -> Work:
    """The vocabulary head at some positions."""
    weights = shape.hidden * shape.vocabulary
    moved = num_calls * weights + asked * (shape.hidden + shape.vocabulary)
    return Work(operations=2.0 * asked * weights, num_bytes=shape.item_bytes * moved)


def _asked(shape: ModelShape, asked: Pass) -> Work:
    once = passed(shape, asked.tokens, shape.num_layers)
    weights = shape.num_layers * (shape.attention.weights + shape.mlp.weights)
    again = Work(num_bytes=float(shape.item_bytes * weights * (asked.num_calls - 1)))
    return once + again + head(shape, asked.asked, asked.num_calls)


def _with_edited(shape: ModelShape, work: Work, num_tokens: float) -> Work:
    """The same work if edited projections compute in float32 and ``num_tokens`` tokens go through each."""
    operations = 2 * num_tokens * shape.width * shape.hidden
    return work + Work(operations=-operations, single=operations)
