"""The command line `atlas-hf`: one file per command, and `commands`, the table of them. May import every other room.

A command has `parse`, which knows neither torch nor transformers, so that help and wrong arguments are answered at
once, and `run`, which imports what it needs when it runs: that is why imports stand inside of functions here.

In the order of imports: `commands`; `training_options`, the options of a class that it does not import;
`learn_options`; the commands. Only a running command imports `own_tasks` and `stream_tasks`, how options and folders
become tasks.
"""

from atlas_hf.cli.commands import COMMANDS, main

__all__ = ["COMMANDS", "main"]
