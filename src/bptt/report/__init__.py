"""Reports from result files: statistics, figures, tables and one HTML page. Needs no torch."""

from ._ending import Status as Status
from ._files import ReportError as ReportError
from ._measurement import Measurement as Measurement
from ._measurement import measurement as measurement
from ._measurement_page import measurement_tables as measurement_tables
from ._run import Run as Run
from ._sheet import figure_files as figure_files
from ._sheet import line_style as line_style
from ._sheet import name_below as name_below
from ._sheet import plain_log as plain_log
from ._statistics import ArmSummary as ArmSummary
from ._statistics import Estimate as Estimate
from ._statistics import Reach as Reach
from ._statistics import summarise as summarise
from ._study import Arm as Arm
from ._study import Study as Study
from ._study import load as load
from ._tables import Cell as Cell
from ._tables import Table as Table
from ._tables import summary_table as summary_table
from ._verdict import Problem as Problem
from ._verdict import problems as problems
from ._verdict import verdict as verdict
from ._write import ReportPaths as ReportPaths
from ._write import write as write
from .flow import write_flow as write_flow
