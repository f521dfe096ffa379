"""Nothing optional is loaded before it is used, and what is missing is named."""

import subprocess
import sys

import pytest

import bptt

OPTIONAL = {"lightning", "transformers", "accelerate", "tensorboard"}


def loaded_by(statement):
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_none_of_them():
    loaded = loaded_by("import bptt.integrations; dir(bptt.integrations), bptt.integrations.__all__")
    assert "bptt.integrations" in loaded
    assert not loaded & (OPTIONAL | {"torch"})


def test_each_name_loads_its_own():
    loaded = loaded_by("from bptt.integrations import TensorBoardFlow")
    assert loaded & OPTIONAL == {"tensorboard"}


def test_the_names_are_listed():
    assert bptt.integrations.__all__ == ["LightningFlow", "TensorBoardFlow", "TransformersFlow"]


@pytest.mark.parametrize(
    ("name", "module", "missing", "install"),
    [
        ("LightningFlow", "_lightning", "lightning.pytorch", "lightning"),
        ("TransformersFlow", "_transformers", "transformers", "transformers accelerate"),
        ("TransformersFlow", "_transformers", "accelerate", "transformers accelerate"),
        ("TensorBoardFlow", "_tensorboard", "tensorboard", "tensorboard"),
    ],
)
def test_a_missing_package_is_named(monkeypatch, name, module, missing, install):
    monkeypatch.setitem(sys.modules, missing, None)
    for loaded in (f"bptt.integrations.{module}", "torch.utils.tensorboard"):
        monkeypatch.delitem(sys.modules, loaded, raising=False)
    for found in (name, module):
        monkeypatch.delitem(vars(bptt.integrations), found, raising=False)
    with pytest.raises(ImportError, match=f"{name} needs .*: pip install {install}$"):
        getattr(bptt.integrations, name)


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError, match="KerasFlow"):
        _ = bptt.integrations.KerasFlow
