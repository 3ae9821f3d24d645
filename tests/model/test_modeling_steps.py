"""Whatever is done with a model, in whatever order: no tensor and no answer of a task ever changes."""

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModel

from atlas_hf import AtlasConfig, AtlasModel
from shared.comparing import seeded, tensor_digests
from shared.every_kind import learn, unwrapped
from shared.tiny import text_spec

TRAINED = {
    "experience": {"atlas_experience_query", "atlas_head"},
    "expansion": {"atlas_down", "atlas_up", "atlas_key", "atlas_query", "atlas_head"},
}


class Life:
    """A model and what each of its tasks answered when it had just been learned."""

    def __init__(self, backbone, folders, choose):
        torch.manual_seed(0)
        self.model = AtlasModel.from_pretrained(backbone, config=AtlasConfig(r=2))
        self.backbone, self.folders, self.choose, self.logits = backbone, folders, choose, {}
        self.inputs = self.model.preprocessor.encode_texts([["a b"], ["c"]])

    def answer(self, name):
        return seeded(self.model, name, **self.inputs)

    def any_task(self):
        return self.choose.choice(self.model.tasks or [None])

    def add(self):
        count = next(i for i in range(99) if f"t{i}" not in self.logits)
        experience = self.choose.sample(self.model.tasks, self.choose.randint(0, len(self.model.tasks)))
        learn(self.model, f"t{count}", {}, seed=count, experience=experience, r=self.choose.randint(1, 3))
        self.logits[f"t{count}"] = self.answer(f"t{count}")

    def begin_and_give_up(self):
        """A task that is learned and deleted again changes nobody either."""
        learn(self.model, "draft", {}, seed=50)
        self.model.delete_task("draft")

    def select(self):
        self.model.set_task(self.any_task())

    def bare(self):
        self.model.set_task(None)

    def disable(self):
        """Equal to the backbone that never had an adapter."""
        self.model.eval()
        with self.model.disable_adapter(), torch.no_grad():
            found = self.model.get_base_model()(**self.inputs).last_hidden_state
            bare = AutoModel.from_pretrained(self.backbone, dtype="float32").eval()(**self.inputs).last_hidden_state
        assert torch.equal(found, bare)

    def mix(self):
        """Examples of different tasks in one call get what they get alone."""
        tasks = [self.any_task() for _ in self.inputs["input_ids"]]
        if self.model.tasks:
            self.model.eval()
            with torch.no_grad():
                found = self.model(task=tasks, **self.inputs).logits
            for row, (task, logits) in enumerate(zip(tasks, found, strict=True)):
                assert torch.allclose(logits, self.logits[task][row], atol=1e-6)

    def go_through_the_stages(self):
        """Each makes its own parts trainable and no others, of no other task."""
        self.model.add_task(text_spec("draft"))
        for stage in ("experience", "expansion") if self.model.tasks[:-1] else ("expansion",):
            self.model.set_stage("draft", stage)
            found = {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
            parts = {name.split(".draft")[0].rpartition(".")[2] for name in found}
            assert all(".draft" in name for name in found) and parts == TRAINED[stage]
        self.model.set_stage("draft", "complete")
        assert not any(parameter.requires_grad for parameter in self.model.parameters())
        self.model.delete_task("draft")

    def ask(self):
        if self.model.tasks:
            self.model.predict(self.any_task(), texts="a b")

    def delete(self):
        reused = {name for config in self.model.peft_config.values() for name in config.experience}
        for name in [name for name in self.model.tasks if name not in reused][:1]:
            self.model.delete_task(name)
            del self.logits[name]

    def reload(self):
        if self.model.tasks:
            folder = self.folders.mktemp("steps")
            self.model.save_pretrained(folder)
            self.model = AtlasModel.from_pretrained(folder)


STEPS = [
    "add", "begin_and_give_up", "go_through_the_stages", "select", "bare", "disable", "ask", "mix", "delete", "reload",
]  # fmt: skip


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(st.sampled_from(STEPS), min_size=3, max_size=8), choose=st.randoms(use_true_random=False))
def test_no_sequence_of_steps_changes_a_task(bert_folder, tmp_path_factory, steps, choose):
    life = Life(bert_folder, tmp_path_factory, choose)
    before = unwrapped(tensor_digests(life.model))
    for step in ["add", "add", *steps]:
        getattr(life, step)()
        after = unwrapped(tensor_digests(life.model))
        kept = before.keys() & after.keys()
        assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
        assert step == "delete" or kept == before.keys()
        assert life.model.tasks == list(life.logits)
        assert all(torch.equal(life.answer(name), logits) for name, logits in life.logits.items())
        before = after
