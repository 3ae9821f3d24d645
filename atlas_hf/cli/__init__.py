"""The command line `atlas-hf`: one file per command, and `commands`, the table of them. May import every other room.

A command has `parse`, which knows neither torch nor transformers, so that help and wrong arguments are answered at
once, and `run`, which imports what it needs when it runs: that is why imports stand inside of functions here.

In the order of imports: `source` reads what the options are called and may be from files that it does not import;
`choices`, names of streams and methods; `commands`; `learn_options`; the commands; `entry`, which runs one. Only a
running command imports `stream_tasks` and `own_tasks`, how options become tasks, and `learned`, folders of tasks.
"""

from atlas_hf.cli.commands import COMMANDS
from atlas_hf.cli.entry import main

__all__ = ["COMMANDS", "main"]
