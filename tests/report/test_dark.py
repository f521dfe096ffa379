"""The page by day and by night: every text can be read, by the style sheet and in a browser."""

import json
import re
import subprocess

import pytest
from helpers.browser import CHROMIUM
from helpers.colours import contrast, luminance

from bptt import report
from bptt.report._look import look

SCHEMES = ("dark", "light")  # chromium's numbers for them are their places here
ARMS = {f"arm{index}": f"arm {index}" for index in range(3)}

# Run in the page: the colour of each kind of text and of what lies behind it, and plotly's colours.
PROBE = """
<script>
const behind = (node) => {
  const own = node && getComputedStyle(node).backgroundColor;
  return !node ? "none" : own === "rgba(0, 0, 0, 0)" ? behind(node.parentElement) : own;
};
const kinds = ["h1", "p.lead", ".verdict p",
  ".box.warn h3", ".box.warn .tag", ".caution", "thead th", "tbody th",
  "td", "td small", ".fineprint", ".fineprint a", "summary", "pre.command", "figcaption", "li"];
const texts = Object.fromEntries(kinds.map((kind) => {
  const node = document.querySelector(kind);
  return [kind, [getComputedStyle(node).color, behind(node)]];
}));
const plots = [...document.querySelectorAll(".plot")].map((plot) => ({
  paper: plot.layout.paper_bgcolor, font: plot.layout.font.color,
  lines: plot.data.filter((trace) => trace.meta.role === "median").map((trace) => trace.line.color) }));
const told = document.createElement("pre");
told.id = "told";
told.textContent = JSON.stringify({ texts, plots, page: behind(document.body) });
document.body.append(told);
</script>
</body>"""


@pytest.fixture(scope="module")
def index(study_maker, tmp_path_factory):
    """A page with every kind of box on it."""
    make = study_maker(tmp_path_factory.mktemp("dark"))
    return report.write([make(arms=ARMS, epochs=3, profile="smoke", ends={("arm1", 0): "failed"})]).index


def variables(index, scheme: str) -> dict[str, str]:
    """The style sheet's variables by day or by night."""
    style = re.findall(r"<style>(.*?)</style>", index.read_text(encoding="utf-8"), re.DOTALL)[0]
    night = r"@media screen and \(prefers-color-scheme: dark\) \{\s*:root \{(.*?)\}\s*\}"
    day = re.sub(night, "", style, flags=re.DOTALL)
    found = re.findall(r":root \{(.*?)\}", day, re.DOTALL)
    found += re.findall(night, style, re.DOTALL) if scheme == "dark" else []
    return dict(re.findall(r"(--[\w-]+): (#\w+);", " ".join(found)))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_style_sheet_has_colours_that_can_be_read(index, scheme):
    colours = variables(index, scheme)
    assert (luminance(colours["--page"]) < 0.05) == (scheme == "dark")
    for text in ("--ink", "--soft", "--link"):
        for ground in ("--page", "--card", "--warn", "--fine"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for arm in range(3):
        assert contrast(colours[f"--arm-{arm}"], colours["--page"]) >= 3
    used = set(re.findall(r"var\((--[\w-]+)\)", index.read_text(encoding="utf-8").split("<script>")[0]))
    assert used <= colours.keys()


def test_every_colour_of_the_day_has_one_for_the_night(index):
    day, night = variables(index, "light"), variables(index, "dark")
    assert day.keys() == night.keys()
    same = {name for name in day if day[name] == night[name]}
    assert same <= {"--fine-line", "--arm-1", "--arm-2"}


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_browser_shows_every_text_so_that_it_can_be_read(index, scheme, tmp_path):
    probed = tmp_path / "index.html"
    head, end, _ = index.read_text(encoding="utf-8").rpartition("</body>")
    assert end
    probed.write_text(head + PROBE + "</html>\n", encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    flags += [f"--blink-settings=preferredColorScheme={SCHEMES.index(scheme)}", "--dump-dom"]
    done = subprocess.run(
        [str(CHROMIUM), *flags, probed.as_uri()], capture_output=True, text=True, timeout=120, check=False
    )
    found = re.findall(r'<pre id="told">(.*?)</pre>', done.stdout)
    assert found, done.stderr
    told = json.loads(found[0].replace("&gt;", ">"))
    assert (luminance(told["page"]) < 0.05) == (scheme == "dark")
    for kind, (colour, ground) in told["texts"].items():
        assert contrast(colour, ground) >= 4.5, (kind, colour, ground)
    assert len(told["plots"]) == 3
    for plot in told["plots"]:
        assert contrast(plot["paper"], told["page"]) == 1
        assert contrast(plot["font"], plot["paper"]) >= 4.5
        assert plot["lines"] == [getattr(look(arm), scheme) for arm in range(3)]
