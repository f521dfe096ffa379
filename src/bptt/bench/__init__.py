"""`bptt bench`: our recurrences beside their rivals in one process, checked first, then timed."""

from ._case import Case as Case
from ._case import Shape as Shape
from ._check import TOLERANCE as TOLERANCE
from ._check import MismatchError as MismatchError
from ._check import check as check
from ._load import LoadedError as LoadedError
from ._load import Meter as Meter
from ._load import System as System
from ._measure import Pairs as Pairs
from ._measure import Ratio as Ratio
from ._measure import measure as measure
from ._quote import drifted as drifted
from ._quote import fill as fill
from ._record import RecordError as RecordError
from ._record import read as read
from ._request import Request as Request
from ._request import parse_shapes as parse_shapes
from ._run import Progress as Progress
from ._run import run as run
from ._table import footer as footer
from ._table import markdown as markdown
from ._table import table as table
