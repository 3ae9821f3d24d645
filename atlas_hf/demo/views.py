"""What the page shows of a model and of an answer, as HTML and code, in the order of its tabs."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from statistics import mean
from typing import Any

from atlas_hf.data.pixels import pixels
from atlas_hf.demo import DIGITS_MODEL, pictures
from atlas_hf.demo.comparison import METHODS, Result, average_over_time
from atlas_hf.demo.places import Place
from atlas_hf.demo.questions import Answer, Question
from atlas_hf.folder import BARE
from atlas_hf.metrics.continual import average_accuracy, backward_transfer, forgetting
from atlas_hf.report.card_source import CardTask
from atlas_hf.report.printable import number, real
from atlas_hf.report.text import format_help

COMPARED = "The benchmark ran the same tasks in the same order, with a number of examples of its own."
NOT_COMPARED = (
    "No benchmark results of this stream and order are at hand, so sequential fine-tuning is not drawn. "
    "<code>atlas-hf benchmark</code> makes them and <code>python -m atlas_hf.demo.comparison</code> brings them here."
)
HEADER = """<div><h1>ATLAS</h1><p>One frozen backbone learns a stream of tasks, one after another. Each new task
may reuse the adapters of earlier ones, and no earlier answer ever changes.</p></div>"""


def headline(place: Place) -> str:
    """What this is about, and the model in figures."""
    tasks, matrix = place.tasks, place.source.matrix
    sizes = [sum(task.parameters.values()) for task in tasks if task.parameters]
    figures = [(str(len(tasks)), "tasks learned")]
    if matrix and None not in matrix[-1]:
        some = f", first {len(matrix)}" if len(matrix) < len(tasks) else ""
        figures.append((f"{average_accuracy(matrix):.3f}", f"average accuracy{some}"))
        figures.append((f"{forgetting(matrix) or 0:.4f}", "forgotten"))
    if sizes:
        figures.append((f"{mean(sizes) / 1000:,.0f} k", "parameters per task"))
    return f'<header class="top">{HEADER}{pictures.tiles(figures)}</header>'


def model_name(place: Place) -> str:
    """Which model is open."""
    if place.commit:
        return f"Model: {place.id} at {place.revision} ({place.commit[:7]}). Open another"
    shipped = " (comes with the package)" if place.folder == DIGITS_MODEL else ""
    return f"Model: {place.id}{shipped}. Open another"


def about_task(task: CardTask) -> str:
    """One line on a task: what it asks, and what it scored."""
    shape = f"{task.spec.modality}, {task.spec.problem_type.replace('_', ' ')}"
    error = "" if task.standard_error is None else f" ± {task.standard_error:.3f}"
    chance = number(task.chance, ".3f")
    score = "" if task.score is None else f" · {task.metric} {task.score:.3f}{error} (chance {chance})"
    told = escape(task.spec.description or "No description.")
    return f'<p class="about">{told} <span class="muted">{escape(shape)}{escape(score)}</span></p>'


def answer(given: Answer, expected: str | None = None) -> str:
    """The best answer large, the others as bars, and the time it took."""
    best = given.answers[0]
    truth = f'<p class="muted">The data say: {escape(expected)}</p>' if expected else ""
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in given.notes)
    value = f" {best['score']:.3f}" if best["label"] == "value" else ""
    return (
        f'<p class="best">{escape(str(best["label"]))}{value}</p>{truth}{pictures.bars(_scores(given))}{notes}'
        f'<p class="muted">{given.seconds * 1000:.0f} ms</p>'
    )


def _scores(given: Answer) -> list[tuple[str, float]]:
    return [(str(one["label"]), one["score"]) for one in given.answers[:6]]


def asked(question: Question) -> str:
    """The question in small, for where its input is out of sight."""
    thumbs = "".join(
        f'<img src="{_thumbnail(path)}" alt="Image {number} of the input"/>'
        for number, path in enumerate(question.images, start=1)
    )
    words = " · ".join(escape(text) for text in [question.text, *question.choices.splitlines()] if text)
    return f'<div class="asked">{thumbs}<span><b>{escape(question.task)}</b> {words}</span></div>'


def _thumbnail(path: str) -> str:
    """A small image as a data URI."""
    small = pixels(path).copy()
    small.thumbnail((96, 96))
    file = io.BytesIO()
    small.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def leaned_on(task: CardTask, coefficients: Mapping[str, Mapping[str, float]]) -> str:
    """One line: which earlier tasks an input leaned on most."""
    means = {name: mean(site[name] for site in coefficients.values()) for name in task.record.experience}
    if not means:
        has = "it has only its own adapter" if task.own_adapter else "it is a head on the bare backbone"
        return f'<p class="lead"><b>{escape(task.name)}</b> reuses nothing: {has}.</p>'
    ranked = sorted(means.items(), key=lambda item: -item[1])
    named = [f"<b>{escape(name)}</b> ({value:.2f})" for name, value in ranked]
    most, least = ", then ".join(named[:2]), f", least on {named[-1]}" if len(named) > 2 else ""
    return f'<p class="lead">For this input, {escape(task.name)} leaned most on {most}{least}.</p>'


def site_map(task: CardTask, coefficients: Mapping[str, Mapping[str, Any]], caption: str) -> str:
    """Sites by adapters, the task's own last if it has one; a sentence where there are no numbers."""
    members = [*task.record.experience, *([task.name] if task.own_adapter else [])]
    if not members:
        return f'<p class="muted">{escape(caption)}: no adapter takes part.</p>'
    rows = [[real(site.get(name)) for name in members] for site in coefficients.values()]
    if not rows:
        return f'<p class="muted">{escape(caption)}: not recorded in results.json.</p>'
    return pictures.heat_map(rows, [site_name(path) for path in coefficients], members, "layer, site", caption)


def site_name(path: str) -> str:
    """`encoder.layer.3.attention.output.dense` -> `3 attention output`."""
    return re.sub(r"^.*?(\d+)\.", r"\1 ", path).removesuffix(".dense").replace(".", " ")


def test_set_map(task: CardTask) -> str:
    """The means that `learn_sequence` recorded."""
    found = task.result and task.result.coefficients
    sites = found.items() if isinstance(found, Mapping) else ()
    known = {path: site for path, site in sites if isinstance(site, Mapping)}
    return site_map(task, known, "Mean over the task's test set")


def graph(place: Place, chosen: str) -> str:
    """What each task reuses; the arcs of the chosen one stand out."""
    measured = any(task.contributions for task in place.tasks)
    found = {task.name: task.contributions if measured else task.coefficients for task in place.tasks}
    reuse = {t.name: {name: found[t.name].get(name) or 0.0 for name in t.record.experience} for t in place.tasks}
    by = "what its adapter adds, as a share of what it adds to" if measured else "mean coefficient"
    return (
        f"<figure><figcaption>Who reuses whom, by {by}</figcaption>"
        f"{pictures.reuse_graph([task.name for task in place.tasks], reuse, chosen)}</figure>"
        f"{_beginning(place.task(chosen))}"
    )


def _beginning(task: CardTask) -> str:
    """Where a task begins, how much that helps, and whether an adapter of its own does; empty if not measured."""
    told = [_helped(task)] if task.result and task.sources else []
    told += [f"{escape(line)}." for line in format_help(task.result)] if task.result else []
    if task.expansion or not task.own_adapter:
        scores = "" if task.expansion is None else ": {:.3f} without, {:.3f} with one".format(*task.expansion)
        scores += ", which is not clearly better" if scores and not task.own_adapter else ""
        told.append(f"It has {'an' if task.own_adapter else 'no'} adapter of its own{scores}.")
    return f'<p class="muted">{" ".join(told)}</p>' if told else ""


def _helped(task: CardTask) -> str:
    errors = {name: number(error, ".2f") for name, error in task.sources.items()}
    opened = task.result.opened if task.result else []
    where = "model of " + " and ".join(map(escape, opened)) if opened else "bare backbone"
    there, bare = (errors.get(name, "–") for name in (" + ".join(opened) or BARE, BARE))
    against = f" (on the bare backbone {bare})" if opened else "; no earlier model is clearly better"
    return f"Begins at the {where}: a linear probe leaves {there} of the mean label's error there{against}."


def matrix(place: Place) -> str:
    """The accuracy matrix, and what follows from it."""
    names = [task.name for task in place.source.upstream]
    if not place.source.matrix:
        return '<p class="muted">This model has no results.json with an accuracy matrix.</p>'
    caption = "Score on each task (columns) after learning each task (rows)"
    shown = pictures.heat_map(place.source.matrix, names[: len(place.source.matrix)], names, "after", caption)
    figures = {"forgetting": forgetting, "backward transfer": backward_transfer}
    known = {name: figure(place.source.matrix) for name, figure in figures.items()}
    told = ", ".join(f"{name} {value:.4f}" for name, value in known.items() if value is not None)
    return f'{shown}<p class="muted">{told}</p>'


def over_time(place: Place, compared: Sequence[Result]) -> str:
    """Average accuracy after each task: this model, and the benchmark's runs where they are at hand."""
    names = [task.name for task in place.source.upstream]
    if not place.source.matrix:
        return ""
    lines = {"this model": average_over_time(place.source.matrix)}
    for one in compared:
        runs = "one seed" if one.seeds == 1 else f"mean of {one.seeds} seeds"
        lines[f"{METHODS[one.method]}, {runs}"] = average_over_time(one.matrix)
    numbers = {
        name: ", ".join("none" if value is None else f"{value:.3f}" for value in values)
        for name, values in lines.items()
    }
    said = "; ".join(f"{name}: {values}" for name, values in numbers.items())
    chart = pictures.line_chart(lines, names, f"Average accuracy over the tasks seen, after each task. {said}")
    note = COMPARED if compared else NOT_COMPARED
    caption = "Average accuracy over the tasks seen so far"
    return f'<figure><figcaption>{caption}</figcaption>{chart}</figure><p class="muted">{note}</p>'


def side_by_side(place: Place, after: int, then: Answer | None, now: Answer) -> str:
    """The same input, answered by the model after task `after` and by the model of today."""
    before = f"After task {after} ({place.tasks[after - 1].name})"
    today = f"Now, after task {len(place.tasks)} ({place.tasks[-1].name})"
    old = _best(then) if then else f'<p class="muted">{escape(now.question.task)} is not learned yet.</p>'
    verdict = f'<p class="lead">{_difference(then, now)}</p>' if then else ""
    return (
        f'{asked(now.question)}<div class="pair"><section><h3>{escape(before)}</h3>{old}</section>'
        f"<section><h3>{escape(today)}</h3>{_best(now)}</section></div>{verdict}"
    )


def _best(given: Answer) -> str:
    return f'<p class="best">{escape(str(given.answers[0]["label"]))}</p>{pictures.bars(_scores(given))}'


def _difference(then: Answer, now: Answer) -> str:
    old, new = ({one["label"]: one["score"] for one in given.answers} for given in (then, now))
    largest = max(abs(old[name] - new[name]) for name in new)
    if largest == 0:
        return "The same answer, every score equal to the last bit."
    return f"The scores differ by {largest:.2g} at most."


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
