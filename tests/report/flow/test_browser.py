"""The page of gradient flow as a reader meets it, in a real browser."""

import numpy as np
import pytest
from helpers import flows
from helpers.colours import contrast, luminance

from bptt import report

LAG, TRAINED = "Gradient against lag", "Gradient over time and training, with respect to h"
PARTS = ("with respect to h", "with respect to c", "along the carry", "through the gates")

# Said to the page once: how to find what tests ask about.
PROBE = """
  const all = (kind, of = document) => [...of.querySelectorAll(kind)];
  const shown = () => all("figure:not([hidden])");
  const title = (figure) => figure.querySelector("h3")?.textContent ?? "reach";
  const plotOf = (name) => shown().find((each) => title(each).startsWith(name)).querySelector(".plot");
  const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const lines = (text) => all("tspan.line", text).length ? all("tspan.line", text) : [text];
  const hovered = (plot) => all(".hoverlayer text", plot).flatMap(lines).map((each) => each.textContent);
  const until = (look) => new Promise((done) => {
    const end = Date.now() + 10000;
    const again = () => look() || Date.now() > end ? done(look()) : setTimeout(again, 10);
    again();
  });
"""


def opened_in(browser, page, **window):
    browser.open(page, **window)
    browser.evaluate(PROBE)
    return browser


@pytest.fixture(scope="module")
def opened(browser, everything):
    """The page with all that there can be; tests leave it as it was."""
    return opened_in(browser, everything)


def prefer(browser, dark, media=""):
    """Change what the reader prefers, and wait until the figures have followed."""
    browser.prefer(dark, media)
    seen = (
        "all('figure:not([hidden]) .plot').every((each) => each.layout.paper_bgcolor === variable('--page'))"
    )
    assert browser.evaluate(f"until(() => {seen})")


def test_it_loads_without_a_complaint_and_draws_every_figure(opened):
    assert opened.console == []
    drawn = "shown().filter((each) => each.querySelector('.main-svg, .cell')).map(title)"
    assert [each.partition(": ")[0] for each in opened.evaluate(drawn)] == [
        "Gradient against lag",
        "Gradient over time and layers, with respect to h",
        "Gradient over time and layers, with respect to c",
        *(f"Gradient over time and training, {part}" for part in PARTS),
        "Gradient over time and units, c",
        "reach",
        "Saturated gates",
        "Effective memory",
        "Values of the forget gate f",
        "Jacobian of each step",
        "Growth along the sequence",
        "Eigenvalues of W_hh of the candidate gate",
        "Lyapunov exponents",
        "How the exponents settled",
        "Half-life during training",
        "Gradient norm before and after clipping",
    ]


def test_another_layer_can_be_chosen(opened):
    choose = "all('.picker input')[%d].click(); shown().map(title)"
    titles = opened.evaluate(choose % 1)
    drawn = opened.evaluate(f"all('.main-svg', plotOf('{LAG}')).length")
    opened.evaluate(choose % 0)
    assert f"{LAG}: GRU core, layer 2" in titles
    assert not any("LSTM" in each for each in titles)
    assert drawn > 0


def hover(browser, title, x, y):
    """What is said, line by line, when the mouse is at a place of a figure, in coordinates of its axes."""
    browser.point(1, 1)
    browser.evaluate("until(() => shown().every((each) => !hovered(each).length))")
    place = f"""(() => {{
      const plot = plotOf('{title}'), {{ xaxis, yaxis }} = plot._fullLayout;
      plot.scrollIntoView({{ block: 'center' }});
      const box = plot.getBoundingClientRect(), at = (axis, value) => axis._offset + axis.d2p(value);
      return [box.left + at(xaxis, {x}), box.top + at(yaxis, {y})];
    }})()"""
    browser.point(*browser.evaluate(place))
    return browser.evaluate(f"until(() => hovered(plotOf('{title}')).length && hovered(plotOf('{title}')))")


def test_pointing_at_a_line_shows_its_value(opened):
    told = hover(opened, LAG, 10, 0.9**10)
    assert "with respect to h: 0.3487 (0.1743 to 0.6974)" in told
    assert "with respect to c: 0.6974 (0.3487 to 1.395)" in told
    assert "with respect to c: exactly 0" in hover(opened, LAG, 55, 0.9**55)


@pytest.mark.parametrize(
    ("look", "row", "told"), [(3, 4, "exactly 0"), (5, 10, "Inf"), (7, 20, "NaN"), (8, 8, "1.00")]
)
def test_pointing_at_a_cell_shows_its_value(opened, look, row, told):
    found = hover(opened, TRAINED, 20 * look, 2 * row)
    assert found == [f"training step {20 * look}, time step t {2 * row}", told]


@pytest.mark.parametrize("dark", [False, True])
def test_zero_inf_and_nan_have_colours_of_their_own_and_are_named(opened, dark):
    prefer(opened, dark)
    script = f"""(() => {{
      const plot = plotOf('{TRAINED}'), special = plot.data.filter((trace) => trace.meta.role !== 'heat');
      const there = (row, y) => row.flatMap((each, x) => each === null ? [] : [[x, y]]);
      const cells = (trace) => trace.z.flatMap(there);
      return [special.map((trace) => [trace.name, cells(trace)]),
        special.map((trace) => trace.colorscale[0][1]),
        all('.legendtext', plot).map((each) => each.textContent), variable('--page')];
    }})()"""
    cells, colours, legend, page = opened.evaluate(script)
    prefer(opened, dark=False)
    assert cells == [["exactly 0", [[3, 4]]], ["Inf", [[5, 10]]], ["NaN", [[7, 20]]]]
    assert legend == ["exactly 0", "Inf", "NaN"]
    assert apart(colours, page) > 30


def test_colours_that_some_cannot_tell_apart_are_caught():
    assert apart(["#b5b5b5", "#e6007e", "#000000"], "#ffffff") < 10


TEXTS = ("h1", ".sentence", "h2", "h3", ".tag", ".box li", "figcaption", "summary", ".picker legend")
TEXTS += (".picker label", ".told", ".keys span", ".reach label", "thead th", "tbody th", "td", ".fineprint")


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_can_be_read(opened, dark):
    prefer(opened, dark)
    script = f"""(() => {{
      const behind = (node) => {{
        const own = getComputedStyle(node).backgroundColor;
        return own === 'rgba(0, 0, 0, 0)' ? behind(node.parentElement) : own;
      }};
      const texts = {list(TEXTS)}.map((kind) => document.querySelector(kind));
      return [texts.map((each) => [getComputedStyle(each).color, behind(each)]),
        all('figure:not([hidden]) .plot').map(({{ layout }}) => [layout.font.color, layout.paper_bgcolor]),
        ['--ink', '--tint', '--page'].map(variable)];
    }})()"""
    texts, plots, (ink, tint, page) = opened.evaluate(script)
    prefer(opened, dark=False)
    assert (luminance(page) < 0.05) == dark
    for kind, pair in zip(TEXTS, texts, strict=True):
        assert contrast(*pair) >= 4.5, kind
    assert all(contrast(*pair) >= 4.5 for pair in plots)
    assert contrast(ink, tint) >= 4.5  # a character on the strongest tint


def test_print_is_by_day_and_has_the_figures(opened):
    prefer(opened, dark=True, media="print")
    paper, height = opened.evaluate(f"[plotOf('{LAG}').layout.paper_bgcolor, plotOf('{LAG}').clientHeight]")
    prefer(opened, dark=False)
    assert paper == "#ffffff"
    assert height > 200


def test_a_phone_shows_it_without_scrolling_sideways(browser, everything):
    opened_in(browser, everything, width=390, height=844)
    assert browser.evaluate("document.documentElement.scrollWidth") == 390
    ends = browser.evaluate("all('.plot .main-svg, .cell').map((each) => each.getBoundingClientRect().right)")
    assert max(ends) <= 390


KINDS = ("text", "image", "values", "tokens", "broken")


@pytest.fixture(scope="module")
def asked(browser, tmp_path_factory):
    """A page with an input of every kind, and a text with Inf and NaN; nothing else was measured."""
    folder = tmp_path_factory.mktemp("asked")
    whole = flows.arrays()
    least = {name: whole[name] for name in whole if name.startswith((f"lag/{flows.KEY}/h", "reach/"))}
    norms = least["reach/norms"].copy()
    norms[2, :3] = np.nan, np.inf, 0
    content = {"tokens": {"reach/input": np.arange(flows.T) % 7}, "broken": {"reach/norms": norms}}
    folders = []
    for kind in KINDS:
        shown = {"kind": "text" if kind == "broken" else kind, "text": flows.TEXT, "shape": [6, 10]}
        page = flows.document(name=kind, input=shown)
        folders.append(flows.measurement(folder / kind, page, least | content.get(kind, {})))
    return opened_in(browser, report.write_flow(folders, folder / "page.html"))


def tints(browser, kind):
    return browser.evaluate(f"""(() => {{
      const figure = all('.reach')[{KINDS.index(kind)}], cells = all('.shown .cell', figure);
      const share = ({{ style }}) => Number(/([\\d.]+)%/.exec(style.background)?.[1] ?? 0);
      cells[20].scrollIntoView({{ block: 'center' }});
      const {{ left, top, width, height }} = cells[20].getBoundingClientRect();
      return {{
        place: [left + width / 2, top + height / 2],
        told: figure.querySelector('.told').textContent,
        arrows: all('.shown svg > path', figure).length,
        chosen: cells.flatMap((each, s) => each.ariaPressed === 'true' ? [s] : []),
        focused: cells.indexOf(document.activeElement),
        titles: cells.map((each) => each.title),
        names: cells.map((each) => each.className),
        shares: cells.map(share),
      }};
    }})()""")


def test_inputs_of_every_kind_load_without_a_complaint(asked):
    assert asked.console == []
    assert asked.evaluate("all('.reach').length") == len(KINDS)


@pytest.mark.parametrize("kind", KINDS[:4])
def test_a_click_on_a_step_tints_those_it_depends_on(asked, kind):
    before = tints(asked, kind)
    assert before["chosen"] == [flows.T - 1]
    asked.point(*before["place"], click=True)
    found = tints(asked, kind)
    assert found["chosen"] == [20]
    assert found["arrows"] == 6
    assert found["names"] == ["cell"] * 21 + ["cell zero"] * (flows.T - 21)
    expected = 100 * (1 + np.log10(0.9) * (20 - np.arange(21)) / 6)
    np.testing.assert_allclose(found["shares"], [*expected, *[0] * (flows.T - 21)], atol=0.06)
    assert found["titles"][10].endswith(": 0.349")
    assert found["titles"][30].endswith(": exactly 0")
    assert "depends most on the input of step 20" in found["told"]
    asked.press("ArrowRight")  # the step that was clicked has the focus
    found = tints(asked, kind)
    assert (found["chosen"], found["focused"]) == ([40], 40)


def test_steps_with_inf_and_nan_look_and_read_like_it(asked):
    found = tints(asked, "broken")
    assert found["names"][:4] == ["cell nan", "cell inf", "cell zero", "cell"]
    assert [title.rpartition(": ")[2] for title in found["titles"][:3]] == ["NaN", "Inf", "exactly 0"]
    assert "depends most on the input of step 1 " in found["told"]


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
