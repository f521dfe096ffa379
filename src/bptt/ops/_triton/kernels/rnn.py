"""The RNN: its steps forward, and back."""

import triton
import triton.language as tl

from ._cells import SIZES, SMALL, keep_at, lengths_of, load_square, multiply_add, scaled, tanh, tile


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=SMALL)
def forward(
    x,  # (R, T, B, H): W_ih x + b_ih + b_hh
    product,  # (R, B, H): W_hh h for one step; None to multiply here
    w,  # (R, H, H), or None
    lengths,  # (R, B), or None
    h_tap,  # (R, T, B, H), or None
    h,  # (R, B, H), after the steps before `start`, then after these
    operand,  # (R, B, H): h as the next product reads it, or None
    y,  # (R, T, B, H)
    saved,  # (R, T, B, H): h before the tap, or None
    start,
    steps,
    T,
    B,
    w_stride,
    lengths_stride,
    h_tap_stride,
    H: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    REVERSE: tl.constexpr,
    RELU: tl.constexpr,
    PRECISION: tl.constexpr,
):
    replica, rows, cols, there = tile(B, H, ROWS, COLS)
    real: tl.constexpr = h.dtype.element_ty
    stored: tl.constexpr = y.dtype.element_ty
    unit = rows[:, None] * H + cols[None, :]
    length = lengths_of(lengths, replica, lengths_stride, rows, B, T)
    if w is not None:
        w_h = load_square(w + replica * w_stride, cols, cols, H, 1, H)
    state = replica * B * H + unit
    h_t = tl.load(h + state, there, 0).to(stored)
    t = T - 1 - start if REVERSE else start
    x_t = tl.load(x + (replica * T + t) * B * H + unit, there, 0)
    for s in range(start, start + steps):
        t = T - 1 - s if REVERSE else s
        step = (replica * T + t) * B * H + unit
        a = x_t.to(real)
        more = there & (s + 1 < start + steps)  # the next step's, before they are needed
        x_t = tl.load(x + step + (-B if REVERSE else B) * H, more, 0)
        if w is not None:
            a = multiply_add(h_t, w_h, a, PRECISION)
        else:
            a += tl.load(product + state, there, 0).to(real)
        h_new = (tl.where(a < 0, 0.0, a) if RELU else tanh(a, w is None)).to(stored)
        if saved is not None:
            tl.store(saved + step, h_new, there)
        if h_tap is not None:
            tap = tl.load(h_tap + replica * h_tap_stride + t.to(tl.int64) * B * H + unit, there, 0)
            h_new = (h_new.to(real) + tap.to(real)).to(stored)
        if lengths is not None:
            valid = (t < length)[:, None]
            h_t, h_new = tl.where(valid, h_new, h_t), tl.where(valid, h_new, 0.0)
        else:
            h_t = h_new
        tl.store(y + step, h_new, there)
    tl.store(h + state, h_t.to(real), there)
    if operand is not None:
        tl.store(operand + state, h_t, there)


@triton.jit(do_not_specialize=SIZES, do_not_specialize_on_alignment=SMALL)
def backward(
    saved,  # (R, T, B, H): h before any tap
    grad_y,  # (R, T, B, H), or None
    product,  # (R, B, H): the gradients of the last step's gates times W_hh; None to multiply here
    w,  # (R, H, H), or None
    lengths,  # (R, B), or None
    h_keep,  # (R, T) or (R, T, B), or None
    dh,  # (R, B, H): of the state after the steps from `start` on, then of the one before these
    d_gates,  # (R, count, B, H): of what φ was applied to
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
    H: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    REVERSE: tl.constexpr,
    RELU: tl.constexpr,
    H_KEEP_PER_ROW: tl.constexpr,
    PRECISION: tl.constexpr,
):
    replica, rows, cols, there = tile(B, H, ROWS, COLS)
    real: tl.constexpr = dh.dtype.element_ty
    stored: tl.constexpr = d_gates.dtype.element_ty
    unit = rows[:, None] * H + cols[None, :]
    length = lengths_of(lengths, replica, lengths_stride, rows, B, T)
    if w is not None:
        w_h = load_square(w + replica * w_stride, cols, cols, H, H, 1)
    state = replica * B * H + unit
    dh_t = tl.load(dh + state, there, 0)
    if product is not None:
        back = tl.load(product + state, there, 0).to(real)
        if h_keep is not None:
            last = start - 1 if REVERSE else T - start
            back = scaled(back, keep_at(h_keep, replica, last, rows, B, h_keep_stride, H_KEEP_PER_ROW))
        dh_t += back
    t = start if REVERSE else T - 1 - start
    s_h = tl.load(saved + (replica * T + t) * B * H + unit, there & (t < length)[:, None], 0)
    for s in range(start, start + steps):
        t = s if REVERSE else T - 1 - s
        step = (replica * T + t) * B * H + unit
        valid = there & (t < length)[:, None]
        h_t = s_h.to(real)
        ahead = t + 1 if REVERSE else t - 1  # the next step's, before they are needed
        more = there & (ahead < length)[:, None] & (s + 1 < start + steps)
        s_h = tl.load(saved + step + (B if REVERSE else -B) * H, more, 0)
        if grad_y is not None:
            dh_t += tl.load(grad_y + step, valid, 0).to(real)
        if d_h_tap is not None:
            tl.store(d_h_tap + step, tl.where(valid, dh_t, 0.0).to(stored), there)
        d_a = tl.where(h_t <= 0, 0.0, dh_t) if RELU else dh_t * (1 - h_t * h_t)
        d_a = tl.where(valid, d_a, 0.0).to(stored)
        tl.store(d_gates + (replica * count + t - first) * B * H + unit, d_a, there)
        back = tl.zeros_like(dh_t)
        if w is not None:
            keep = 1.0
            if h_keep is not None:
                keep = keep_at(h_keep, replica, t, rows, B, h_keep_stride, H_KEEP_PER_ROW)
            open_steps = 1
            if h_keep is not None and not H_KEEP_PER_ROW:
                open_steps = (keep != 0).to(tl.int32)
            for _ in range(open_steps):  # see the LSTM
                back = multiply_add(d_a, w_h, back, PRECISION)
            if h_keep is not None:
                back = scaled(back, keep)
        dh_t = tl.where(valid, back, dh_t)
    tl.store(dh + state, dh_t, there)
