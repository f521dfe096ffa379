import inspect
from typing import Any

from ._check import prepare
from ._dispatch import Explanation, explain_call
from ._gru import gru
from ._lstm import lstm
from ._rnn import rnn

_OPS = {op.__name__: op for op in (lstm, gru, rnn)}


def explain(op: str, *args: Any, **kwargs: Any) -> Explanation:
    """Who would serve a call of an op, and why not the others; nothing is computed.

    Args:
        op: `"lstm"`, `"gru"` or `"rnn"`.
        args, kwargs: the arguments of the call, without `backend`.

    Returns:
        An `Explanation`; print it.

    Raises:
        ValueError: if the op is unknown.
        TypeError, ValueError: as the op itself raises for these arguments.
    """
    if op not in _OPS:
        raise ValueError(f"op must be one of {', '.join(map(repr, _OPS))}, got {op!r}")
    bound = inspect.signature(_OPS[op]).bind(*args, **kwargs)
    if "backend" in bound.arguments:
        raise TypeError("explain asks every backend: leave out the argument backend")
    bound.apply_defaults()
    del bound.arguments["backend"]
    return explain_call(prepare(op, bound.arguments))
