"""Named random streams: every random number of a run is a function of (seed, name, step)."""

import hashlib

import torch


def stream(seed: int, name: str, step: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for what `name` draws at `step` of the run `seed`.

    No two steps of one stream start alike. Torch's CPU generator keeps 32 bits of its seed, so a step of one
    stream starts like a given step of another with probability 2⁻³², and their next steps then differ again.

    Args:
        seed: the run's seed, any int.
        name: what the numbers are for, such as `"data"` or `"detach"`.
        step: the optimiser step, epoch or index that the draw belongs to, 0 ≤ step < 2³².
        device: where the generator lives. Numbers drawn on the CPU and moved are the same on every device.

    Returns:
        A fresh `torch.Generator`; torch's global generator is not touched.

    Raises:
        TypeError: if seed or step is no int, or name no str.
        ValueError: if step is outside 0 ≤ step < 2³².
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed must be an int, got {type(seed).__name__}")
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, got {type(name).__name__}")
    if isinstance(step, bool) or not isinstance(step, int):
        raise TypeError(f"step must be an int, got {type(step).__name__}")
    if not 0 <= step < 2**32:
        raise ValueError(f"step must satisfy 0 <= step < 2**32, got {step}")
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    origin, stride = (int.from_bytes(digest[i : i + 4], "little") for i in (0, 4))
    # An odd stride maps steps to seeds one to one. Each stream has its own, so that no two walk together.
    return torch.Generator(device).manual_seed((origin + step * (stride | 1)) % 2**32)
