"""The page of the metric in a Space."""

from atlas_hf.metrics import ContinualLearning
from atlas_hf.metrics.matrix import cells
from atlas_hf.metrics.widget import widget

matrix = [[0.9, 0.5, 0.4], [0.8, 0.7, 0.5], [0.6, 0.75, 0.6]]
baselines = {"random_baseline": [0.5, 0.5, 0.25], "single_task": [0.9, 0.65, 0.7]}
demo = widget(ContinualLearning, cells(matrix) | baselines)

if __name__ == "__main__":
    demo.launch()
