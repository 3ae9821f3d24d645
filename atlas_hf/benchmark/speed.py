"""How long a forward pass and a training step take, and how much memory, with K adapters: `atlas-hf benchmark-speed`.

Four ways of computing the same backbone take turns in one run, so that a change of the machine's speed hits all:

- `bare`: the backbone alone;
- `floor`: two plain matrix products over the stacked bottlenecks per site, which no K adapters can do without;
- `fused`: `AtlasModel`;
- `loop`: the same formulas as `fused`, one adapter after the other;
- `mixed`, forward only: `fused` with examples of four tasks in the batch, which reuse the same adapters.

A training step is a forward pass in training mode, the loss, and the backward pass down to the first site; that of
`bare` and `floor` has the gradient of the input only, that of `fused` and `loop` also those of the parameters that the
stage trains, and `fused` the orthogonality penalty. Times are the processor's (of all threads together), so that other
programs on the machine count less; medians, and as spread the range of the middle half.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, linear, scaled_dot_product_attention, silu

from atlas_hf.modeling import BASE, AtlasModel
from atlas_hf.tasks import TaskSpec
from atlas_hf.tuner import AtlasConfig
from atlas_hf.tuner.layer import AtlasLayer

HELP = """Time a forward pass and the training steps of both stages against a bare backbone and the least possible.

Example:
  atlas-hf benchmark-speed --output runs/speed
  atlas-hf benchmark-speed --backbones vilt bert vit --adapters 4 16 --output runs/speed-full"""

TASK = "measured"
WAYS = ("bare", "floor", "fused", "loop", "mixed")
MIXED = [TASK, *(f"{TASK}-{index}" for index in range(1, 4))]
MEASURES = ("forward", "experience", "expansion")
TEXT = {"input_ids": lambda batch, tokens: torch.randint(5, 1000, (batch, tokens))}
IMAGE = {"pixel_values": lambda batch, tokens: torch.randn(batch, 3, 224, 224)}
# Configuration, and what makes the inputs. ViLT's 224 x 224 pixels are 49 patches, and the text fills up the tokens.
BACKBONES: dict[str, tuple[Callable[[], Any], dict[str, Callable[[int, int], Tensor]]]] = {
    "bert-4": (partial(transformers.BertConfig, num_hidden_layers=4), TEXT),
    "bert": (transformers.BertConfig, TEXT),
    "vit": (transformers.ViTConfig, IMAGE),
    "vilt": (
        partial(transformers.ViltConfig, max_position_embeddings=256),
        {"input_ids": lambda batch, tokens: torch.randint(5, 1000, (batch, tokens - 50))} | IMAGE,
    ),
}


def build(
    backbone: str, adapters: int, variant: str = "paper", dropout: float | None = None, width: int = 48
) -> AtlasModel:
    """A backbone with random weights, so many learned tasks, and four more that reuse them all."""
    torch.manual_seed(0)
    names = ("hidden_dropout_prob", "attention_probs_dropout_prob")
    config = BACKBONES[backbone][0](**({} if dropout is None else dict.fromkeys(names, dropout)))
    model = AtlasModel(
        transformers.AutoModel.from_config(config),
        config=AtlasConfig(r=width, variant=variant, init_weights=False),
    )
    spec = partial(TaskSpec, problem_type="single_label_classification", random_baseline=0.5, label_names=["a", "b"])
    columns = {"image_columns": ["image"]} if "pixel_values" in BACKBONES[backbone][1] else {"text_columns": ["text"]}
    for index in range(adapters):
        model.add_task(spec(f"task-{index}", **columns), experience=())
        model.set_stage(f"task-{index}", "complete")
    reused = model.tasks
    for name in MIXED:
        model.add_task(spec(name, **columns), experience=reused)
    return model


# The ways of computing -------------------------------------------------------------------------------------------


@contextmanager
def computing(model: AtlasModel, way: str) -> Iterator[str | list[str]]:
    """Within the block, the bare backbone computes what `way` says; gives the task or tasks to ask for."""
    if way in ("fused", "mixed"):
        yield TASK if way == "fused" else MIXED
        return
    with ExitStack() as hooks:
        for site in model.base_model.sites.values():
            function = {"bare": lambda x: x, "floor": _floor(site), "loop": partial(_loop, site)}[way]
            handle = site.base_layer.register_forward_hook(partial(_replace_output, function))
            hooks.callback(handle.remove)
        yield BASE


def _replace_output(function: Callable[[Tensor], Tensor], module: nn.Module, args: Any, output: Tensor) -> Tensor:
    """The gradient ends at the first site, as where only what is at the sites trains."""
    if torch.is_grad_enabled() and not output.requires_grad:
        output = output.detach().requires_grad_()
    return function(output)


def _floor(site: AtlasLayer) -> Callable[[Tensor], Tensor]:
    with torch.no_grad():
        down = torch.cat([site.atlas_down[name].weight for name in site.members(TASK)])
        up = torch.cat([site.atlas_up[name].weight for name in site.members(TASK)], dim=1)
    return lambda x: x + linear(linear(x, down), up)


def _loop(site: AtlasLayer, x: Tensor) -> Tensor:
    """One adapter after the other, as the formulas read."""
    config, output = site.atlas_config[TASK], x if site.atlas_config[TASK].variant == "paper" else 0
    for name, query in zip(site.members(TASK), site.queries(TASK), strict=True):
        update = site.atlas_up[name](silu(site.atlas_down[name](x)))
        adapted = x if config.variant == "paper" else x + update
        rows = torch.cat([query.expand(len(x), -1, -1), adapted], dim=1).unflatten(-1, (config.num_heads, -1))
        rows, scale = rows.transpose(1, 2), 1 / math.sqrt(x.shape[-1])
        pooled = scaled_dot_product_attention(rows[:, :, :1], rows, rows, scale=scale).transpose(1, 2).flatten(1)
        weight = (cosine_similarity(pooled, site.atlas_key[name]) + 1) / 2
        output = output + weight[:, None, None] * (update if config.variant == "paper" else adapted)
    return output


def forward(model: AtlasModel, way: str, inputs: dict[str, Tensor]) -> Tensor:
    with computing(model, way) as task:
        if way == "mixed":
            rows = len(next(iter(inputs.values())))
            task = [task[row % len(task)] for row in range(rows)]
        return model.pooled(task, **inputs)


def step(model: AtlasModel, way: str, inputs: dict[str, Tensor], labels: Tensor) -> None:
    """One training step, without the optimizer's."""
    head = model.base_model.atlas_head[TASK]
    loss = head.loss(head(forward(model, way, inputs)), labels)
    if way == "fused":
        loss = loss + 1e-7 * model.base_model.orthogonality(TASK)
    loss.backward()
    model.zero_grad()


# Measuring -------------------------------------------------------------------------------------------------------


def measure(model: AtlasModel, inputs: dict[str, Tensor], measure: str, ways: Sequence[str], repeats: int) -> Any:
    """Seconds of each repetition by way, and bytes of the peak of one training step.

    Args:
        measure: `"forward"` (evaluation, no gradients), or the stage of a training step.
        repeats: rounds; in each round every way has its turn. One more round goes before them and is not counted.
    """
    if measure == "forward":
        model.set_task(TASK)
        model.eval()
        run = torch.no_grad()(partial(forward, model, inputs=inputs))
    else:
        model.set_stage(TASK, measure)
        model.train()
        run = partial(step, model, inputs=inputs, labels=torch.zeros(len(next(iter(inputs.values()))), dtype=int))
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats + 1):
        for way in ways:
            start = time.process_time()
            run(way=way)
            seconds[way].append(time.process_time() - start)
    peaks = {} if measure == "forward" else {way: peak_bytes(partial(run, way=way)) for way in ways}
    return {way: times[1:] for way, times in seconds.items()}, peaks


def peak_bytes(function: Callable[[], None]) -> int:
    """The most memory that torch held on the CPU during a call, beyond what it held before."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        function()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def compare(
    backbone: str,
    adapters: int,
    *,
    variant: str,
    batch: int,
    tokens: int,
    dropout: float | None,
    measures: Sequence[str],
    ways: Sequence[str],
    repeats: int,
) -> list[dict[str, Any]]:
    """A record per measure and way."""
    model = build(backbone, adapters, variant, dropout)
    torch.manual_seed(0)
    inputs = {name: make(batch, tokens) for name, make in BACKBONES[backbone][1].items()}
    records = []
    for name in measures:
        taken = [way for way in ways if way != "mixed" or name == "forward"]
        seconds, peaks = measure(model, inputs, name, taken, repeats)
        for way in taken:
            records.append({"backbone": backbone, "variant": variant, "adapters": adapters, "measure": name})
            records[-1] |= {"way": way, "seconds": seconds[way], "peak_bytes": peaks.get(way)}
            for base in ("bare", "floor"):
                records[-1][f"to_{base}"] = _ratio(seconds[way], seconds[base])
            records[-1]["memory_to_floor"] = peaks[way] / peaks["floor"] if peaks else None
    return records


def _ratio(times: list[float], base: list[float]) -> dict[str, float]:
    """Of the times of each round: median and quartiles."""
    ratios = [one / other for one, other in zip(times, base, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return {"median": median, "low": low, "high": high}


# Report ----------------------------------------------------------------------------------------------------------


def table(records: Sequence[dict[str, Any]]) -> str:
    """The records as a Markdown table."""
    lines = [
        "| backbone | variant | K | measure | way | seconds | / bare | / floor | middle half | peak MiB | / floor |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for record in records:
        floor, peak = record["to_floor"], record["peak_bytes"]
        memory = ["", ""] if peak is None else [f"{peak / 2**20:.0f}", f"{record['memory_to_floor']:.2f}"]
        cells = [str(record[name]) for name in ("backbone", "variant", "adapters", "measure", "way")]
        cells += [f"{statistics.median(record['seconds']):.3f}", f"{record['to_bare']['median']:.2f}"]
        cells += [f"{floor['median']:.2f}", f"{floor['low']:.2f}-{floor['high']:.2f}", *memory]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="atlas-hf benchmark-speed", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbones", nargs="+", default=["bert-4"], choices=list(BACKBONES), help="default bert-4")
    parser.add_argument("--adapters", nargs="+", type=int, default=[1, 4, 16, 64], help="numbers of reused adapters")
    parser.add_argument("--variants", nargs="+", default=["paper"], choices=["paper", "reference"])
    parser.add_argument("--ways", nargs="+", default=list(WAYS[2:]), choices=WAYS[2:], help="beside bare and floor")
    parser.add_argument("--measures", nargs="+", default=list(MEASURES), choices=MEASURES)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=185, help="per example; ViT has 197 whatever is given")
    parser.add_argument("--dropout", type=float, help="of the backbone in training; by default its configuration's")
    parser.add_argument("--repeats", type=int, default=7, help="rounds, after one that is not counted")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="folder for speed.json and speed.md")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    sizes = {name: getattr(options, name) for name in ("batch", "tokens", "dropout", "measures", "repeats")}
    ways, records = [*WAYS[:2], *options.ways], []
    for backbone in options.backbones:
        for variant in options.variants:
            for adapters in options.adapters:
                new = compare(backbone, adapters, variant=variant, ways=ways, **sizes)
                print(table(new), flush=True)
                records += new
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        about = sizes | {"threads": options.threads, "torch": torch.__version__, "device": "cpu"}
        (options.output / "speed.json").write_text(json.dumps({"about": about, "records": records}, indent=2) + "\n")
        (options.output / "speed.md").write_text(table(records) + "\n")
