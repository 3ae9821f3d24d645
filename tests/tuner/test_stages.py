"""The table of stages and parts, against what a model holds."""

from atlas_hf.tuner import PARTS, REUSED, STAGES, count_by_part, part_and_task
from shared.tiny import text_spec


def test_every_parameter_belongs_to_one_part_of_one_task_or_to_the_backbone(bert):
    bert.add_task(text_spec("one"))
    bert.set_stage("one", "complete")
    bert.add_task(text_spec("one-more"))
    found = {part_and_task(name) for name, _ in bert.named_parameters()}
    first = {(part, "one") for part in PARTS if part != "atlas_experience_query"}
    assert found == first | {(part, "one-more") for part in PARTS} | {None}
    assert part_and_task("encoder.layer.0.output.dense.base_layer.weight") is None


def test_counts_by_part_add_up_to_those_of_the_model(bert):
    bert.add_task(text_spec("one"))
    bert.set_stage("one", "complete")
    bert.add_task(text_spec("two"))
    counts = count_by_part(bert, "two")
    owned = [parameter for name, parameter in bert.named_parameters() if (part_and_task(name) or ("", ""))[1] == "two"]
    assert sum(counts.values()) == sum(parameter.numel() for parameter in owned)
    groups = {"adapter": ("atlas_down", "atlas_up"), "key": ("atlas_key",), "head": ("atlas_head",)}
    groups |= {"queries": ("atlas_query", "atlas_experience_query")}
    assert bert.count_parameters("two") == {
        name: sum(counts[part] for part in group) for name, group in groups.items()
    }


def test_a_stage_freezes_what_it_does_not_train():
    for stage in STAGES.values():
        assert {*stage.trained, *stage.frozen} == set(PARTS) and not {*stage.trained} & {*stage.frozen}
    assert set(REUSED) <= set(STAGES["expansion"].trained) and not set(REUSED) & set(STAGES["experience"].trained)
