"""The page of a metric in a Space: what `compute` takes, as JSON, and what it gives."""

import json
from collections.abc import Mapping
from typing import Any

import evaluate
import gradio as gr


def widget(metric: type[evaluate.Metric], example: Mapping[str, Any]) -> gr.Interface:
    """A page for any metric, which begins with `example` as the arguments of `compute`.

    `evaluate.utils.launch_gradio_widget` uses `gradio.inputs`, which is gone. Each request has its own instance.
    """
    info = metric().info

    def compute(arguments: str) -> dict[str, Any]:
        try:
            return metric().compute(**json.loads(arguments))
        except (TypeError, ValueError) as error:
            raise gr.Error(str(error)) from error

    return gr.Interface(
        compute,
        gr.Code(json.dumps(example, indent=2), language="json", label="Arguments of compute"),
        gr.JSON(label="Result"),
        title=info.module_name.replace("_", " "),
        description=f"{info.description}\n```{info.inputs_description}```",
    )
