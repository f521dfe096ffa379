"""A figure of the page: what plotly draws, and the same in words and in a table."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._tables import Table


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure.

    Attributes:
        title: what is drawn.
        caption: how to read it.
        alt: what is seen, for those who do not see it.
        data, layout: plotly's, without colours; every trace's `meta` has its `arm` and `role`.
        table: values of the figure.
        layer: the key of the layer it is about, if it is about one.
    """

    title: str
    caption: str
    alt: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    table: Table
    layer: str | None = None


def rounded(values: np.ndarray, digits: int = 5) -> np.ndarray:
    """The values with so many significant digits, which is all a figure can show."""
    return np.array([float(f"{value:.{digits - 1}e}") for value in np.ravel(values)]).reshape(
        np.shape(values)
    )


def sampled(n: int, most: int) -> np.ndarray:
    """At most so many of the places 0 … n − 1, evenly spaced, first and last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))
