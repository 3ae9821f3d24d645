"""`atlas-hf learn`."""

from argparse import Namespace
from pathlib import Path

from atlas_hf.cli.commands import STREAMS, check_names
from atlas_hf.cli.learn_options import adapter_settings, learn_parser, take_file
from atlas_hf.cli.training_options import training_options


def parse(argv: list[str]) -> Namespace:
    """The options as far as they are known without torch, and `argv`, which `run` reads again with it."""
    parser = learn_parser(training_options())
    options = parser.parse_args(take_file(parser, argv))
    check_names("stream", [options.stream], STREAMS)
    orders = STREAMS[options.stream]
    if not (options.data or options.spec) and options.order not in (None, *orders):
        raise ValueError(f"Order {options.order!r} does not exist; possible are {', '.join(orders)}.")
    options.argv = argv
    return options


def run(options: Namespace) -> None:
    """Learn, or go on learning; print the results."""
    import torch

    from atlas_hf import hub, streams
    from atlas_hf.cli.own_tasks import own_tasks
    from atlas_hf.cli.stream_tasks import load_stream
    from atlas_hf.folder import INDEX, RESULTS, Results
    from atlas_hf.model import AtlasModel
    from atlas_hf.report.text import format_results
    from atlas_hf.training import AtlasTrainingArguments, learn_sequence, saying_what_to_do_without_the_hub
    from atlas_hf.tuner import AtlasConfig

    stream, is_own = streams.get(options.stream), bool(options.data or options.spec)
    parser = learn_parser(AtlasTrainingArguments)
    parser.set_defaults(report_to="none", **{} if is_own else stream.TRAINING)
    parser.set_defaults(**stream.SMOKE_TRAINING if options.smoke else {})
    options, own, adapter, args = parser.parse_args_into_dataclasses(take_file(parser, options.argv))
    if options.push_to:
        args.push_to_hub, args.hub_model_id = True, options.push_to
        if args.process_index == 0:  # before data and backbone, which may take long
            with saying_what_to_do_without_the_hub(args):
                hub.check_login(args.hub_token)
    torch.set_num_threads(options.threads or (torch.get_num_threads() if is_own else stream.THREADS))
    if not is_own:
        upstream, downstream, description = load_stream(stream, options)
    else:
        upstream, downstream, description = own_tasks(own, options.output, options.stream_seed), [], {}
        if own.spec_only:
            return
        if not options.backbone:
            raise ValueError("--data needs --backbone: a folder or Hub id, for example dandelin/vilt-b32-mlm.")
    config = AtlasConfig(
        **({} if is_own else {"r": stream.WIDTH, "pooling": stream.POOLING}) | adapter_settings(adapter)
    )
    model = AtlasModel.from_pretrained(options.backbone or stream.BACKBONE_ID, config=config)
    learn_sequence(
        model, upstream, args, options.output, downstream, reuse=not options.independent, description=description,
        max_experience=options.max_experience,
    )  # fmt: skip
    if args.process_index:
        return
    print(format_results(Results.load(Path(options.output))))
    print(f"\nWritten to {options.output}: {INDEX}, {RESULTS}, accuracy_matrix.png, reuse.png")
