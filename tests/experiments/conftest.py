"""A spec of two arms, to be changed."""

import pytest

SPEC = """
seeds = [0, 1]

[experiment]
name = "small"
title = "A small one"

[task]
name = "copying"
delay = 3
train_size = 100
valid_size = 20
iterations = 2

[model]
cell = "lstm"
hidden_size = 4
readout = "each"

[train]
epochs = 2
lr = 0.01

[arms.plain]

[arms.other]
detach = {{ h = 0.5 }}
train.lr = 0.02
{more}
"""


@pytest.fixture
def spec_file(tmp_path):
    def write(more="", **replaced):
        text = SPEC.format(more=more)
        for old, new in replaced.values():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "small.toml"
        path.write_text(text)
        return path

    return write
