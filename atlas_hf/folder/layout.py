"""The names of all files and folders that this package writes into a folder of learned tasks.

atlas.json      format version, base model, tasks in order, library versions (`index`)
results.json    accuracy matrix and what the card and the plots are drawn from (`results`)
README.md       the model card, with its two pictures
<task>/         adapter_config.json, adapter_model.safetensors, task.json
.checkpoints/   of the task that is being learned
.history/       each finished state's small files, for its commit on the Hub
"""

INDEX, RESULTS, CARD = "atlas.json", "results.json", "README.md"
MATRIX_PLOT, REUSE_PLOT = "accuracy_matrix.png", "reuse.png"
WEIGHTS, CONFIG, SPEC = "adapter_model.safetensors", "adapter_config.json", "task.json"
TASK_FILES = (CONFIG, WEIGHTS, SPEC)
CHECKPOINTS, HISTORY = ".checkpoints", ".history"
