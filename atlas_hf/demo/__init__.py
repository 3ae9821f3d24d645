"""The demo: ask a model, see what it reuses, see that it forgets nothing. `atlas-hf demo`, or a Space on the Hub.

In the order of imports: `waiting`, a page until the demo is ready; `places`, where a model is, and the ones loaded
last; `questions`, checked inputs; `examples` and `comparison`, data that comes with the demo; `pictures` and `views`,
HTML; `actions`, what can be done, for the page and the API alike; `api`; `page` and `events`; `app`, which
starts it; `space`, the same as files of a Space.

Needs gradio (`pip install atlas_hf[demo]`), which only `api`, `page`, `events` and `app` import.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["DIGITS_MODEL", "DIGITS_MODEL_ID", "check_gradio", "launch"]

# The model that comes with the package: `atlas-hf learn --stream digits --order multi-first --downstream`.
DIGITS_MODEL = Path(__file__).parent / "digits_model"
DIGITS_MODEL_ID = "atlas-hf/digits-atlas"


def launch(model_id: str = DIGITS_MODEL_ID, revision: str | None = None, **options: Any) -> None:
    """Show a model until the process is stopped; see `atlas_hf.demo.app.launch`.

    Raises:
        ValueError: gradio is not installed, or there is no such model.
        HubError: the repository cannot be read.
    """
    check_gradio()
    from atlas_hf.demo.app import launch as serve

    serve(model_id, revision, **options)


def check_gradio() -> None:
    """Raise a `ValueError`, with what to do, if gradio is not installed; it is not imported, which takes seconds."""
    if find_spec("gradio") is None:
        raise ValueError("The demo needs gradio. Install it with: pip install 'atlas_hf[demo]'")
