"""Runs trained as one model with a row for each."""

from ._train import train_stacked as train_stacked
