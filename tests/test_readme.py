"""The README's Python, run as printed."""

import re
from pathlib import Path

from atlas_hf.cli import main

README = Path(__file__).parent.parent / "README.md"


def test_every_python_block_runs_as_printed(tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)
    options = ["--order", "mono-first", "--smoke", "--output", "runs/digits", "--disable_tqdm", "True"]
    assert main(["learn", "--stream", "digits", *options]) == 0
    scope = {"__name__": "readme"}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), scope)
    assert "[{'label':" in capsys.readouterr().out
    assert (tmp_path / "runs/with-colour/colour/adapter_model.safetensors").is_file()
