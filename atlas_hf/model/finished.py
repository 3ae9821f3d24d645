"""What is finished stays finished: which tasks may learn, and which weights may be loaded over."""

from collections.abc import Mapping, Sequence

from atlas_hf.tuner import BASE, AtlasConfig, AtlasLayer, reused_by


def check_finished(task: str, reused: Sequence[str], configs: Mapping[str, AtlasConfig]) -> None:
    """Raise a `ValueError` unless what a task reuses is finished: a task that others reuse can learn no more."""
    unfinished = {name: stage for name in reused if (stage := configs[name].stage) != "complete"}
    if unfinished:
        raise ValueError(
            f"Task '{task}' cannot learn on {list(unfinished)}, not finished yet ({unfinished}): they could never "
            "learn any more. Train them first, or leave them out of `experience`; if they are as they should be, "
            "say so: set_stage(name, 'complete')."
        )


def check_may_learn(task: str, configs: Mapping[str, AtlasConfig], relearn: bool) -> None:
    """Raise a `ValueError` unless a task may learn, see `TaskModel.check_may_learn`."""
    if users := reused_by(task, configs):
        raise ValueError(
            f"Task '{task}' cannot learn on: {users} reuse its adapter, and would change with it. Add a new task "
            "that reuses it instead."
        )
    if configs[task].stage == "complete" and not relearn:
        raise ValueError(
            f"Task '{task}' is finished, and stays as it is. To learn it anew, remove it first, "
            f"model.delete_task('{task}'), and add it again. To learn it on from its present state, say so: "
            f"AtlasTrainer(..., relearn=True) or set_stage('{task}', stage, relearn=True). Or add a new task that "
            "reuses it."
        )
    check_finished(task, configs[task].experience, configs)


def taken(task: str, configs: Mapping[str, AtlasConfig]) -> str:
    """What to say to someone who adds a task of a name that there is already."""
    users, there = reused_by(task, configs), [name for name in configs if name != BASE]
    first = f" (and before that {users}, which reuse it)" if users else ""
    return (
        f"There is a task {task!r} already; there are {there}. Choose another name, or, to learn it anew, "
        f"remove it first: model.delete_task({task!r}){first}."
    )


def check_switched_on(sites: Mapping[str, AtlasLayer]) -> None:
    """Raise a `ValueError` if the adapters are switched off: a training would not move them."""
    if any(site.disable_adapters for site in sites.values()):
        raise ValueError(
            "The adapters are switched off (disable_adapter, disable_adapter_layers), so that nothing but a head "
            "would learn. Leave the `with model.disable_adapter()` block, or call "
            "model.base_model.enable_adapter_layers()."
        )


def check_may_be_loaded_over(task: str, configs: Mapping[str, AtlasConfig]) -> None:
    """Raise a `ValueError` if other weights would take the place of a task's that is finished or reused."""
    users = reused_by(task, configs)
    if users or configs[task].stage == "complete":
        why = f"{users} reuse it" if users else "it is finished"
        raise ValueError(
            f"There is a task {task!r} already, and {why}: its weights stay. Load the adapter under another name, or "
            "into another model."
        )
