"""How long a forward pass and a training step take, and how much memory, with K adapters: `atlas-hf benchmark-speed`.

Ways of computing the same backbone take turns in one run, so that a change of the machine's speed hits all:

- `bare`: the backbone alone;
- `floor`: two plain matrix products over the stacked bottlenecks per site, which no K adapters can do without;
- `fused`: `AtlasModel`;
- `loop`: the same formulas as `fused`, one adapter after the other;
- `mixed`, forward only: `fused` with examples of four tasks in the batch, which reuse the same adapters;
- `lora`: PEFT's LoRA with as many adapters of the same width, all active (they add up, without coefficients);
- `xlora`: PEFT's X-LoRA with as many, weighted per token by a classifier; text only;
- `adapters`: AdapterFusion in the `adapters` library, a process in an environment of its own; on the CPU, in float32;
- `full`: full fine-tuning of the backbone, in place of both stages.

A training step is a forward pass in training mode, the loss, and the backward pass down to the first site; that of
`bare` and `floor` has the gradient of the input only, that of the others also those of the parameters that the
stage trains, and `fused` the orthogonality penalty. `xlora` and `adapters` weight frozen adapters, as the first stage
does, and have no second. On the CPU, times are the processor's (of all threads together),
so that other programs on the machine count less; on CUDA, those between events on the device. Medians, and as spread
the range of the middle half.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from atlas_hf.benchmark.speed.adapters_library import AdaptersWorker
from atlas_hf.benchmark.speed.adapters_worker import elapsed, peak_bytes
from atlas_hf.benchmark.speed.arguments import HELP, MEASURES, WAYS, add_arguments
from atlas_hf.benchmark.speed.ways import BACKBONES, TASK, Way, build
from atlas_hf.model.atlas_model import AtlasModel


def measure(
    model: AtlasModel,
    inputs: dict[str, Tensor],
    measure: str,
    names: Sequence[str],
    repeats: int,
    worker: AdaptersWorker | None = None,
) -> Any:
    """Seconds of each repetition by way, and bytes of the peak of one training step.

    Args:
        measure: `"forward"` (evaluation, no gradients), or the stage of a training step.
        names: of the ways.
        repeats: rounds; in each round every way has its turn. One more round goes before them and is not counted.
        worker: takes the turns of `adapters`.
    """
    if measure == "forward":
        model.set_task(TASK)
        model.eval()
    else:
        model.set_stage(TASK, measure)
        model.train()
    labels = torch.zeros(len(next(iter(inputs.values()))), dtype=int, device=model.device)
    turns: dict[str, tuple[Callable[[], float], Callable[[], int]]] = {}
    for name in names:
        if name == "adapters":
            turns[name] = partial(worker.seconds, "forward" if measure == "forward" else "step"), worker.peak_bytes
            continue
        way = Way(model, name)
        run = partial(_infer, way, inputs) if measure == "forward" else partial(way.step, inputs, labels)
        turns[name] = partial(elapsed, run, model.device), partial(peak_bytes, run, model.device)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(repeats + 1):
        for name, (turn, _) in turns.items():
            seconds[name].append(turn())
    peaks = {} if measure == "forward" else {name: peak() for name, (_, peak) in turns.items()}
    return {name: times[1:] for name, times in seconds.items()}, peaks


@torch.no_grad()
def _infer(way: Way, inputs: dict[str, Tensor]) -> Tensor:
    return way.forward(inputs)


def compare(
    backbone: str, adapters: int, variant: str, options: argparse.Namespace
) -> tuple[list[dict[str, Any]], list[str]]:
    """A record per measure and way, and a line on each way that was not measured; `options` are the command's."""
    model = build(backbone, adapters, variant, options.dropout).to(options.device)
    torch.manual_seed(0)
    makers = BACKBONES[backbone][1]
    inputs = {name: make(options.batch, options.tokens).to(options.device) for name, make in makers.items()}
    records = []
    with ExitStack() as stack:
        worker, reasons = _optional(model, inputs, options)
        notes = [f"{way} on {backbone}: not measured ({reason})" for way, reason in reasons.items()]
        if worker:
            stack.callback(worker.close)
            notes.append(f"adapters on {backbone}: {', '.join(map(' '.join, worker.versions.items()))}")
        for name in options.measures:
            ways = [way for way in [*WAYS[:2], *options.ways] if way not in reasons.keys() | MEASURES[name]]
            with torch.autocast(options.device, torch.bfloat16) if options.bf16 else nullcontext():
                found = measure(model, inputs, name, ways, options.repeats, worker)
            about = {"backbone": backbone, "variant": variant, "adapters": adapters, "measure": name}
            records += [about | record for record in _records(*found, options.batch)]
    return records, notes


def _optional(
    model: AtlasModel, inputs: dict[str, Tensor], options: argparse.Namespace
) -> tuple[AdaptersWorker | None, dict[str, str]]:
    """What measures `adapters`, if it can be, and by way why those that were asked for cannot."""
    worker, reasons = None, {}
    if "xlora" in options.ways and "pixel_values" in inputs:
        reasons["xlora"] = "X-LoRA weights its adapters per text token, and takes no images"
    if "adapters" in options.ways:
        try:
            worker = _worker(model, inputs, options)
        except ValueError as error:
            reasons["adapters"] = str(error)
    return worker, reasons


def _worker(model: AtlasModel, inputs: dict[str, Tensor], options: argparse.Namespace) -> AdaptersWorker:
    if not options.adapters_python:
        raise ValueError("give --adapters_python")
    if options.bf16 or model.device.type != "cpu":
        raise ValueError("on the CPU and without --bf16 only")
    return AdaptersWorker(options.adapters_python, model, TASK, inputs, options.threads)


def _records(seconds: dict[str, list[float]], peaks: dict[str, int], batch: int) -> list[dict[str, Any]]:
    """Of one measure, one per way."""
    records = []
    for way, times in seconds.items():
        record = {"way": way, "seconds": times, "peak_bytes": peaks.get(way)}
        record["samples_per_second"] = batch / statistics.median(times)
        for base in {"bare", "floor", "fused"} & seconds.keys():
            record[f"to_{base}"] = _ratio(times, seconds[base])
        records.append(record | {"memory_to_floor": peaks[way] / peaks["floor"] if peaks else None})
    return records


def _ratio(times: list[float], base: list[float]) -> dict[str, float]:
    """Of the times of each round: median and quartiles."""
    ratios = [one / other for one, other in zip(times, base, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return {"median": median, "low": low, "high": high}


def table(records: Sequence[dict[str, Any]]) -> str:
    """The records as a Markdown table."""
    lines = [
        "| backbone | variant | K | measure | way | samples/s | / bare | / floor | middle half | peak MiB | / floor |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for record in records:
        floor, peak = record["to_floor"], record["peak_bytes"]
        memory = ["", ""] if peak is None else [f"{peak / 2**20:.0f}", f"{record['memory_to_floor']:.2f}"]
        cells = [str(record[name]) for name in ("backbone", "variant", "adapters", "measure", "way")]
        cells += [f"{record['samples_per_second']:.3g}", f"{record['to_bare']['median']:.2f}"]
        cells += [f"{floor['median']:.2f}", f"{floor['low']:.2f}-{floor['high']:.2f}", *memory]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: Sequence[str]) -> None:
    """`run` with the options of a line."""
    parser = argparse.ArgumentParser(description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    run(parser.parse_args(argv))


def run(options: argparse.Namespace) -> None:
    """Measure, print, and write `speed.json` and `speed.md`; the options are those of `add_arguments`."""
    options.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(options.threads)
    records, notes = [], []
    for backbone in options.backbones:
        for variant in options.variants:
            for adapters in options.adapters:
                new, about = compare(backbone, adapters, variant, options)
                print("\n".join([table(new), *about]), flush=True)
                records, notes = records + new, list(dict.fromkeys([*notes, *about]))
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        places = ("output", "adapters_python")
        about = {name: value for name, value in vars(options).items() if name not in places}
        about |= {"torch": torch.__version__, "notes": notes}
        (options.output / "speed.json").write_text(json.dumps({"about": about, "records": records}, indent=2) + "\n")
        lines = [table(records), *([""] if notes else []), *(f"- {note}" for note in notes)]
        (options.output / "speed.md").write_text("\n".join(lines) + "\n")
