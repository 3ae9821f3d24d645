"""An `AtlasModel` at a glance: its backbone, and its tasks with what each reuses, owns and scores."""

from typing import Any

from atlas_hf.model.tables import Row, html_table, text_table

_NOTE = "Its modules: model.base_model"
_LEFT = 4  # columns of words


def as_text(model: Any) -> str:
    """For a terminal."""
    rows = _rows(model)
    table = text_table(rows, _LEFT).splitlines() if len(rows) > 1 else []
    return "\n".join([_title(model), *(f"  {line}" for line in table), f"  {_NOTE}"])


def as_html(model: Any) -> str:
    """For a notebook."""
    return html_table(_title(model), _rows(model), _NOTE, _LEFT)


def _title(model: Any) -> str:
    backbone, count = model.get_base_model(), len(model.tasks)
    size = sum(one.numel() for name, one in backbone.named_parameters() if ".atlas_" not in name)
    name = model.task_config.base_model_name_or_path
    tasks = f"{count or 'no'} task{'' if count == 1 else 's'}" + (f", {model.task!r} is active" if model.task else "")
    return f"{type(model).__name__} on {type(backbone).__name__} {name or ''} ({size:,} parameters, frozen): {tasks}"


def _rows(model: Any) -> list[Row]:
    rows: list[Row] = [("task", "kind", "learned", "reuses", "parameters", "score")]
    for name in model.tasks:
        config, spec = model.peft_config[name], model.peft_config[name].spec
        measured = model.metrics.get(name, {}).get(spec.metric) if spec else None
        rows.append(
            (
                name,
                spec.problem_type if spec else "",
                "yes" if config.stage == "complete" else "not yet",
                ", ".join(config.experience) or "nothing",
                f"{sum(model.count_parameters(name).values()):,}",
                "" if measured is None else f"{spec.metric} {measured:.3f}",
            )
        )
    return rows
