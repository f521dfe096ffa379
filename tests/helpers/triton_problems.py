"""Problems for the Triton kernels, in the interpreter and on a GPU."""

import torch

from helpers.problems import gradients, leaves, run

# float32 is computed in one kernel where TF32 is allowed, which the interpreter does not round to.
WAYS = {
    "float64": (torch.float64, False, 1e-12),
    "float32": (torch.float32, False, 1e-5),
    "tf32": (torch.float32, True, 1e-5),
    "float16": (torch.float16, False, 4e-3),
    "bfloat16": (torch.bfloat16, False, 3e-2),
}
# lengths, reverse, memory, keeps, taps, bias; T and B are odd, once more than one program's rows
CASES = [
    (False, False, "fast", None, False, True, 5, 3),
    (True, True, "fast", "T", True, True, 3, 5),
    (True, False, "low", "TB", True, False, 5, 17),
    (False, True, "low", "T", False, True, 1, 1),
    (True, False, "fast", "TB", False, True, 7, 2),
]


def problem(op, H, dtype, case, seed, device="cpu"):
    """Arguments that the dtype holds exactly, of gradients that do not explode."""
    lengths, reverse, memory, keep, taps, bias, T, B = case
    generator = torch.Generator().manual_seed(seed)
    a = leaves(op, T, B, 3, H, bias=bias, seed=seed)
    options = {"reverse": reverse, "memory": memory}
    if taps:
        for name in ("h_tap", "c_tap") if op == "lstm" else ("h_tap",):
            a[name] = torch.randn(T, B, H, generator=generator, dtype=torch.float64)
    if lengths:
        options["lengths"] = torch.randint(1, T + 1, (B,), generator=generator)
    if keep:
        shape = (T,) if keep == "T" else (T, B)
        for name in ("h_keep", "c_keep") if op != "rnn" else ("h_keep",):
            coins = torch.rand(shape, generator=generator)
            options[name] = coins.where(coins > 0.4, 0)
    if op == "lstm":
        options["return_cells"] = True
    exact = {name: tensor.detach() / (H**0.5 if name.startswith("w") else 1) for name, tensor in a.items()}
    options = {n: o.to(device) if isinstance(o, torch.Tensor) else o for n, o in options.items()}
    return {name: tensor.to(dtype).to(device) for name, tensor in exact.items()}, options


def answer(backend, op, a, options):
    """The outputs by name, and the gradients of a random combination of them."""
    a = {name: tensor.clone().requires_grad_() for name, tensor in a.items()}
    taps = {name: a[name] for name in ("h_tap", "c_tap") if name in a}
    state = {name: a[name].float() if name == "c_0" and a[name].itemsize == 2 else a[name] for name in a}
    rest = {name: tensor for name, tensor in state.items() if name not in taps}
    outputs = run(op, rest, backend=backend, **taps, **options)
    return outputs, gradients({n: t.double() for n, t in outputs.items()}, a)


def assert_near_the_reference(found, op, a, options, tolerance):
    """An answer is that of the reference in float64, to a tolerance and what 16 bits cost the reference."""
    expected = answer("reference", op, {name: tensor.double() for name, tensor in a.items()}, options)
    rounded = answer("reference", op, a, options) if a["x"].itemsize == 2 else expected
    for ours, exact, theirs in zip(found, expected, rounded, strict=True):
        for name, tensor in exact.items():
            scale, error = tensor.abs().max().clamp(min=1), (ours[name] - tensor).abs().max()
            their_error = (theirs[name] - tensor).abs().max()
            assert error <= tolerance * scale + their_error, f"{name}: error {error:.2e}"
