"""`atlas-hf demo` and `atlas-hf push-space`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from atlas_hf.demo import DIGITS_MODEL_ID, launch

DEMO_HELP = """Show a model in the browser: ask it, see what it reuses, see that it forgets nothing.

Example:
  atlas-hf demo                                (the model that comes with the package; no network)
  atlas-hf demo runs/digits
  atlas-hf demo me/digits-atlas --revision task-04-vqa

Needs gradio: pip install 'atlas_hf[demo]'"""

PUSH_SPACE_HELP = """Make a Space of the demo on the Hub, for a model that was pushed.

Example:
  atlas-hf push-space me/digits-atlas me/digits-demo
  atlas-hf push-space runs/digits me/digits-demo --repo-id me/digits-atlas"""


def demo(argv: Sequence[str]) -> None:
    parser = _parser("demo", DEMO_HELP)
    parser.add_argument("model", nargs="?", default=DIGITS_MODEL_ID, help="folder or Hub repository")
    parser.add_argument("--revision", help="commit, branch or tag, for a repository")
    parser.add_argument("--host", help="by default 127.0.0.1, which only this machine can reach")
    parser.add_argument("--port", type=int, help="by default the first free one from 7860")
    options = parser.parse_args(argv)
    launch(options.model, options.revision, host=options.host, port=options.port)


def push_space(argv: Sequence[str]) -> None:
    raise NotImplementedError


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=f"atlas-hf {name}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
