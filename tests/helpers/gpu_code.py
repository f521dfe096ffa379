"""Kernels of the Triton backend compiled for a GPU that need not be there."""

import re
import subprocess
from dataclasses import dataclass

import torch
import triton
from triton import knobs
from triton.backends.compiler import GPUTarget

from bptt.ops._problem import DIFFERENTIABLE, Inputs, Spec
from bptt.ops._triton import _launch, _passes, _stepwise
from helpers.problems import GATES

TYPES = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32", "float64": "fp64", "int64": "i64"}


@dataclass
class Code:
    """What the assembler said of a kernel."""

    shared: int  # bytes of shared memory for a block
    spilled: int  # bytes of registers that went to memory
    registers: int


def launches(monkeypatch, op, dtype, H, *, everything, low=False, keep="T"):
    """(kernel, plan, arguments) of the first launch of a forward pass, and of a backward pass."""
    seen = []
    with monkeypatch.context() as patch:
        for module in (_passes, _stepwise):
            patch.setattr(module, "launch", lambda *launched: seen.append(launched))
        patch.setattr(_stepwise, "interpreted", lambda: True)  # no graph records what is not launched
        a = inputs(op, dtype, H, everything=everything, keep=keep)
        spec = Spec(op, everything, low, "triton", replicas=True)
        out = _passes.forward(spec, a, keep=True, cells=True)
        count = len(seen)
        grads = {"y": out.y, "h_n": out.h_n, "c_n": out.c_n, "cells": out.cells}
        wanted = frozenset(name for name in DIFFERENTIABLE if getattr(a, name) is not None)
        _passes.backward(spec, a, out, grads, wanted)
    return seen[count - 1], seen[-1]


def inputs(op, dtype, H, *, everything, keep, R=2, T=2, B=1, I=1):
    real = torch.promote_types(dtype, torch.float32)
    G, lstm = GATES[op.partition("_")[0]], op == "lstm"

    def zeros(*shape, dtype=dtype):
        return torch.zeros(R, *shape, dtype=dtype)

    def maybe(there, *shape, dtype=dtype):
        return zeros(*shape, dtype=dtype) if there else None

    keeps = {"T": (T,), "TB": (T, B)}[keep]
    return Inputs(
        x=zeros(T, B, I),
        h_0=zeros(B, H),
        c_0=maybe(lstm, B, H, dtype=real),
        w_ih=zeros(G * H, I),
        w_hh=zeros(G * H, H),
        b_ih=zeros(G * H),
        b_hh=zeros(G * H),
        h_tap=maybe(everything, T, B, H),
        c_tap=maybe(everything and lstm, T, B, H, dtype=real),
        lengths=torch.ones(R, B, dtype=torch.int64) if everything else None,
        h_keep=maybe(everything, *keeps, dtype=real),
        c_keep=maybe(everything and op in ("lstm", "gru"), *keeps, dtype=real),
    )


def assemble(kernel, how, arguments, warps, capability, folder):
    """The `Code` of a kernel as launched with these arguments, for a compute capability such as 90."""
    arguments = arguments | {"ROWS": _launch.ROWS, "COLS": how.columns, "PRECISION": how.precision}
    signature, constants, attributes = {}, {}, {}
    for i, parameter in enumerate(kernel.params):
        value = arguments[parameter.name]
        if parameter.is_constexpr or value is None:
            signature[parameter.name] = "constexpr"
            constants[(i,)] = value
        elif isinstance(value, torch.Tensor):
            signature[parameter.name] = "*" + TYPES[str(value.dtype).removeprefix("torch.")]
            if not parameter.do_not_specialize_on_alignment:
                attributes[(i,)] = [["tt.divisibility", 16]]
        else:
            signature[parameter.name] = "i32"
    source = triton.compiler.ASTSource(kernel, signature, constants, attributes)
    compiled = triton.compile(
        source, target=GPUTarget("cuda", capability, 32), options=_launch.options(warps)
    )
    (folder / "kernel.ptx").write_text(compiled.asm["ptx"])
    arch = f"sm_{capability}" + ("a" if capability >= 90 else "")
    told = subprocess.run(
        [knobs.nvidia.ptxas.path, "-v", f"-arch={arch}", folder / "kernel.ptx", "-o", folder / "kernel.o"],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    numbers = (
        re.search(pattern, told)[1] for pattern in (r"(\d+) bytes spill stores", r"Used (\d+) registers")
    )
    return Code(compiled.metadata.shared, *map(int, numbers))
