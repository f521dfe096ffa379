"""The recurrences written out step by step with explicit `.detach()`: what the ops are compared with.

They share nothing with the package: textbook equations, indexing instead of unbinding, whole-batch coins.
"""

import torch


def maybe_detach(state, keep):
    """`keep` is 0 or 1 for the whole batch, or a column of them."""
    if keep is None:
        return state
    if keep.dim() == 0:
        return state if keep == 1 else state.detach()
    return torch.where(keep[:, None] == 1, state, state.detach())


def lstm_loop(x, hx, w_ih, w_hh, b_ih, b_hh, w_hr=None, h_keep=None, c_keep=None):
    """All states of an LSTM: lists of h_t and c_t."""
    h, c = hx
    hs, cs = [], []
    for t in range(len(x)):
        h_in = maybe_detach(h, None if h_keep is None else h_keep[t])
        c_in = maybe_detach(c, None if c_keep is None else c_keep[t])
        gates = x[t] @ w_ih.T + h_in @ w_hh.T
        if b_ih is not None:
            gates = gates + b_ih + b_hh
        H = w_hh.shape[0] // 4
        i, f, g, o = gates[:, :H], gates[:, H : 2 * H], gates[:, 2 * H : 3 * H], gates[:, 3 * H :]
        c = torch.sigmoid(f) * c_in + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        if w_hr is not None:
            h = h @ w_hr.T
        hs.append(h)
        cs.append(c)
    return hs, cs


def gru_loop(x, h, w_ih, w_hh, b_ih, b_hh, h_keep=None, c_keep=None):
    """All states of a GRU."""
    hs = []
    H = w_hh.shape[0] // 3
    zero = torch.zeros(3 * H, dtype=x.dtype)
    b_ih, b_hh = (zero, zero) if b_ih is None else (b_ih, b_hh)
    for t in range(len(x)):
        h_in = maybe_detach(h, None if h_keep is None else h_keep[t])
        h_carry = maybe_detach(h, None if c_keep is None else c_keep[t])
        a, b = x[t] @ w_ih.T + b_ih, h_in @ w_hh.T + b_hh
        r = torch.sigmoid(a[:, :H] + b[:, :H])
        z = torch.sigmoid(a[:, H : 2 * H] + b[:, H : 2 * H])
        n = torch.tanh(a[:, 2 * H :] + r * b[:, 2 * H :])
        h = (1 - z) * n + z * h_carry
        hs.append(h)
    return hs


def rnn_loop(x, h, w_ih, w_hh, b_ih, b_hh, nonlinearity="tanh", h_keep=None):
    """All states of an Elman RNN."""
    phi = torch.tanh if nonlinearity == "tanh" else torch.relu
    hs = []
    for t in range(len(x)):
        h_in = maybe_detach(h, None if h_keep is None else h_keep[t])
        a = x[t] @ w_ih.T + h_in @ w_hh.T
        h = phi(a if b_ih is None else a + b_ih + b_hh)
        hs.append(h)
    return hs
