"""Our recurrences on a GPU, beside cuDNN and the papers' loop."""

from ._rows import Row as Row
from ._rows import rows as rows
from ._run import machine as machine
from ._run import run as run
