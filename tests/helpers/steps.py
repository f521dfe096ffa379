"""One step of a recurrence through the public ops, and its Jacobian by autograd."""

from functools import partial

import torch

from bptt import ops


def size(layer):
    """Of the full state."""
    return (layer.proj_size or layer.hidden_size) + (layer.hidden_size if layer.mode == "LSTM" else 0)


def step(layer, suffix, x, state):
    """The state after one step of one sequence: x `(I,)`, states [c; h] of an LSTM, else h."""
    own = layer.state_dict()
    names = (name + suffix for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    weights = [own[name].double() if name in own else None for name in names]
    x = x.double().reshape(1, 1, -1)
    if layer.mode == "LSTM":
        c, h = state.unsqueeze(0).tensor_split([layer.hidden_size], -1)
        w_hr = own["weight_hr" + suffix].double() if layer.proj_size else None
        _, (h, c) = ops.lstm(x, (h, c), *weights, w_hr=w_hr)
        return torch.cat([c, h], -1)[0]
    if layer.mode == "GRU":
        return ops.gru(x, state.unsqueeze(0), *weights)[1][0]
    nonlinearity = layer.mode.removeprefix("RNN_").lower()
    return ops.rnn(x, state.unsqueeze(0), *weights, nonlinearity=nonlinearity)[1][0]


def jacobians(layer, x, suffix="_l0"):
    """`(T, S, S)` along the run of one sequence `(T, I)` from zeros, in the order in which x is given."""
    state = torch.zeros(size(layer), dtype=torch.float64)
    found = []
    for each in x:
        found.append(torch.autograd.functional.jacobian(partial(step, layer, suffix, each), state))
        state = step(layer, suffix, each, state)
    return torch.stack(found)
