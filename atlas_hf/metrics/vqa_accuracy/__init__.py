"""A metric as `evaluate.load` takes it; the class is `atlas_hf.metrics.VqaAccuracy`."""
