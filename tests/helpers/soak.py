"""Very many short calls of the ops, in a process of its own: `python -m helpers.soak CALLS [--leak]`.

Prints one JSON object: the calls of each kind, and what the process holds after a warm-up of 50,000 calls and
at the end. It expects a pool of bounded size, and an allocator whose large blocks go back to the system:
BPTT_POOL_BYTES and MALLOC_MMAP_THRESHOLD_.
"""

import gc
import json
import os
import random
import sys
import weakref
from collections import Counter
from itertools import pairwise
from pathlib import Path

import torch

from bptt.ops import _shared_library
from bptt.ops._pool import pool
from helpers.problems import leaves, run

WARM_UP = 50_000
CASES = 600
LONG_EVERY = 1_000  # one call in so many is large enough for the pool of buffers
HELD = Path("/proc/self/statm")

KINDS = {"backward": 0.21, "dropped": 0.02, "refused": 0.02, "stopped": 0.001}  # the others are forward alone


class StopError(Exception):
    """What a hook throws in the middle of a backward pass."""


def stop(_):
    raise StopError


def sizes(draw, long):
    """T, B, I and H."""
    if long:
        return draw.randint(60, 120), 16, draw.randint(1, 40), draw.randint(60, 90)
    return draw.randint(1, 4), draw.randint(1, 3), draw.randint(1, 3), draw.choice((1, 2, 3, 4, 5, 8, 9, 17))


def case(draw, number, *, long=False):
    """An op, its leaves, the same without gradients, and options that may go with them."""
    op = draw.choice(("lstm", "gru", "rnn"))
    T, B, I, H = sizes(draw, long)
    dtype = draw.choice((torch.float32, torch.float64))
    a = leaves(op, T, B, I, H, bias=draw.random() < 0.8, dtype=dtype, seed=number)
    frozen = {name: tensor.detach() for name, tensor in a.items()}
    keeps = [torch.rand(T, dtype=dtype), torch.rand(T, B).round()]
    lengths = torch.tensor([draw.randint(1, T) for _ in range(B)])
    return op, a, frozen, keeps, lengths


def options(draw, op, keeps, lengths):
    """Some of what a call may be asked."""
    chosen = {"memory": "low" if draw.random() < 0.25 else "fast", "reverse": draw.random() < 0.3}
    if draw.random() < 0.15:
        chosen["lengths"] = lengths
    if draw.random() < 0.15:
        chosen["h_keep"] = draw.choice(keeps)
    if op != "rnn" and draw.random() < 0.1:
        chosen["c_keep"] = draw.choice(keeps)
    if op == "lstm" and draw.random() < 0.2:
        chosen["return_cells"] = True
    return chosen


def spoiled(draw, frozen, asked):
    """The same call with a shape, length, keep or dtype that no op takes."""
    x = frozen["x"]
    wrong = draw.choice(("x", "w_hh", "lengths", "h_keep", "dtype"))
    if wrong == "x":
        return frozen | {"x": torch.cat([x, x], 2)}, asked
    if wrong == "w_hh":
        return frozen | {"w_hh": frozen["w_hh"][:, :0]}, asked
    if wrong == "dtype":
        return frozen | {"w_ih": frozen["w_ih"].half()}, asked
    if wrong == "lengths":
        return frozen, asked | {"lengths": torch.full((x.shape[1],), len(x) + 1)}
    return frozen, asked | {"h_keep": torch.full((len(x),), 2.0)}


def call(draw, kind, op, a, frozen, keeps, lengths):
    """One call of this kind."""
    asked = options(draw, op, keeps, lengths)
    if kind == "forward":
        run(op, frozen, **asked)
    elif kind == "refused":
        wrong, asked = spoiled(draw, frozen, asked)
        try:
            run(op, wrong, **asked)
        except (TypeError, ValueError):
            return
        raise AssertionError(f"{op} took {asked}")
    else:
        out = run(op, a, **asked)
        if kind == "dropped":
            return
        if kind == "stopped":
            out["y"].register_hook(stop)
        try:
            torch.autograd.grad(out["y"].sum() + out["h_n"].sum(), a.values())
        except StopError:
            return
        if kind == "stopped":
            raise AssertionError("the hook was not called")


def held():
    """What the process holds: resident bytes of its own, objects, and what of the pool is free and lent."""
    gc.collect()
    free = {"buffers": len(pool._free), "idle": pool.idle_bytes}
    pool._free.clear()
    gc.collect()
    _, resident, shared, *_ = map(int, HELD.read_text().split())
    return free | {
        # Not the pages of files, which the system drops and reads again as it likes.
        "resident": (resident - shared) * os.sysconf("SC_PAGE_SIZE"),
        "objects": len(gc.get_objects()),
        "lent": len(weakref.finalize._registry),
        "libraries": _shared_library.library.cache_info().currsize,
    }


def main(calls, leak):
    draw = random.Random(0)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    short = [case(draw, number) for number in range(CASES)]
    long = [case(draw, number, long=True) for number in range(12)]
    bounds = [0.0]
    for share in KINDS.values():
        bounds.append(bounds[-1] + share)
    gc.freeze()  # what is there already need not be searched again and again
    told, hoard, done = [], [], Counter()
    for number in range(1, calls + 1):
        value = draw.random()
        kind = next(
            (kind for kind, (low, high) in zip(KINDS, pairwise(bounds), strict=True) if low <= value < high),
            "forward",
        )
        call(draw, kind, *draw.choice(long if number % LONG_EVERY == 0 else short))
        done[kind] += 1
        if leak:
            hoard.append(torch.zeros(16))
        if number in (WARM_UP, calls):
            told.append(held())
    sys.stdout.write(json.dumps({"calls": done, "held": told}))


if __name__ == "__main__":
    main(int(sys.argv[1]), "--leak" in sys.argv)
