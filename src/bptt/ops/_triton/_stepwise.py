"""Step by step: for each a product of torch's and a pointwise kernel, all recorded in a CUDA graph."""

from types import ModuleType
from typing import Any

import torch

from ._graphs import Arguments, Graphs
from ._launch import launch
from ._plan import Plan, interpreted

_READ = ("weights", "x", "b_n", "lengths", "h_tap", "c_tap", "h", "c", "operand")
_WRITTEN = ("h", "c", "y", "cells", "saved")
_READ_BACK = ("weights", "saved", "y", "cells", "h_0", "c_0", "grad_y", "grad_cells", "lengths")
_READ_BACK += ("h_keep", "c_keep", "dh", "dc")
_WRITTEN_BACK = ("dh", "dc", "product", "d_gates", "d_h_tap", "d_c_tap")
_graphs = Graphs()


def forward(kernels: ModuleType, how: Plan, arguments: Arguments) -> None:
    """Run the steps forward; `weights` is W_hh, `operand` h as torch multiplies it, `product` has room."""
    _run(_steps, kernels.forward, how, arguments, _READ, _WRITTEN)


def backward(kernels: ModuleType, how: Plan, arguments: Arguments) -> None:
    """Run steps back; what W_hh gives the state before the last of them, keep aside, stays in `product`."""
    _run(_steps_back, kernels.backward, how, arguments, _READ_BACK, _WRITTEN_BACK)


def _run(
    work: Any, kernel: Any, how: Plan, arguments: Arguments, read: tuple[str, ...], written: tuple[str, ...]
) -> None:
    known = {*kernel.arg_names, "weights"}
    needed = {name: value for name, value in arguments.items() if name in known}
    needed |= {"w": None, "kernel": kernel, "how": how}
    # Parts of a sequence share what others have written; those who save memory have no use for buffers.
    if arguments["steps"] < arguments["T"] or interpreted():
        work(needed)
        return
    read, written = (tuple(name for name in names if name in known) for names in (read, written))
    _graphs.run(work, needed, arguments["weights"].device, inputs=read, outputs=written)


def _steps(a: Arguments) -> None:
    for s in range(a["start"], a["start"] + a["steps"]):
        torch.bmm(a["operand"], a["weights"].mT, out=a["product"])
        launch(a["kernel"], a["how"], a | {"start": s, "steps": 1})


def _steps_back(a: Arguments) -> None:
    for s in range(a["start"], a["start"] + a["steps"]):
        product = a["product"] if s > 0 else None
        launch(a["kernel"], a["how"], a | {"product": product, "start": s, "steps": 1})
        t = s if a["REVERSE"] else a["T"] - 1 - s
        to_h = a["d_gates"][:, t - a["first"], :, -a["weights"].shape[1] :]
        torch.bmm(to_h, a["weights"], out=a["product"])
