"""The benchmark of learning: methods on the tasks of a stream, over orders and seeds, and what comes of it.

In the order of the data: `plan` -> `run` (processes) -> `protocol` (a cell, with `representation`) -> `cells` (files)
-> `scores` (over seeds) -> `claims`, `tables`, `pictures` -> `report`. `shortcuts` is a command of its own. May import
every room below the benchmark, and its `methods`.
"""

from atlas_hf.benchmark.learning.cells import read_cells
from atlas_hf.benchmark.learning.plan import Plan
from atlas_hf.benchmark.learning.report import push, write_report
from atlas_hf.benchmark.learning.run import Done, run

__all__ = ["Done", "Plan", "push", "read_cells", "run", "write_report"]
