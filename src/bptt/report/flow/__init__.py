"""The page of gradient flow, from the files of its measurements."""

from ._write import write_flow as write_flow
