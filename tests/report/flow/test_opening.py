"""What the page of gradient flow opens with: whether its numbers mean anything, then the verdict in short."""

import pytest
from helpers import flows
from helpers.markup import Page

from bptt.report import _html
from bptt.report._verdict import caution

MEANS_NOTHING = caution("smoke")
SAID = flows.document()["sentence"]


@pytest.fixture
def opening(write):
    """The text before the figures, of the page of measurements given as `flow.json`."""
    least = {name: each for name, each in flows.arrays().items() if name.startswith("lag/")}

    def made(*documents):
        page = write(*((each, least) for each in documents)).read_text(encoding="utf-8")
        text = Page(page.replace(_html.plotly_script(), "")).text
        return text.partition(" The figures need JavaScript")[0].partition(" · bptt report ")[2]

    return made


def of_profile(profile):
    return flows.document(name=profile, frame=[["profile", profile]])


def test_one_measurement_opens_with_its_sentence(opening):
    assert opening(flows.document()) == f"Gradient flow: vanilla, seed 0 {SAID}"


def test_several_are_summed_up_and_equal_sentences_said_once(opening):
    documents = [flows.document(name=name) for name in "abc"]
    documents += [flows.document(name="d", within_reach=False, sentence="It forgets.")]
    lines = f"a · b · c : {SAID} d : It forgets."
    whole = "is within reach in 3 of 4 measurements."
    assert opening(*documents) == f"Gradient flow A lag of 50 {whole} {lines}"
    documents[0]["wanted_lag"] = 49
    assert opening(*documents) == f"Gradient flow The wanted lag {whole} {lines}"


def test_a_smoke_run_opens_with_the_caution_of_its_report(opening):
    assert MEANS_NOTHING
    assert opening(of_profile("smoke")) == f"Gradient flow: smoke {MEANS_NOTHING} {SAID}"
    assert opening(of_profile("lite")) == f"Gradient flow: lite {SAID}"


def test_of_several_the_smoke_runs_are_named_unless_all_are(opening):
    smoke = of_profile("smoke")
    assert opening(smoke, of_profile("lite")).startswith(f"Gradient flow smoke : {MEANS_NOTHING} A lag")
    assert opening(smoke, smoke | {"name": "b"}).startswith(f"Gradient flow {MEANS_NOTHING} A lag")
