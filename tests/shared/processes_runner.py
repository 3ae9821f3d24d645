"""A program for one process or several: two tasks are learned, and every process writes down what it saw and did.

Arguments: backbone, folder to learn in, folder for the records, examples per step and process, accumulation steps.
"""

import json
import sys
from pathlib import Path

from transformers import set_seed

from atlas_hf import AtlasConfig, AtlasModel, AtlasTrainer, AtlasTrainingArguments, hub, learn_sequence
from atlas_hf.folder import tensor_bytes
from shared.tiny import splits, text_spec

backbone, folder, records, batch_size, accumulation = sys.argv[1:]
written, pushed, logs = [], [], []


def audit(event, arguments):
    """Files written or moved, and folders made, below the folder of the run."""
    opened = event == "open" and set(str(arguments[1])) & set("wax+")
    if (opened or event in ("os.mkdir", "os.rename", "os.remove")) and str(arguments[0]).startswith(folder):
        written.append(f"{event} {arguments[0]}")


def log(self, values, *args, **kwargs):
    logs.append({"task": self.task, "stage": self.stage} | values)
    return whole_log(self, values, *args, **kwargs)


sys.addaudithook(audit)
whole_log, AtlasTrainer.log = AtlasTrainer.log, log
hub.ensure_writable_repo = lambda repo_id, **_: repo_id
hub.push = lambda folder, repo_id, **_: pushed.append(repo_id)
AtlasModel.check_pushable = lambda self: None
args = AtlasTrainingArguments(
    recipe="paper",
    output_dir="unused",
    num_train_epochs=2,
    per_device_train_batch_size=int(batch_size),
    gradient_accumulation_steps=int(accumulation),
    per_device_eval_batch_size=8,
    learning_rate=1e-3,
    query_lr_multiplier=10,
    orthogonality_weight=0.1,
    max_grad_norm=1e9,
    logging_strategy="steps",
    logging_steps=1,
    report_to="none",
    disable_tqdm=True,
    use_cpu=True,
    push_to_hub=True,
    hub_model_id="user/texts",
)
set_seed(0)
model = AtlasModel.from_pretrained(backbone, config=AtlasConfig(r=4))
stream = [(text_spec(f"has-{letter}"), splits(letter, test=30)) for letter in "ab"]
results = learn_sequence(model, stream, args, folder)
state = {name: tensor_bytes(tensor).hex() for name, tensor in model.state_dict().items() if ".atlas_" in name}
record = {"logs": logs, "state": state, "matrix": results["matrix"], "written": written, "pushed": pushed}
Path(records, f"{args.process_index}.json").write_text(json.dumps(record))
