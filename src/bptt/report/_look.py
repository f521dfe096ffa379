"""How an arm looks everywhere: a colour, and a dash and a marker that tell it apart without the colour."""

from dataclasses import dataclass

# Okabe & Ito's colours, told apart by every common kind of colour vision. Yellow is left out (too faint on
# white); the two blues change places in the dark, where the deep one is too faint; black becomes near-white.
_LIGHT = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#1A1A1A")
_DARK = ("#56B4E9", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#0072B2", "#F0F0F0")
_DASHES = ("solid", "dash", "dot", "dashdot")
_MARKERS = ("circle", "square", "diamond", "triangle-up", "triangle-down")


@dataclass(frozen=True)
class Look:
    """One arm's appearance; dash and marker have plotly's names."""

    light: str
    dark: str
    dash: str
    marker: str


def look(index: int) -> Look:
    """The appearance of the arm at `index`; its three parts together repeat after 140 arms."""
    return Look(
        _LIGHT[index % len(_LIGHT)],
        _DARK[index % len(_DARK)],
        _DASHES[index % len(_DASHES)],
        _MARKERS[index % len(_MARKERS)],
    )
