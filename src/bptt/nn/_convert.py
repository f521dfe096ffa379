"""Replacing torch's recurrent layers inside a model by ours, and back."""

from collections.abc import Collection, Mapping
from typing import TypeVar

from torch import nn

from ..detach import Detach
from ._gru import GRU
from ._layers import Recurrent
from ._lstm import LSTM
from ._rnn import RNN

_OURS: Mapping[type[nn.RNNBase], type[Recurrent]] = {nn.LSTM: LSTM, nn.GRU: GRU, nn.RNN: RNN}
_THEIRS: Mapping[type[nn.RNNBase], type[nn.RNNBase]] = {ours: theirs for theirs, ours in _OURS.items()}

Model = TypeVar("Model", bound=nn.Module)


def convert(model: Model, detach: Detach | None = None) -> Model:
    """Make every `torch.nn` LSTM, GRU and RNN in a model one of ours.

    The layers change their class in place: parameters, hooks, training flags, and references to them from
    anywhere (lists, optimisers, a module used twice) all stay as they are. Cells (`LSTMCell`, `GRUCell`,
    `RNNCell`) are no layers and stay torch's: their loop over time is the model's own.

    Args:
        model: any module, possibly a recurrent layer itself. Layers that are ours already keep their own
            `detach`.
        detach: what each converted layer gets.

    Returns:
        The model itself.

    Raises:
        TypeError: if `detach` is neither a `Detach` nor None; if a layer is a subclass of torch's, a
            parametrized one included, or has a `forward` of its own: nobody can tell whether ours would do
            the same. Convert before parametrizing.
        ValueError: if a layer cannot obey `detach`, or if nothing is converted: `detach` would then be lost.
            Without `detach` a model whose layers are ours already is as it should be.

        When it raises, the model is as it was.
    """
    found = _exact_layers(model, _OURS, "convert")
    for kind in (Recurrent, *(_OURS[type(layer)] for layer in found)):
        kind._check_detach(detach)
    if not found and (detach is not None or not _any(model, Recurrent)):
        cells = ", only cells, which it leaves alone" if _any(model, nn.RNNCellBase) else ""
        raise ValueError(
            "convert must be given a model that holds an LSTM, GRU or RNN of torch.nn, "
            f"got {type(model).__name__}, which has none{cells}"
        )
    for layer in found:
        vars(layer).pop("_flat_weights", None)
        layer.__class__ = _OURS[type(layer)]
        layer.detach = detach
    return model


def restore(model: Model) -> Model:
    """Make every LSTM, GRU and RNN of ours in a model one of torch's again, without its `detach`.

    For what knows only torch's classes, such as `quantize_dynamic`. The layers change their class in place,
    as for `convert`. A model without any of ours is as it should be, and no error.

    Args:
        model: any module, possibly a recurrent layer itself.

    Returns:
        The model itself.

    Raises:
        TypeError: if a layer is a subclass of ours, a parametrized one included, or has a `forward` of its
            own. The model is then as it was.
    """
    for layer in _exact_layers(model, _THEIRS, "restore"):
        for ours in ("_detach", "_coins", "_steering"):
            vars(layer).pop(ours, None)
        layer.__class__ = _THEIRS[type(layer)]
        layer._init_flat_weights()  # the list that torch's forward hands to its kernels
    return model


def _exact_layers(model: nn.Module, known: Collection[type[nn.RNNBase]], verb: str) -> list[nn.RNNBase]:
    """The layers of exactly the known classes; raises if there are any that only derive from them."""
    found: list[nn.RNNBase] = []
    problems: list[str] = []
    for name, module in model.named_modules():
        if not isinstance(module, tuple(known)):
            continue
        what = f"{repr(name) if name else 'the model itself'} is a {type(module).__name__}"
        if nn.utils.parametrize.is_parametrized(module):
            problems.append(f"{what}, parametrized ({verb} first, then parametrize)")
        elif type(module) not in known:
            problems.append(f"{what}, a subclass of {type(module).__bases__[0].__name__}")
        elif "forward" in vars(module):
            problems.append(f"{what} with a forward of its own")
        else:
            found.append(module)
    if problems:
        names = ", ".join(map(_public_name, known))
        raise TypeError(f"{verb} knows only layers that are exactly {names}, got: {'; '.join(problems)}")
    return found


def _any(model: nn.Module, kind: type[nn.Module]) -> bool:
    return any(isinstance(module, kind) for module in model.modules())


def _public_name(kind: type[nn.Module]) -> str:
    return f"{kind.__module__.partition('.')[0]}.nn.{kind.__name__}"
