"""The page of gradient flow as a reader meets it, in a real browser."""

import numpy as np
import pytest
from helpers import flows
from helpers.colours import apart, contrast, luminance

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


@pytest.fixture(scope="module")
def crowded(browser, tmp_path_factory):
    """A page of several measurements whose legend is as wide as the figure, after many training steps."""
    folder = tmp_path_factory.mktemp("crowded")
    least = (f"lag/{flows.KEY}/h", "training/")
    content = {name: each for name, each in flows.arrays().items() if name.startswith(least)}
    content |= {name: 12_345_678 + each for name, each in content.items() if name.endswith("steps")}
    folders = [
        flows.measurement(folder / f"{n}", flows.document(name=f"a run of some name: {n}"), content)
        for n in range(7)
    ]
    return opened_in(browser, report.write_flow(folders, folder / "page.html"))


def check_toolbar(page):
    tools, plot = page.evaluate("""(() => {
      const plot = shown()[0].querySelector('.plot'), box = (node) => node.getBoundingClientRect().toJSON();
      return [box(plot.querySelector('.modebar')), box(plot)];
    })()""")
    assert 0 < tools["height"] <= tools["bottom"] <= plot["top"]
    page.point((tools["left"] + tools["right"]) / 2, (tools["top"] + tools["bottom"]) / 2)
    found = "document.querySelector('.modebar :hover').closest('.plot') === shown()[0].querySelector('.plot')"
    assert page.evaluate(found)
    title = """(() => {
      const range = document.createRange();
      range.selectNodeContents(shown()[0].querySelector('h3'));
      return range.getBoundingClientRect().right;
    })()"""
    assert page.evaluate(title) <= tools["left"]


def test_the_toolbar_covers_nothing_of_a_figure(crowded):
    right = "(each) => each.getBoundingClientRect().right"
    names = crowded.evaluate(f"all('.legendtext', shown()[0]).map({right})")
    tools = crowded.evaluate("shown()[0].querySelector('.modebar').getBoundingClientRect().left")
    assert max(names) > tools  # they would meet, were they in one row
    check_toolbar(crowded)


def test_pointing_at_a_late_step_names_it_in_full(crowded):
    line = hover(crowded, "Half-life during training", 12_345_718, 7)
    assert line[0] == "training step: 12345718"
    cell = hover(crowded, TRAINED, 12_345_718, 4)
    assert cell[0] == "training step 12345718, time step t 4"


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


def test_the_toolbar_of_a_report_covers_nothing_of_its_figures(browser, study_maker, tmp_path):
    made = study_maker(tmp_path)(epochs=3)
    check_toolbar(opened_in(browser, report.write([made]).index))
