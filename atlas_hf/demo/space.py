"""The demo as the files of a Space: a short `app.py`, a card, the versions in use, and this package's own source.

`spaces_demo/` in the project's repository holds the first three for the model that comes with the package;
`python -m atlas_hf.demo.space spaces_demo` writes them anew, once the old ones are removed.
"""

import re
import sys
from collections.abc import Callable
from importlib.metadata import requires, version
from pathlib import Path

from huggingface_hub import SpaceCard
from huggingface_hub.repocard_data import CardData

from atlas_hf.demo import DIGITS_MODEL_ID
from atlas_hf.folder import CARD, creating

PACKAGE = Path(__file__).parent.parent
APP, REQUIREMENTS = "app.py", "requirements.txt"


def installed(name: str) -> str:
    """The version of an installed package, or of Python by the name `python`."""
    return f"{sys.version_info.major}.{sys.version_info.minor}" if name == "python" else version(name)


def space_files(model_id: str = DIGITS_MODEL_ID, versions: Callable[[str], str] = installed) -> dict[str, bytes]:
    """`app.py`, `README.md` and `requirements.txt` of a Space that shows a model; `versions` is as `installed`."""
    needed = [text for text in requires("atlas_hf") or () if "extra ==" not in text]  # gradio comes with the Space
    names = sorted(re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in needed)
    texts = {
        APP: _app(model_id),
        CARD: str(SpaceCard(f"---\n{_metadata(model_id, versions)}\n---\n\n{_text(model_id)}")),
        # A local build has a mark behind its version, `+cpu`, that no registry knows.
        REQUIREMENTS: "".join(f"{name}=={versions(name).partition('+')[0]}\n" for name in names),
    }
    return {name: text.encode() for name, text in texts.items()}


def package_files() -> dict[str, Path]:
    """The source of `atlas_hf`, which a Space carries: by path in the Space."""
    files = [path for path in sorted(PACKAGE.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    return {f"atlas_hf/{path.relative_to(PACKAGE).as_posix()}": path for path in files}


def _app(model_id: str) -> str:
    argument = "" if model_id == DIGITS_MODEL_ID else f'"{model_id}"'
    return f'''"""The demo of {model_id}. Its code is in atlas_hf/demo/."""

from atlas_hf.demo import launch

launch({argument})
'''


def _metadata(model_id: str, versions: Callable[[str], str]) -> CardData:
    return CardData(
        title=f"ATLAS: {model_id.rsplit('/', maxsplit=1)[-1]}", emoji="🧭", colorFrom="blue", colorTo="gray",
        sdk="gradio", sdk_version=versions("gradio"), python_version=versions("python"), app_file=APP,
        license="apache-2.0", short_description="Ask a model, see what each task reuses",
        tags=["atlas", "atlas_hf", "continual-learning", "adapter", "peft"],
        models=None if model_id == DIGITS_MODEL_ID else [model_id],
    )  # fmt: skip


def _text(model_id: str) -> str:
    link = f"`{model_id}`" if model_id == DIGITS_MODEL_ID else f"[{model_id}](https://huggingface.co/{model_id})"
    return f"""# ATLAS: see what each task reuses

The model {link}: tasks learned one after another, each with an adapter of its own, by the method
[ATLAS](https://arxiv.org/abs/2410.10923). Ask it a question, see which earlier adapters the answer leaned on at every
layer, and ask the model as it was after any of its tasks. Any other repository that `atlas_hf` pushed opens as well.

Made by `atlas-hf push-space`; pushed again, only what changed is sent.
"""


if __name__ == "__main__":
    for name, content in space_files().items():
        with creating(Path(sys.argv[1]) / name) as temporary:
            temporary.write_bytes(content)
