"""Whatever is done with a model, in whatever order: no tensor and no answer of a task ever changes."""

import torch
from conftest import seeded, tensor_digests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_modeling import learn, unwrapped

from atlas_hf import AtlasConfig, AtlasModel


class Life:
    """A model and what each of its tasks answered when it had just been learned."""

    def __init__(self, backbone, folders, choose):
        torch.manual_seed(0)
        self.model = AtlasModel.from_pretrained(backbone, config=AtlasConfig(r=2))
        self.folders, self.choose, self.logits = folders, choose, {}
        self.inputs = self.model.encoder.encode_texts([["a b"], ["c"]])

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
        with self.model.disable_adapter():
            self.model.get_base_model()(**self.inputs)

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


STEPS = ["add", "begin_and_give_up", "select", "bare", "disable", "ask", "delete", "reload"]


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
