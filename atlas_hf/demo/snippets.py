"""Code to copy: how to load what the page shows."""

from html import escape

from atlas_hf.demo import DIGITS_MODEL
from atlas_hf.demo.places import Place
from atlas_hf.report.card_source import CardTask

CLIENT = """from gradio_client import Client, handle_file

client = Client("http://127.0.0.1:7860")  # or the name of the Space
client.view_api()  # what can be called, described
print(client.predict(api_name="/tasks"))
print(client.predict("vqa", handle_file("image.png"), text="what digit is red ?", api_name="/predict"))"""


def code(place: Place, task: CardTask, after: int) -> dict[str, str]:
    """Python that runs as printed, by what it loads. An image is read from `image.png`."""
    where = "DIGITS_MODEL" if place.folder == DIGITS_MODEL else f'"{place.id}"'
    here = f', revision="{place.revision}"' if place.commit and place.revision != "main" else ""
    names = ", ".join(f'"{one.name}"' for one in place.tasks[:after])
    then = f', revision="{place.tasks[after - 1].tag}"' if place.commit else f", tasks=[{names}]"
    learned = task if task.position <= after else place.tasks[after - 1]
    return {
        "The whole model": _program(place, where + here, task),
        f"Only {task.name}, with what it reuses": _program(place, f'{where}{here}, tasks=["{task.name}"]', task),
        f"The model as it was after task {after}": _program(place, where + then, learned),
    }


def _program(place: Place, arguments: str, task: CardTask) -> str:
    """Load a model and ask it."""
    image = bool(task.spec.image_columns)
    lines = ["from PIL import Image", ""] if image else []
    lines += ["from atlas_hf import AtlasModel"]
    lines += ["from atlas_hf.demo import DIGITS_MODEL", ""] if place.folder == DIGITS_MODEL else [""]
    lines += [f"model = AtlasModel.from_pretrained({arguments})"]
    lines += ['image = Image.open("image.png")'] if image else []
    return "\n".join([*lines, f"print(model.predict({task.call}, top_k=3))"])


def card_link(place: Place) -> str:
    """Where the card of a repository is; that of a folder is on the page itself."""
    if place.commit is None:
        return ""
    url = f"https://huggingface.co/{place.id}/blob/{place.commit}/README.md"
    name = escape(place.id)
    return f'<p><a href="{url}" target="_blank" rel="noopener">Model card of {name}</a>, at this commit</p>'
