"""The GRU: its steps forward, and back."""

import triton
import triton.language as tl

from ._cells import (
    SIZES,
    SMALL,
    keep_at,
    lengths_of,
    load_3,
    load_4,
    load_square,
    multiply_add,
    scaled,
    sigmoid,
    tanh,
    tile,
)


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=SMALL)
def forward(
    x,  # (R, T, B, 3H): W_ih x + b_ih + b_hh, without b_hn
    product,  # (R, B, 3H): W_hh h for one step; None to multiply here
    w,  # (R, 3H, H), or None
    b_n,  # (R, H): b_hn, or None
    lengths,  # (R, B), or None
    h_tap,  # (R, T, B, H), or None
    h,  # (R, B, H), after the steps before `start`, then after these
    operand,  # (R, B, H): h as the next product reads it, or None
    y,  # (R, T, B, H)
    saved,  # (R, T, B, 4H): r, z, n and W_hn h + b_hn, or None
    start,
    steps,
    T,
    B,
    w_stride,
    b_n_stride,
    lengths_stride,
    h_tap_stride,
    H: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    REVERSE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    replica, rows, cols, there = tile(B, H, ROWS, COLS)
    real: tl.constexpr = h.dtype.element_ty
    stored: tl.constexpr = y.dtype.element_ty
    unit, gate = rows[:, None] * H + cols[None, :], rows[:, None] * (3 * H) + cols[None, :]
    length = lengths_of(lengths, replica, lengths_stride, rows, B, T)
    if w is not None:
        w += replica * w_stride
        w_r = load_square(w, cols, cols, H, 1, H)
        w_z = load_square(w + H * H, cols, cols, H, 1, H)
        w_n = load_square(w + 2 * H * H, cols, cols, H, 1, H)
    bias = tl.zeros_like(cols).to(real)
    if b_n is not None:
        bias = tl.load(b_n + replica * b_n_stride + cols, cols < H, 0).to(real)
    state = replica * B * H + unit
    h_t = tl.load(h + state, there, 0)
    t = T - 1 - start if REVERSE else start
    x_r, x_z, x_n = load_3(x + (replica * T + t) * B * (3 * H) + gate, there, H)
    for s in range(start, start + steps):
        t = T - 1 - s if REVERSE else s
        step = (replica * T + t) * B
        r, z, n = x_r.to(real), x_z.to(real), x_n.to(real)
        more = there & (s + 1 < start + steps)  # the next step's, before they are needed
        x_r, x_z, x_n = load_3(x + (step + (-B if REVERSE else B)) * (3 * H) + gate, more, H)
        h_n = tl.zeros_like(h_t) + bias[None, :]
        if w is not None:
            a = h_t.to(stored)
            r = multiply_add(a, w_r, r, PRECISION)
            z = multiply_add(a, w_z, z, PRECISION)
            h_n = multiply_add(a, w_n, h_n, PRECISION)
        else:
            p_r, p_z, p_n = load_3(product + replica * B * (3 * H) + gate, there, H)
            r, z, h_n = r + p_r.to(real), z + p_z.to(real), h_n + p_n.to(real)
        r, z = sigmoid(r), sigmoid(z)
        n = tanh(n + r * h_n, w is None)
        h_new = (1 - z) * n + z * h_t
        if h_tap is not None:
            tap = tl.load(h_tap + replica * h_tap_stride + t.to(tl.int64) * B * H + unit, there, 0)
            h_new += tap.to(real)
        if lengths is not None:
            valid = (t < length)[:, None]
            h_t, h_new = tl.where(valid, h_new, h_t), tl.where(valid, h_new, 0.0)
        else:
            h_t = h_new
        tl.store(y + step * H + unit, h_new.to(stored), there)
        if saved is not None:
            gates = saved + step * (4 * H) + rows[:, None] * (4 * H) + cols[None, :]
            tl.store(gates, r.to(stored), there)
            tl.store(gates + H, z.to(stored), there)
            tl.store(gates + 2 * H, n.to(stored), there)
            tl.store(gates + 3 * H, h_n.to(stored), there)
    tl.store(h + state, h_t, there)
    if operand is not None:
        tl.store(operand + state, h_t.to(stored), there)


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=SMALL)
def backward(
    saved,  # (R, count, B, 4H): as `forward` saves, of the steps from `first`; or with the arguments of r, z
    # and, beside the part from h, of n
    y,  # (R, T, B, H)
    h_0,  # (R, B, H)
    grad_y,  # (R, T, B, H), or None
    product,  # (R, B, H): the gradients of the last step's gates times W_hh; None to multiply here
    w,  # (R, 3H, H), or None
    lengths,  # (R, B), or None
    h_keep,  # (R, T) or (R, T, B), or None; so is c_keep
    c_keep,
    dh,  # (R, B, H): of the state after the steps from `start` on, then of the one before these
    d_gates,  # (R, count, B, 4H): of the arguments of n, r and z, then of W_hn h + b_hn
    d_h_tap,  # (R, T, B, H), or None
    start,  # steps are counted from the end
    steps,
    first,
    count,
    T,
    B,
    w_stride,
    lengths_stride,
    h_keep_stride,
    c_keep_stride,
    H: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    REVERSE: tl.constexpr,
    ACTIVE: tl.constexpr,  # `saved` holds the gates
    H_KEEP_PER_ROW: tl.constexpr,
    C_KEEP_PER_ROW: tl.constexpr,
    PRECISION: tl.constexpr,
):
    replica, rows, cols, there = tile(B, H, ROWS, COLS)
    real: tl.constexpr = dh.dtype.element_ty
    stored: tl.constexpr = d_gates.dtype.element_ty
    unit, gate = rows[:, None] * H + cols[None, :], rows[:, None] * (4 * H) + cols[None, :]
    length = lengths_of(lengths, replica, lengths_stride, rows, B, T)
    if w is not None:
        w += replica * w_stride
        w_r = load_square(w, cols, cols, H, H, 1)
        w_z = load_square(w + H * H, cols, cols, H, H, 1)
        w_n = load_square(w + 2 * H * H, cols, cols, H, H, 1)
    state = replica * B * H + unit
    dh_t = tl.load(dh + state, there, 0)
    if product is not None:
        back = tl.load(product + state, there, 0).to(real)
        if h_keep is not None:
            last = start - 1 if REVERSE else T - start
            back = scaled(back, keep_at(h_keep, replica, last, rows, B, h_keep_stride, H_KEEP_PER_ROW))
        dh_t += back
    begins = length - 1 if REVERSE else tl.zeros_like(length)
    h_first = tl.load(h_0 + state, there, 0).to(real)
    t = start if REVERSE else T - 1 - start
    valid = there & (t < length)[:, None]
    s_r, s_z, s_n, s_h = load_4(saved + (replica * count + t - first) * B * (4 * H) + gate, valid, H)
    for s in range(start, start + steps):
        t = s if REVERSE else T - 1 - s
        step = (replica * T + t) * B * H + unit
        gates = (replica * count + t - first) * B * (4 * H) + gate
        valid = there & (t < length)[:, None]
        r, z, n, h_n = s_r.to(real), s_z.to(real), s_n.to(real), s_h.to(real)
        ahead = t + 1 if REVERSE else t - 1  # the next step's, before they are needed
        there_ahead = there & (ahead < length)[:, None]
        more = there_ahead & (s + 1 < start + steps)
        s_r, s_z, s_n, s_h = load_4(saved + gates + (B if REVERSE else -B) * (4 * H), more, H)
        h_ahead = tl.load(y + step + (B if REVERSE else -B) * H, there_ahead & (s + 1 < T), 0).to(real)
        h_before = tl.where((t == begins)[:, None], h_first, h_ahead)
        if not ACTIVE:
            r, z = sigmoid(r), sigmoid(z)
            n = tanh(n + r * h_n, w is None)
        if grad_y is not None:
            dh_t += tl.load(grad_y + step, valid, 0).to(real)
        if d_h_tap is not None:
            tl.store(d_h_tap + step, tl.where(valid, dh_t, 0.0).to(stored), there)
        d_n = dh_t * (1 - z) * (1 - n * n)
        d_z = tl.where(valid, dh_t * (h_before - n) * z * (1 - z), 0.0).to(stored)
        d_r = tl.where(valid, d_n * h_n * r * (1 - r), 0.0).to(stored)
        d_h_n = tl.where(valid, d_n * r, 0.0).to(stored)
        tl.store(d_gates + gates, tl.where(valid, d_n, 0.0).to(stored), there)
        tl.store(d_gates + gates + H, d_r, there)
        tl.store(d_gates + gates + 2 * H, d_z, there)
        tl.store(d_gates + gates + 3 * H, d_h_n, there)
        d_carry = dh_t * z
        if c_keep is not None:
            d_carry = scaled(d_carry, keep_at(c_keep, replica, t, rows, B, c_keep_stride, C_KEEP_PER_ROW))
        if w is not None:
            back = tl.zeros_like(dh_t)
            keep = 1.0
            if h_keep is not None:
                keep = keep_at(h_keep, replica, t, rows, B, h_keep_stride, H_KEEP_PER_ROW)
            open_steps = 1
            if h_keep is not None and not H_KEEP_PER_ROW:
                open_steps = (keep != 0).to(tl.int32)
            for _ in range(open_steps):  # see the LSTM
                back = multiply_add(d_r, w_r, back, PRECISION)
                back = multiply_add(d_z, w_z, back, PRECISION)
                back = multiply_add(d_h_n, w_n, back, PRECISION)
            if h_keep is not None:
                back = scaled(back, keep)
            d_carry += back
        dh_t = tl.where(valid, d_carry, dh_t)
    tl.store(dh + state, dh_t, there)
