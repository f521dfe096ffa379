"""How well colours can be told apart."""

import re

import numpy as np


def luminance(colour: str) -> float:
    """WCAG's relative luminance of `#rrggbb` or `rgb(…)`."""
    if colour.startswith("#"):
        parts = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    else:
        parts = [int(part) for part in re.findall(r"\d+", colour)]
    assert len(parts) == 3, colour
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (p / 255 for p in parts)]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, two: str) -> float:
    """WCAG's contrast: 1 for equal colours, 21 for black on white."""
    low, high = sorted((luminance(one), luminance(two)))
    return (high + 0.05) / (low + 0.05)


# How colours look to those who lack one kind of cone (Machado et al. 2009), in linear RGB.
VISION = {
    "usual": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}


def lab(colours, vision):
    """CIELAB of sRGB colours from 0 to 1 as someone sees them."""
    colours = np.asarray(colours)
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(vision), 0, 1)
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = seen @ matrix.T / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def apart(colours, page):
    """The least difference (ΔE) of each colour from the others, the page and the map, in anyone's eyes."""
    from plotly.colors import sample_colorscale, unlabel_rgb

    own = [[int(each[at : at + 2], 16) / 255 for at in (1, 3, 5)] for each in (*colours, page)]
    ramp = [
        np.array(unlabel_rgb(each)) / 255 for each in sample_colorscale("Cividis", np.linspace(0, 1, 101))
    ]
    least = np.inf
    for vision in VISION.values():
        mine, scale = lab(own, vision), lab(ramp, vision)
        for at in range(len(colours)):
            others = np.concatenate([np.delete(mine, at, axis=0), scale])
            least = min(least, np.linalg.norm(others - mine[at], axis=1).min())
    return least
