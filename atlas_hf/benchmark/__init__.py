"""Measurements. `shortcuts` is a command of its own; the rest is the benchmark of methods, in the order of the data:

`plan` (which cells) -> `run` (processes) -> `protocol` (one cell; `methods`, `representation`) -> `cells` (the files)
-> `scores` (figures of all cells) -> `statistics`, `claims` -> `tables`, `pictures` -> `report`; `dataset` (to the
Hub); `command` (the command line).
"""
