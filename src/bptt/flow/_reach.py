"""How far back into its input an output looks: any model, by vector-Jacobian products at chosen steps."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Embedding, Module

from ._copied import Call, called, chosen, copied
from ._flows import norms

_EXACT, _PROBES = 32, 16  # outputs that are asked one by one, and what asks more of them


@dataclass(frozen=True)
class Reach:
    """‖∂out_t/∂x_s‖ of every sequence: how much the output at step t depends on the input at step s.

    Attributes:
        at: the output steps t; None for an output without steps, `(B, O)`.
        norms: Frobenius norms, `(J, T, B)` in float64, for J output steps and T input steps.
        probes: from how many random mixtures of the outputs the norms are estimated; None if they are exact.
    """

    at: tuple[int, ...] | None
    norms: Tensor
    probes: int | None

    @property
    def exact(self) -> bool:
        """Whether every unit of the output was asked."""
        return self.probes is None


def reach(
    model: Module,
    batch: Any,
    *,
    at: Sequence[int] | None = None,
    probes: int | None = None,
    batch_first: bool = False,
    call: Call = called,
) -> Reach:
    """How much the outputs at chosen steps depend on the input at every step.

    The cost is a backward pass for each chosen step and unit of the output, or probe. The sequences of a
    batch must not depend on each other (as they do in a BatchNorm that is training). The model is copied and
    left as it is.

    Args:
        model: any module: recurrent, Transformer, convolution.
        batch: a tensor, or a tuple whose first part is the input: `(T, B, I)`, or tokens `(T, B)`, for
            which their embeddings by an `nn.Embedding` inside stand.
        at: output steps, negative ones from the end; None for the last.
        probes: estimate norms from so many random mixtures of the outputs: with J the Jacobian and v of
            independent standard normals, the mean of ‖vᵀJ‖² is ‖J‖². 0 to ask every unit of the output;
            None for that if there are at most 32, else 16 probes.
        batch_first: whether input and output are `(B, T, ·)`.
        call: as in `lag_profile`; the output is `(T, B, O)`, or `(B, O)` without steps.

    Returns:
        The norms.

    Raises:
        ValueError: if the output is neither, does not depend on the input in a way that has a gradient, the
            input has no dimension of sequences, `at` is empty, out of range or given without steps, or probes
            is less than 0.

    Source: Madsen, "Visualizing memorization in RNNs", Distill 2019.
    """
    if probes is not None and probes < 0:
        raise ValueError(f"probes must be at least 0, got {probes}")
    with copied(model, recurrent=False) as mine:
        output, leaf = called_on_leaf(mine, batch, call)
        steps = _checked(output, at, batch_first, leaf)
        probes = usual_probes(output) if probes is None else probes
        found = []
        for step in steps or (None,):
            rows = output if step is None else output[:, step] if batch_first else output[step]
            mixtures = _mixtures(rows, probes) if probes else _units(rows)
            squares = [
                norms(torch.autograd.grad(rows, leaf, each, retain_graph=True)[0]) ** 2 for each in mixtures
            ]
            total = torch.stack(squares)
            found.append((total.mean(0) if probes else total.sum(0)).sqrt())
    every = torch.stack(found)
    return Reach(steps, every.transpose(1, 2) if batch_first else every, probes or None)


def usual_probes(output: Tensor) -> int:
    """How many `reach` takes of an output if it is not told: 0, for every unit, of a narrow one."""
    return 0 if output.shape[-1] <= _EXACT else _PROBES


def called_on_leaf(model: Module, batch: Any, call: Call) -> tuple[Tensor, Tensor]:
    """The output, and the input or its embedding whose gradient can be asked for."""
    given, leaf = _with_leaf(batch)
    with _embedded(model, leaf) as embedded:
        output = call(model, given)
    return output, embedded[0] if embedded else leaf


def _with_leaf(batch: Any) -> tuple[Any, Tensor]:
    """The batch with an input whose gradient can be asked for, if it is no tokens, and that input."""
    x = batch[0] if isinstance(batch, tuple | list) else batch
    if not x.is_floating_point():
        return batch, x
    leaf = x.detach().clone().requires_grad_()
    if not isinstance(batch, tuple | list):
        return leaf, leaf
    rest = (leaf, *batch[1:])
    make = getattr(type(batch), "_make", type(batch))  # a NamedTuple takes its parts in another way
    return make(rest), leaf


@contextmanager
def _embedded(model: Module, tokens: Tensor) -> Iterator[list[Tensor]]:
    """What the model's embeddings make of the tokens, cut off so that gradients stop there."""
    found: list[Tensor] = []

    def cut(_: Module, args: Any, output: Tensor) -> Tensor | None:
        if args[0].shape != tokens.shape or found:
            return None
        found.append(output.detach().requires_grad_())
        return found[0]

    if tokens.is_floating_point():
        yield found
        return
    handles = [each.register_forward_hook(cut) for each in model.modules() if isinstance(each, Embedding)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _checked(
    output: Any, at: Sequence[int] | None, batch_first: bool, leaf: Tensor
) -> tuple[int, ...] | None:
    if not isinstance(output, Tensor) or output.dim() not in (2, 3):
        got = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"the output must be (T, B, O) or (B, O), got {got}")
    if not (output.requires_grad and leaf.requires_grad):
        kind = "tokens that no nn.Embedding of the model was given" if not leaf.requires_grad else "an output"
        raise ValueError(f"the output must depend on the input with a gradient, got {kind} without")
    if output.dim() == 2 and at is not None:
        raise ValueError(f"at must be None for an output (B, O), which has no steps, got {list(at)}")
    if leaf.dim() < 3:
        raise ValueError(
            "the input must be (T, B, I), or tokens (T, B), with a dimension of sequences, got "
            f"{tuple(leaf.shape)}"
        )
    if output.dim() == 2:
        return None
    if at is not None and not at:
        raise ValueError("at must hold steps of the output, got none")
    return chosen((-1,) if at is None else at, output.shape[1] if batch_first else output.shape[0], "output")


def _units(rows: Tensor) -> Iterator[Tensor]:
    for unit in range(rows.shape[-1]):
        one = torch.zeros_like(rows)
        one[..., unit] = 1
        yield one


def _mixtures(rows: Tensor, number: int) -> Iterator[Tensor]:
    return (torch.randn_like(rows) for _ in range(number))
