"""`atlas-hf learn`."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas_hf.cli.asked import asked_tasks
from atlas_hf.cli.commands import STREAMS, check_names
from atlas_hf.cli.learn_options import STREAM, adapter_settings, learn_parser
from atlas_hf.cli.line_parser import meant
from atlas_hf.cli.option_file import take_file
from atlas_hf.cli.training_options import training_options

if TYPE_CHECKING:
    from atlas_hf.cli.own_tasks import Loaded
    from atlas_hf.model import AtlasModel
    from atlas_hf.training import AtlasTrainingArguments


def parse(argv: list[str]) -> Namespace:
    """The options as far as they are known without torch, and `argv`, which `run` reads again with it.

    `asked` are the own tasks, and `is_own` says whether they are what is learned.
    """
    parser = learn_parser(training_options())
    words, tasks = take_file(parser, argv)
    options, rest = parser.parse_known_args(words)
    if dashed := [word for word in rest if word.startswith("-")]:
        parser.error(f"there is no option {dashed[0]}. {parser.prog} --help lists them.")
    options.asked = asked_tasks(parser, options, rest, tasks, argv[0] if argv else "")
    options.is_own = bool(options.asked or options.spec)
    if options.is_own and options.stream:
        place = options.asked[0].data if options.asked else options.spec
        raise ValueError(f"Give own data ({place}) or a stream (--stream {options.stream}), not both.")
    options.stream, options.argv = options.stream or STREAM, argv
    check_names("stream", [options.stream], STREAMS)
    orders = STREAMS[options.stream]
    if not options.is_own and options.order not in (None, *orders):
        raise ValueError(f"Order {options.order!r} does not exist; possible are {', '.join(orders)}.")
    return options


def run(options: Namespace) -> None:
    """Learn, or go on learning; print the results."""
    import torch

    from atlas_hf import hub, streams
    from atlas_hf.cli.stream_tasks import load_stream
    from atlas_hf.folder import INDEX, RESULTS, Results
    from atlas_hf.report.text import format_results
    from atlas_hf.training import AtlasTrainingArguments, learn_sequence, saying_what_to_do_without_the_hub

    stream, is_own = streams.get(options.stream), options.is_own
    parser = learn_parser(AtlasTrainingArguments)
    parser.set_defaults(report_to="none", **{} if is_own else stream.TRAINING)
    parser.set_defaults(**stream.SMOKE_TRAINING if options.smoke else {})
    words, _ = take_file(parser, options.argv)
    *_, adapter, args, _ = parser.parse_args_into_dataclasses(words, return_remaining_strings=True)
    if options.push_to:
        args.push_to_hub, args.hub_model_id = True, options.push_to
        if args.process_index == 0:  # before data and backbone, which may take long
            with saying_what_to_do_without_the_hub(args):
                hub.check_login(args.hub_token)
    torch.set_num_threads(options.threads or (torch.get_num_threads() if is_own else stream.THREADS))
    say_if_busy(torch.get_num_threads())
    settings = None
    if not is_own:
        upstream, downstream, description = load_stream(stream, options)
    else:
        upstream, downstream, description = _own_stream(options), [], {}
        if options.spec_only:
            return
        said = _at_defaults(args, parser.given(words))
        settings = own_settings(options, [spec.name for spec, _ in upstream], said)
    config = {} if is_own else {"r": stream.WIDTH, "pooling": stream.POOLING}
    model = _model(*backbone_of(options, None if is_own else stream.BACKBONE_ID), config | adapter_settings(adapter))
    learn_sequence(
        model, upstream, args, options.output, downstream, reuse=not options.independent, description=description,
        max_experience=options.max_experience, settings=settings, compare_alone=options.compare_alone,
    )  # fmt: skip
    if args.process_index:
        return
    print(format_results(Results.load(Path(options.output))))
    print(f"\nWritten to {options.output}: {INDEX}, {RESULTS}, accuracy_matrix.png, reuse.png")


def say_if_busy(threads: int) -> None:
    """Others compute here, too, and threads that wait for one another may take several times as long."""
    cpus, others = os.cpu_count() or 1, round(os.getloadavg()[0]) if hasattr(os, "getloadavg") else 0
    free = max(1, cpus - others)
    if others and threads > free:
        print(
            f"Others keep {others} of this machine's {cpus} CPUs busy, and torch's {threads} threads wait for one "
            f"another: --threads {free} may be several times faster.",
            flush=True,
        )


def _own_stream(options: Namespace) -> list[Loaded]:
    """The own tasks. All places, and the backbone, are looked for before any is read."""
    from atlas_hf.cli.own_tasks import check_there, own_tasks

    for task in options.asked:
        check_there(task.data)
    if not options.spec_only:
        backbone_of(options)
    return own_tasks(options.asked, options.spec, options.output, options.stream_seed, options.spec_only)


def backbone_of(options: Namespace, default: str | None = None) -> tuple[str, str | None]:
    """The backbone that was named, or that the output folder knows, or else `default`; and its revision.

    Raises a `ValueError` if there is none, or if the one that the folder knows is no longer where it was.
    """
    from atlas_hf.folder import INDEX, Index, saying_that_nothing_was_learned

    if options.backbone:
        _check_backbone(options.backbone)
        return options.backbone, None
    folder = Path(options.output)
    with saying_that_nothing_was_learned(folder):
        known = Index.load(folder).base_model if (folder / INDEX).is_file() else None
    if known and known.id:
        if Path(known.id).is_absolute() and not Path(known.id).exists():
            raise ValueError(
                f"{folder} was learned on the backbone {known.id}, which is no longer there. --backbone PATH says "
                "where it is now."
            )
        return known.id, known.revision
    if default is None:
        raise ValueError(
            f"Own data need --backbone, as {folder} holds no tasks that know one. Give the folder or Hub id of a "
            "pretrained encoder, for example sentence-transformers/all-MiniLM-L6-v2 for texts, dandelin/vilt-b32-mlm "
            "for images."
        )
    return default, None


def _check_backbone(place: str) -> None:
    """Raise a `ValueError` for a folder that is no backbone or not there, before any data are read."""
    from atlas_hf.folder import INDEX
    from atlas_hf.hub import check_is_there
    from atlas_hf.hub.backbones import SHIPPED_BACKBONES, check_backbone_folder

    path = Path(place)
    if path.is_file():
        raise ValueError(f"The backbone {place!r} is a file. Give the folder or Hub id of a pretrained encoder.")
    if path.is_dir() and not (path / INDEX).exists() and place not in SHIPPED_BACKBONES:
        check_backbone_folder(path)
    if not path.exists():
        check_is_there(place)
        here = [found.name for found in Path().iterdir() if (found / "config.json").is_file()]
        if "/" not in place and (hint := meant([place], here)):
            raise ValueError(f"There is no folder {place!r}.{hint}")


def _model(backbone: str, revision: str | None, settings: dict[str, Any]) -> AtlasModel:
    from atlas_hf.model import AtlasModel
    from atlas_hf.tuner import AtlasConfig

    return AtlasModel.from_pretrained(backbone, config=AtlasConfig(**settings), revision=revision)


def own_settings(options: Namespace, names: Iterable[str], said: Mapping[str, Any]) -> Any:
    """The argument `settings` of `learn_sequence` for own tasks: what is not said is chosen for the data at hand.

    Args:
        said: training arguments that the line names, which count even where they are at their defaults.
    """
    own = {task.name: task.settings for task in options.asked}
    if not said and not any(own.values()):
        return "auto"
    return {name: {"auto": True, **said, **own.get(name, {})} for name in names}


def _at_defaults(args: AtlasTrainingArguments, given: Collection[str]) -> dict[str, Any]:
    """Those of the given fields that have the value which they have anyway."""
    return {
        one.name: one.default
        for one in fields(args)
        if one.init and one.name in given and getattr(args, one.name) == one.default
    }
