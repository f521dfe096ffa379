"""How values are written on the page of gradient flow."""

from collections.abc import Sequence

import numpy as np

SPECIAL = ("exactly 0", "Inf", "NaN")


def shown(value: float | None) -> str:
    """Four digits; `exactly 0`, `Inf` or `NaN`; a dash for None."""
    if value is None:
        return "—"
    if value == 0:
        return SPECIAL[0]
    if np.isfinite(value):
        return f"{value:.4g}".replace("-", "−")
    return "NaN" if np.isnan(value) else "Inf" if value > 0 else "−Inf"


def exact(value: float) -> str:
    """`1234567`: a step, a lag or a token, which must not be rounded."""
    return f"{value:.15g}"


def with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    """`14.2 (13–15.5)`."""
    return shown(value) + (f" ({shown(interval[0])}–{shown(interval[1])})" if interval else "")


def special(values: np.ndarray) -> dict[str, np.ndarray]:
    """Where the values are exactly 0, infinite, or not a number."""
    return dict(zip(SPECIAL, (values == 0, np.isinf(values), np.isnan(values)), strict=True))


def counted(values: np.ndarray) -> str:
    """`3 values are exactly 0, 1 is NaN.`; nothing where there are none."""
    found = [
        f"{n} {'value is' if n == 1 else 'values are'} {name}"
        for name, where in special(values).items()
        if (n := int(where.sum()))
    ]
    return ", ".join(found) + "." if found else ""


def span(values: np.ndarray) -> str:
    """`1e-05 to 0.3`: the least and the greatest finite value."""
    finite = values[np.isfinite(values)]
    return f"{shown(finite.min())} to {shown(finite.max())}" if finite.size else "no finite value"
