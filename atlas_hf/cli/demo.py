"""`atlas-hf demo`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from contextlib import closing

from atlas_hf.cli.commands import command_parser
from atlas_hf.demo import DIGITS_MODEL_ID
from atlas_hf.demo.waiting import WaitingPage

HELP = """Example:
  atlas-hf demo                                (the model that comes with the package; no network)
  atlas-hf demo runs/digits
  atlas-hf demo me/digits-atlas --revision task-04-vqa

Needs gradio: pip install 'atlas_hf[demo]'"""


def parse(argv: Sequence[str]) -> Namespace:
    """See `atlas_hf.cli.commands.Command`."""
    parser = command_parser("demo", HELP)
    parser.add_argument("model", nargs="?", default=DIGITS_MODEL_ID, help="folder or Hub repository")
    parser.add_argument("--revision", help="commit, branch or tag, for a repository")
    parser.add_argument("--host", help="by default 127.0.0.1, which only this machine can reach")
    parser.add_argument("--port", type=int, help="by default the first free one from 7860")
    return parser.parse_args(argv)


def run(options: Namespace) -> None:
    """A page that waits, at once; then the demo, at the same address, until the process is stopped."""
    with closing(WaitingPage(options.host, options.port)) as page:
        from atlas_hf.demo import launch

        launch(options.model, options.revision, host=page.host, port=page.port, before=page.close)
