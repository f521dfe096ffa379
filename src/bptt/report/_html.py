"""A page: one file with its style, scripts, figures and plotly.js, which asks for nothing else."""

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any


def render(template: str, **values: Any) -> str:
    """The HTML of a template of this package, which may extend and import its others.

    Whatever comes from result files is escaped, in the markup by jinja2 and in the figures' data by
    `embedded`. A policy in the head forbids the browser every request.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(values, plotly=plotly_script(), asset=asset)


def asset(name: str) -> str:
    """The text of a file of this package, by its path in it."""
    return resources.files("bptt.report").joinpath(name).read_text(encoding="utf-8")


def embedded(data: Mapping[str, Any]) -> str:
    """JSON that may stand in a script element: `<` is written as `\\u003c`."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


def plotly_script() -> str:
    """The whole of plotly.js, to be put into the page."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()
