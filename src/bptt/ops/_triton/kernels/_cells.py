"""What the kernels of every recurrence share.

In all of them a program owns some rows of one replica for all the steps it is given: with every hidden
unit if it multiplies with `w` itself, with some if `product` holds what torch multiplied for one step.
"""

import triton
import triton.language as tl

# Another T, another batch or a part of a larger tensor compiles nothing again.
SIZES = ["start", "steps", "first", "count", "T", "B"]
SIZES += [f"{name}_stride" for name in ("w", "b_n", "lengths", "h_tap", "c_tap", "h_keep", "c_keep")]
SMALL = ["w", "b_n", "lengths", "h_keep", "c_keep", "h_0", "c_0"]


@triton.jit
def tile(B, H: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr):
    """This program's replica, rows and hidden units, and which of them there are."""
    tiles = tl.cdiv(B, ROWS)
    replica = tl.program_id(0) // tiles
    rows = tl.program_id(0) % tiles * ROWS + tl.arange(0, ROWS)
    cols = tl.program_id(1) * COLS + tl.arange(0, COLS)
    return replica.to(tl.int64), rows, cols, (rows < B)[:, None] & (cols < H)[None, :]


@triton.jit
def load_3(gates, there, H: tl.constexpr):
    """What three gates have, one after the other."""
    return tl.load(gates, there, 0), tl.load(gates + H, there, 0), tl.load(gates + 2 * H, there, 0)


@triton.jit
def load_4(gates, there, H: tl.constexpr):
    """What four gates have, one after the other."""
    a, b, c = load_3(gates, there, H)
    return a, b, c, tl.load(gates + 3 * H, there, 0)


@triton.jit
def load_square(w, k, n, H: tl.constexpr, K_STRIDE: tl.constexpr, N_STRIDE: tl.constexpr):
    """The K × N operand of a product, out of one gate's H × H weights."""
    there = (k < H)[:, None] & (n < H)[None, :]
    return tl.load(w + k[:, None] * K_STRIDE + n[None, :] * N_STRIDE, there, 0)


@triton.jit
def multiply_add(a, b, c, PRECISION: tl.constexpr):
    """a b + c, summed in the dtype of c."""
    if PRECISION == "wide":  # the interpreter multiplies the bits of bfloat16
        c = tl.dot(a.to(c.dtype), b.to(c.dtype), c, input_precision="ieee")
    else:
        c = tl.dot(a, b, c, input_precision=PRECISION)
    return c


@triton.jit
def lengths_of(lengths, replica, stride, rows, B, T):
    """The steps that each row has."""
    length = tl.zeros_like(rows) + T
    if lengths is not None:
        length = tl.load(lengths + replica * stride + rows, rows < B, 0).to(tl.int32)
    return length


@triton.jit
def sigmoid(x):
    return 1 / (1 + tl.exp(-x))


@triton.jit
def tanh(x, EXACT: tl.constexpr):
    if EXACT:  # expm1 after Kahan, where 1 - exp would cancel
        a = -2 * tl.abs(x)
        u = tl.exp(a)
        small = a > -0.5
        log = tl.log(tl.where(small & (u != 1), u, 0.5))
        e = tl.where(small, tl.where(u == 1, a, (u - 1) * a / log), u - 1)
        y = tl.where(x < 0, e, -e) / (2 + e)
    else:
        y = 2 / (1 + tl.exp(-2 * x)) - 1
    return y


@triton.jit
def keep_at(keep, replica, t, rows, B, replica_stride, PER_ROW: tl.constexpr):
    """The factor on a path at step t: of each row, or one for all."""
    if PER_ROW:
        factor = tl.load(keep + replica * replica_stride + t * B + rows, rows < B, 0)[:, None]
    else:
        factor = tl.load(keep + replica * replica_stride + t)
    return factor


@triton.jit
def scaled(gradient, keep):
    """A blocked path carries nothing, not even 0 × inf."""
    return tl.where(keep == 0, 0.0, gradient * keep)
