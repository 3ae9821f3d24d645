"""The page of the metric in a Space."""

from atlas_hf.metrics import VqaAccuracy
from atlas_hf.metrics.widget import widget

answers = [["2"] * 9 + ["3"], ["dog"] * 2 + ["cat"] * 8]
demo = widget(VqaAccuracy, {"predictions": ["two", "a dog"], "references": answers})

if __name__ == "__main__":
    demo.launch()
