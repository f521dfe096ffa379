"""The recurrences on a GPU: kernels in Triton, compiled at their first use."""

from ._backend import Triton as Triton
