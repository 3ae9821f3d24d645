"""The command line `atlas-hf`: one file per command, and `commands`, the table of them. May import every other room.

A command has `parse`, which knows neither torch nor transformers, so that help and wrong arguments are answered at
once, and `run`, which imports what it needs when it runs: that is why imports stand inside of functions here.

In the order of imports: `line_parser`, errors in a line; `commands`; `training_options`, the options of a class that
it does not import; `learn_options`; `option_file`, a YAML file of them; `asked`, own tasks of a line or file; the
commands. Only a running command imports `own_tasks` and `stream_tasks`, how options and folders become tasks, and
`many_rows`, the answers to a table.
"""

from atlas_hf.cli.commands import COMMANDS, main

__all__ = ["COMMANDS", "main"]
