"""`atlas-hf`: learn a stream, evaluate, predict, look into a folder."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import HfArgumentParser
from transformers.utils import logging as transformers_logging

from atlas_hf import hub, streams
from atlas_hf.benchmark.speed import run as speed
from atlas_hf.cli.benchmark_command import BENCHMARK_HELP, REPORT_HELP, benchmark, report
from atlas_hf.cli.demo_command import DEMO_HELP, PUSH_SPACE_HELP, demo, push_space
from atlas_hf.cli.own_command import OwnDataArguments, own_tasks
from atlas_hf.cli.prune_command import PRUNE_HELP, prune
from atlas_hf.cli.stream_command import load_stream, load_test
from atlas_hf.folder import INDEX, RESULTS, Index, Results, read_json
from atlas_hf.hub.sources import locate
from atlas_hf.model.atlas_model import AtlasModel
from atlas_hf.report.card import write_card, write_cards, write_task_card
from atlas_hf.report.text import format_info, format_results
from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.sequence import evaluate_task, learn_sequence
from atlas_hf.tuner import AtlasConfig

LEARN_HELP = """Learn a stream of tasks, each in two stages, and write every finished task to a folder.

Example:
  atlas-hf learn --stream digits --order mono-first --output runs/digits
  atlas-hf learn --stream digits --smoke --output runs/smoke
  atlas-hf learn --stream climb --order mono-first --low-shot 2048 --output runs/climb
  atlas-hf learn --data pets/ --image-column photo --label-column animal --backbone BACKBONE --output runs/pets
  atlas-hf learn run.yaml                      (the same options, as YAML)

Run again with the same folder, it goes on with the next task. The options that are not about the stream are
transformers' TrainingArguments; their defaults here are the stream's own."""

EVALUATE_HELP = """Score the tasks of a folder or repository on the test data of the stream they were learned from.

Example:
  atlas-hf evaluate runs/digits --tasks vqa entailment"""

PREDICT_HELP = """Ask a learned task, and print its answers with scores, best first.

Example:
  atlas-hf predict runs/digits --task vqa --images scene.png --text "what digit is at the top left ?"
  atlas-hf predict runs/digits --task text-choice --text "which is larger ?" --choices seven three"""

INFO_HELP = """What is in a folder or repository: tasks, what each reuses, parameters, accuracy matrix.

Example:
  atlas-hf info runs/digits"""

PUSH_HELP = """Bring every finished task of a folder to the Hub: one commit and one tag each, exactly once.

Example:
  atlas-hf push runs/digits me/digits-atlas

What is there already is not sent; safe to run again after any interruption."""

CARD_HELP = """Write the model card (README.md) of a folder anew, or those of its tasks.

Example:
  atlas-hf card runs/digits --repo-id me/digits-atlas
  atlas-hf card runs/digits --tasks vqa"""


@dataclass
class LearnArguments:
    """Options of `atlas-hf learn` beside the training arguments."""

    output: str = field(metadata={"help": "Folder for the tasks, results.json and the plots."})
    stream: str = field(default="digits", metadata={"help": f"One of: {', '.join(streams.STREAMS)}."})
    order: str = field(default="multi-first", metadata={"help": "multi-first or mono-first."})
    tasks: list[str] | None = field(default=None, metadata={"help": "Only these upstream tasks."})
    downstream: bool = field(default=False, metadata={"help": "Learn the downstream tasks too, each on its own."})
    downstream_tasks: list[str] | None = field(default=None, metadata={"help": "Only these of them, or others."})
    sources: list[str] | None = field(
        default=None, metadata={"help": "TASK=PLACE: read a task of the Hub from another data set or folder."}
    )
    backbone: str | None = field(default=None, metadata={"help": "Folder or Hub id; by default the stream's own."})
    max_experience: int | None = field(
        default=None, metadata={"help": "Reuse so many earlier tasks at most, those that suit best; by default all."}
    )
    independent: bool = field(default=False, metadata={"help": "Learn every task alone, without reuse, to compare."})
    train_size: int | None = field(default=None, metadata={"help": "Training examples per task."})
    low_shot: int | None = field(default=None, metadata={"help": "Learn from so many examples, drawn by seed."})
    stream_seed: int = field(default=0, metadata={"help": "Seed of the data; --seed is that of training."})
    threads: int | None = field(default=None, metadata={"help": "CPU threads; by default the stream's own."})
    push_to: str | None = field(default=None, metadata={"help": "Push each finished task to this Hub repository."})
    smoke: bool = field(default=False, metadata={"help": "Everything at tiny sizes, in seconds; learns little."})
    variant: str = field(default="paper", metadata={"help": "paper (published figure) or reference (released code)."})
    weighting: str = field(default="adapter", metadata={"help": "A coefficient per adapter, or per channel."})
    init_queries: str | None = field(default=None, metadata={"help": "screened, opposed or normal; see AtlasConfig."})
    r: int | None = field(default=None, metadata={"help": "Width of the adapters; by default the stream's own."})


def learn(argv: Sequence[str]) -> None:
    parser = HfArgumentParser(
        (LearnArguments, OwnDataArguments, AtlasTrainingArguments),
        prog="atlas-hf learn",
        usage="atlas-hf learn [FILE.yaml] [--option value ...]    (all options: atlas-hf learn --help)",
        description=LEARN_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options, own, args = _parse_learn(parser, list(argv))
    if options.push_to:
        args.push_to_hub, args.hub_model_id = True, options.push_to
    stream = streams.get(options.stream)
    torch.set_num_threads(options.threads or (torch.get_num_threads() if own.given else stream.THREADS))
    if own.given:
        upstream, downstream, description = own_tasks(own, options.output, options.stream_seed), [], {}
        if own.spec_only:
            return
        if not options.backbone:
            raise ValueError("--data needs --backbone: a folder or Hub id, for example dandelin/vilt-b32-mlm.")
    else:
        upstream, downstream, description = load_stream(stream, options)
    settings = {name: getattr(options, name) for name in ("variant", "weighting", "init_queries")}
    width = options.r or (AtlasConfig().r if own.given else stream.WIDTH)
    config = AtlasConfig(r=width, **settings)
    model = AtlasModel.from_pretrained(options.backbone or stream.BACKBONE_ID, config=config)
    learn_sequence(
        model, upstream, args, options.output, downstream, reuse=not options.independent, description=description,
        max_experience=options.max_experience,
    )
    if args.process_index:
        return
    print(format_results(Results.load(Path(options.output))))
    print(f"\nWritten to {options.output}: {INDEX}, {RESULTS}, accuracy_matrix.png, reuse.png")


def _parse_learn(
    parser: HfArgumentParser, argv: list[str]
) -> tuple[LearnArguments, OwnDataArguments, AtlasTrainingArguments]:
    """The stream, if any, decides the defaults, so it is read first; YAML counts as if its lines were options."""
    if argv and argv[0].endswith((".yaml", ".yml")):
        argv = _yaml_options(Path(argv[0])) + argv[1:]
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--stream", default="digits")
    first.add_argument("--smoke", action="store_true")
    first.add_argument("--data")
    first.add_argument("--spec")
    known, _ = first.parse_known_args(argv)
    stream = streams.get(known.stream)
    training = {} if known.data or known.spec else stream.TRAINING
    parser.set_defaults(report_to="none", **training | (stream.SMOKE_TRAINING if known.smoke else {}))
    return parser.parse_args_into_dataclasses(argv)


def _yaml_options(path: Path) -> list[str]:
    """`name: value` lines of a YAML file as command line options."""
    import yaml

    if not path.is_file():
        raise ValueError(f"There is no file {path}. Give a YAML file of options, or the options themselves.")
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no `option: value` lines.")
    argv = []
    for name, value in values.items():
        items = value if isinstance(value, list) else [value]
        argv += [f"--{name}", *(str(item) for item in items)]
    return argv


def evaluate(argv: Sequence[str]) -> None:
    parser = _parser("evaluate", EVALUATE_HELP)
    parser.add_argument("model", help="folder or Hub repository")
    parser.add_argument("--tasks", nargs="+", help="by default all")
    parser.add_argument("--revision", help="commit, branch or tag, for a repository")
    parser.add_argument("--sources", nargs="+", metavar="TASK=PLACE", help="as they were for learn, if local folders")
    options = parser.parse_args(argv)
    model = AtlasModel.from_pretrained(options.model, options.revision, options.tasks)
    results = Results.load(_folder(options.model, options.revision))
    args = AtlasTrainingArguments(output_dir=".", report_to="none")
    for name in options.tasks or model.tasks:
        spec, data = load_test(results.description, name, options.sources)
        metrics = evaluate_task(model, name, data, args)
        print(f"{name}: {spec.metric} {metrics[spec.metric]:.4f}  loss {metrics['loss']:.4f}", flush=True)


def predict(argv: Sequence[str]) -> None:
    parser = _parser("predict", PREDICT_HELP)
    parser.add_argument("model", help="folder or Hub repository")
    parser.add_argument("--task", required=True)
    parser.add_argument("--images", nargs="+", help="one image file, or two for a task about pairs")
    parser.add_argument("--text", nargs="+", help="one text, or one per text column")
    parser.add_argument("--choices", nargs="+")
    parser.add_argument("--top-k", type=int, default=5)
    parser.add_argument("--revision", help="commit, branch or tag, for a repository")
    options = parser.parse_args(argv)
    model = AtlasModel.from_pretrained(options.model, options.revision, [options.task])
    images, texts = (tuple(value) if value else None for value in (options.images, options.text))
    for answer in model.predict(options.task, images, texts, options.choices, top_k=options.top_k):
        print(f"{answer['score']:.4f}  {answer['label']}")


def info(argv: Sequence[str]) -> None:
    parser = _parser("info", INFO_HELP)
    parser.add_argument("model", help="folder or Hub repository")
    parser.add_argument("--revision", help="commit, branch or tag, for a repository")
    parser.add_argument("--json", action="store_true", help="atlas.json and results.json as one JSON object")
    options = parser.parse_args(argv)
    folder = _folder(options.model, options.revision)
    index = Index.load(folder)
    if options.json:
        results = read_json(folder / RESULTS) if (folder / RESULTS).is_file() else None
        print(json.dumps({"index": read_json(folder / INDEX), "results": results}, indent=2, ensure_ascii=False))
    else:
        print(format_info(index, Results.load(folder)))


def push(argv: Sequence[str]) -> None:
    parser = _parser("push", PUSH_HELP)
    parser.add_argument("folder", type=Path)
    parser.add_argument("repo_id", help="name or owner/name; made if it is not there")
    parser.add_argument("--private", action="store_true", default=None, help="make a new repository private")
    parser.add_argument("--token", help="by default the one of `hf auth login` or HF_TOKEN")
    options = parser.parse_args(argv)
    repo_id = hub.check_access(options.repo_id, private=options.private, token=options.token)
    write_cards(options.folder, repo_id)
    for task in hub.push(options.folder, repo_id, private=options.private, token=options.token):
        kept = f", left alone as edited on the Hub: {', '.join(task.kept)}" if task.kept else ""
        print(f"{task.tag}  {task.commit[:12]}  {'pushed' if task.new else 'was there'}{kept}")


def card(argv: Sequence[str]) -> None:
    parser = _parser("card", CARD_HELP)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repo-id", help="the repository that the code in the card loads from")
    parser.add_argument("--tasks", nargs="+", help="cards of these tasks, in their folders, instead")
    options = parser.parse_args(argv)
    if options.tasks:
        written = [write_task_card(options.folder, task, options.repo_id) for task in options.tasks]
    else:
        written = [write_card(options.folder, options.repo_id)]
    print("\n".join(map(str, written)))


COMMANDS: Mapping[str, tuple[Callable[[Sequence[str]], None], str]] = {
    "learn": (learn, LEARN_HELP),
    "evaluate": (evaluate, EVALUATE_HELP),
    "predict": (predict, PREDICT_HELP),
    "info": (info, INFO_HELP),
    "prune": (prune, PRUNE_HELP),
    "push": (push, PUSH_HELP),
    "card": (card, CARD_HELP),
    "benchmark": (benchmark, BENCHMARK_HELP),
    "report": (report, REPORT_HELP),
    "benchmark-speed": (speed.main, speed.HELP),
    "demo": (demo, DEMO_HELP),
    "push-space": (push_space, PUSH_SPACE_HELP),
}


def _folder(model_id: str, revision: str | None) -> Path:
    folder = locate(model_id, revision)
    if folder is None:
        raise ValueError(f"{model_id} holds no tasks: it has no {INDEX}.")
    return folder


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=f"atlas-hf {name}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0, or 2 with one line on standard error where the input is at fault."""
    argv = list(sys.argv[1:] if argv is None else argv)
    width = max(map(len, COMMANDS)) + 2
    commands = "\n".join(f"  {name:<{width}}{text.splitlines()[0]}" for name, (_, text) in COMMANDS.items())
    if not argv or argv[0] in ("-h", "--help") or argv[0] not in COMMANDS:
        usage = f"usage: atlas-hf COMMAND ...\n\n{commands}\n\n`atlas-hf COMMAND --help` shows an example."
        if not argv or argv[0] in ("-h", "--help"):
            print(usage)
            return 0
        print(f"atlas-hf: there is no command {argv[0]!r}\n{usage}", file=sys.stderr)
        return 2
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        COMMANDS[argv[0]][0](argv[1:])
    except (ValueError, hub.HubError, OSError, FloatingPointError) as error:
        print(f"atlas-hf {argv[0]}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
