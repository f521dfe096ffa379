"""The LSTM: its steps forward, and back."""

import triton
import triton.language as tl

from ._cells import (
    SIZES,
    SMALL,
    keep_at,
    lengths_of,
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
    x,  # (R, T, B, 4H): W_ih x + b_ih + b_hh
    product,  # (R, B, 4H): W_hh h for one step; None to multiply here
    w,  # (R, 4H, H), or None
    lengths,  # (R, B), or None
    h_tap,  # (R, T, B, H), or None; so is c_tap
    c_tap,
    h,  # (R, B, H), after the steps before `start`, then after these; so is c
    c,
    operand,  # (R, B, H): h as the next product reads it, or None
    y,  # (R, T, B, H)
    cells,  # (R, T, B, H), or None
    saved,  # (R, T, B, 4H): the gates, or None
    start,
    steps,
    T,
    B,
    w_stride,
    lengths_stride,
    h_tap_stride,
    c_tap_stride,
    H: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    REVERSE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    replica, rows, cols, there = tile(B, H, ROWS, COLS)
    real: tl.constexpr = c.dtype.element_ty
    stored: tl.constexpr = y.dtype.element_ty
    unit, gate = rows[:, None] * H + cols[None, :], rows[:, None] * (4 * H) + cols[None, :]
    length = lengths_of(lengths, replica, lengths_stride, rows, B, T)
    if w is not None:
        w += replica * w_stride
        w_i = load_square(w, cols, cols, H, 1, H)
        w_f = load_square(w + H * H, cols, cols, H, 1, H)
        w_g = load_square(w + 2 * H * H, cols, cols, H, 1, H)
        w_o = load_square(w + 3 * H * H, cols, cols, H, 1, H)
    state = replica * B * H + unit
    h_t = tl.load(h + state, there, 0).to(stored)
    c_t = tl.load(c + state, there, 0)
    t = T - 1 - start if REVERSE else start
    x_i, x_f, x_g, x_o = load_4(x + (replica * T + t) * B * (4 * H) + gate, there, H)
    for s in range(start, start + steps):
        t = T - 1 - s if REVERSE else s
        step = (replica * T + t) * B
        i, f, g, o = x_i.to(real), x_f.to(real), x_g.to(real), x_o.to(real)
        more = there & (s + 1 < start + steps)  # the next step's, before they are needed
        x_i, x_f, x_g, x_o = load_4(x + (step + (-B if REVERSE else B)) * (4 * H) + gate, more, H)
        if w is not None:
            i = multiply_add(h_t, w_i, i, PRECISION)
            f = multiply_add(h_t, w_f, f, PRECISION)
            g = multiply_add(h_t, w_g, g, PRECISION)
            o = multiply_add(h_t, w_o, o, PRECISION)
        else:
            p_i, p_f, p_g, p_o = load_4(product + replica * B * (4 * H) + gate, there, H)
            i, f, g, o = i + p_i.to(real), f + p_f.to(real), g + p_g.to(real), o + p_o.to(real)
        i, f, g, o = sigmoid(i), sigmoid(f), tanh(g, w is None), sigmoid(o)
        c_new = f * c_t + i * g
        if c_tap is not None:
            c_new += tl.load(c_tap + replica * c_tap_stride + t.to(tl.int64) * B * H + unit, there, 0)
        h_new = (o * tanh(c_new, w is None)).to(stored)
        if h_tap is not None:
            tap = tl.load(h_tap + replica * h_tap_stride + t.to(tl.int64) * B * H + unit, there, 0)
            h_new = (h_new.to(real) + tap.to(real)).to(stored)
        if lengths is not None:
            valid = (t < length)[:, None]
            h_t, c_t = tl.where(valid, h_new, h_t), tl.where(valid, c_new, c_t)
            h_new, c_new = tl.where(valid, h_new, 0.0), tl.where(valid, c_new, 0.0)
        else:
            h_t, c_t = h_new, c_new
        tl.store(y + step * H + unit, h_new, there)
        if cells is not None:
            tl.store(cells + step * H + unit, c_new, there)
        if saved is not None:
            gates = saved + step * (4 * H) + gate
            tl.store(gates, i.to(stored), there)
            tl.store(gates + H, f.to(stored), there)
            tl.store(gates + 2 * H, g.to(stored), there)
            tl.store(gates + 3 * H, o.to(stored), there)
    tl.store(h + state, h_t.to(real), there)
    tl.store(c + state, c_t, there)
    if operand is not None:
        tl.store(operand + state, h_t, there)


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=SMALL)
def backward(
    saved,  # (R, count, B, 4H): the gates of the steps from `first`, or what they are activations of
    cells,  # (R, T, B, H)
    c_0,  # (R, B, H)
    grad_y,  # (R, T, B, H), or None; so is grad_cells
    grad_cells,
    product,  # (R, B, H): the gradients of the last step's gates times W_hh; None to multiply here
    w,  # (R, 4H, H), or None
    lengths,  # (R, B), or None
    h_keep,  # (R, T) or (R, T, B), or None; so is c_keep
    c_keep,
    dh,  # (R, B, H): of the state after the steps from `start` on, then of the one before these; so is dc
    dc,
    d_gates,  # (R, count, B, 4H)
    d_h_tap,  # (R, T, B, H), or None; so is d_c_tap
    d_c_tap,
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
    real: tl.constexpr = dc.dtype.element_ty
    stored: tl.constexpr = d_gates.dtype.element_ty
    unit, gate = rows[:, None] * H + cols[None, :], rows[:, None] * (4 * H) + cols[None, :]
    length = lengths_of(lengths, replica, lengths_stride, rows, B, T)
    if w is not None:
        w += replica * w_stride
        w_i = load_square(w, cols, cols, H, H, 1)
        w_f = load_square(w + H * H, cols, cols, H, H, 1)
        w_g = load_square(w + 2 * H * H, cols, cols, H, H, 1)
        w_o = load_square(w + 3 * H * H, cols, cols, H, H, 1)
    state = replica * B * H + unit
    dh_t = tl.load(dh + state, there, 0)
    dc_t = tl.load(dc + state, there, 0)
    if product is not None:
        back = tl.load(product + state, there, 0).to(real)
        if h_keep is not None:
            last = start - 1 if REVERSE else T - start
            back = scaled(back, keep_at(h_keep, replica, last, rows, B, h_keep_stride, H_KEEP_PER_ROW))
        dh_t += back
    begins = length - 1 if REVERSE else tl.zeros_like(length)
    c_first = tl.load(c_0 + state, there, 0)
    t = start if REVERSE else T - 1 - start
    valid = there & (t < length)[:, None]
    s_i, s_f, s_g, s_o = load_4(saved + (replica * count + t - first) * B * (4 * H) + gate, valid, H)
    c_t = tl.load(cells + (replica * T + t) * B * H + unit, valid, 0)
    for s in range(start, start + steps):
        t = s if REVERSE else T - 1 - s
        step = (replica * T + t) * B * H + unit
        gates = (replica * count + t - first) * B * (4 * H) + gate
        valid = there & (t < length)[:, None]
        i, f, g, o = s_i.to(real), s_f.to(real), s_g.to(real), s_o.to(real)
        ahead = t + 1 if REVERSE else t - 1  # the next step's, before they are needed
        there_ahead = there & (ahead < length)[:, None]
        more = there_ahead & (s + 1 < start + steps)
        s_i, s_f, s_g, s_o = load_4(saved + gates + (B if REVERSE else -B) * (4 * H), more, H)
        c_ahead = tl.load(cells + step + (B if REVERSE else -B) * H, there_ahead & (s + 1 < T), 0)
        c_before = tl.where((t == begins)[:, None], c_first, c_ahead)
        if not ACTIVE:
            i, f, g, o = sigmoid(i), sigmoid(f), tanh(g, w is None), sigmoid(o)
        if grad_y is not None:
            dh_t += tl.load(grad_y + step, valid, 0).to(real)
        if d_h_tap is not None:
            tl.store(d_h_tap + step, tl.where(valid, dh_t, 0.0).to(stored), there)
        tanh_c = tanh(c_t, w is None)
        d_cell = dc_t + dh_t * o * (1 - tanh_c * tanh_c)
        if grad_cells is not None:
            d_cell += tl.load(grad_cells + step, valid, 0)
        if d_c_tap is not None:
            tl.store(d_c_tap + step, tl.where(valid, d_cell, 0.0), there)
        d_i = tl.where(valid, d_cell * g * i * (1 - i), 0.0).to(stored)
        d_f = tl.where(valid, d_cell * c_before * f * (1 - f), 0.0).to(stored)
        d_g = tl.where(valid, d_cell * i * (1 - g * g), 0.0).to(stored)
        d_o = tl.where(valid, dh_t * tanh_c * o * (1 - o), 0.0).to(stored)
        tl.store(d_gates + gates, d_i, there)
        tl.store(d_gates + gates + H, d_f, there)
        tl.store(d_gates + gates + 2 * H, d_g, there)
        tl.store(d_gates + gates + 3 * H, d_o, there)
        d_carry = d_cell * f
        if c_keep is not None:
            d_carry = scaled(d_carry, keep_at(c_keep, replica, t, rows, B, c_keep_stride, C_KEEP_PER_ROW))
        back = tl.zeros_like(dh_t)
        if w is not None:
            keep = 1.0
            if h_keep is not None:
                keep = keep_at(h_keep, replica, t, rows, B, h_keep_stride, H_KEEP_PER_ROW)
            open_steps = 1
            if h_keep is not None and not H_KEEP_PER_ROW:
                open_steps = (keep != 0).to(tl.int32)
            for _ in range(open_steps):  # a branch around products makes the assembler spill every register
                back = multiply_add(d_i, w_i, back, PRECISION)
                back = multiply_add(d_f, w_f, back, PRECISION)
                back = multiply_add(d_g, w_g, back, PRECISION)
                back = multiply_add(d_o, w_o, back, PRECISION)
            if h_keep is not None:
                back = scaled(back, keep)
        dh_t = tl.where(valid, back, dh_t)
        dc_t = tl.where(valid, d_carry, dc_t)
        c_t = c_ahead
    tl.store(dh + state, dh_t, there)
    tl.store(dc + state, dc_t, there)
