"""`python -m bptt.bench`: fill the tables of a checkout's documents in from its records."""

import sys
from pathlib import Path

from . import RecordError, fill

try:
    for path in fill(Path.cwd()):
        sys.stdout.write(f"{path}\n")
except RecordError as error:
    sys.exit(f"error: {error}")
