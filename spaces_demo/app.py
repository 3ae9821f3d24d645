"""The demo of atlas-hf/digits-atlas. Its code is in atlas_hf/demo/."""

from atlas_hf.demo import launch

launch()
