"""`bptt bench`: our recurrences beside their rivals in one process, checked first, then timed."""

from ._case import Case as Case
from ._case import Shape as Shape
from ._check import MismatchError as MismatchError
from ._run import measure_row as measure_row
