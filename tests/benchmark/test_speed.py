"""The benchmark of speed: that its ways compute what they say, and that it reports what it measured."""

import json
import runpy
import subprocess
import sys
from functools import partial

import pytest
import torch
import transformers

from atlas_hf.benchmark.speed import arguments, startup
from atlas_hf.benchmark.speed import run as speed
from atlas_hf.benchmark.speed import ways as speed_ways
from atlas_hf.benchmark.speed.adapters_worker import peak_bytes

SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    def config(**changes):
        return transformers.BertConfig(vocab_size=1000, **SMALL, **changes)

    monkeypatch.setitem(speed_ways.BACKBONES, "bert", (config, speed_ways.TEXT))


def inputs(batch=4, tokens=7):
    torch.manual_seed(0)
    return {name: make(batch, tokens) for name, make in speed_ways.TEXT.items()}


@pytest.mark.parametrize("variant", ["paper", "reference"])
@pytest.mark.parametrize("adapters", [1, 3])
def test_the_loop_computes_what_the_fused_sites_do(variant, adapters):
    model, batch = speed_ways.build("bert", adapters, variant, width=4).eval(), inputs()
    with torch.no_grad():
        found = {way: speed_ways.Way(model, way).forward(batch) for way in arguments.WAYS}
    torch.testing.assert_close(found["loop"], found["fused"], atol=1e-5, rtol=1e-5)
    assert (found["bare"] - found["fused"]).abs().max() > 1e-3
    assert (found["floor"] - found["bare"]).abs().max() > 1e-3
    torch.testing.assert_close(found["mixed"][0], found["fused"][0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("way", ["bare", "floor", "fused", "loop"])
def test_a_step_goes_back_to_the_first_site_and_leaves_nothing(way):
    model, batch, reached = speed_ways.build("bert", 2, width=4, dropout=0.0).train(), inputs(), []
    model.set_stage(speed_ways.TASK, "experience")
    first = next(iter(model.base_model.sites.values()))
    first.base_layer.register_forward_hook(
        lambda module, args, output: reached.append(args[0].requires_grad), prepend=True
    )

    def watch(site, args, output):
        output.register_hook(lambda gradient: reached.append(bool(gradient.abs().sum() > 0)))

    first.register_forward_hook(watch)
    speed_ways.Way(model, way).step(batch, torch.zeros(4, dtype=int))
    assert reached == [False, True]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert len(first.base_layer._forward_hooks) == 1


def test_peak_bytes_counts_what_was_held_at_once():
    mib = 2**18  # float32

    def one_after_the_other():
        for _ in range(3):
            torch.ones(4 * mib)

    def together():
        return torch.ones(4 * mib), torch.ones(4 * mib)

    assert peak_bytes(one_after_the_other, torch.device("cpu")) == pytest.approx(4 * 2**20, rel=0.01)
    assert peak_bytes(together, torch.device("cpu")) == pytest.approx(8 * 2**20, rel=0.01)


def test_the_command_writes_json_and_markdown(tmp_path, capsys):
    options = ["--backbones", "bert", "--adapters", "1", "2", "--batch", "4", "--tokens", "6", "--repeats", "2"]
    speed.main([*options, "--output", str(tmp_path)])
    report = json.loads((tmp_path / "speed.json").read_text())
    records = report["records"]
    assert len(records) == 2 * (7 + 6 + 5)
    assert {(r["measure"], r["way"]) for r in records} == {
        *((measure, way) for measure in speed.MEASURES for way in ("bare", "floor", "fused", "loop", "lora")),
        ("forward", "mixed"), ("forward", "xlora"), ("experience", "xlora"),
    }  # fmt: skip
    assert all(len(r["seconds"]) == 2 and min(r["seconds"]) > 0 for r in records)
    assert all(r["to_floor"]["median"] == 1 for r in records if r["way"] == "floor")
    assert all((r["peak_bytes"] is None) == (r["measure"] == "forward") for r in records)
    assert report["about"]["batch"] == 4 and report["about"]["torch"] == torch.__version__
    lines = (tmp_path / "speed.md").read_text().splitlines()
    note = "adapters on bert: not measured (give --adapters_python)"
    assert report["about"]["notes"] == [note] and lines[-2:] == ["", f"- {note}"]
    assert len(lines) == 2 + len(records) + 2 and all(line.count("|") == 12 for line in lines[:-2])
    assert lines[2] in capsys.readouterr().out


@pytest.mark.slow
def test_the_command_line():
    command = [sys.executable, "-m", "atlas_hf.cli", "benchmark-speed", "--batch", "1", "--tokens", "8"]
    command += ["--adapters", "1", "--repeats", "1", "--measures", "forward"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "| bert-4 | paper | 1 | forward | fused |" in run.stdout


def test_lora_adds_up_as_many_adapters_and_trains_one():
    model = speed_ways.build("bert", 2, width=4).eval()
    way, batch = speed_ways.Way(model, "lora"), inputs()
    assert way.other.active_adapters == ["task-0", "task-1"]
    with torch.no_grad():
        before = way.forward(batch)
        for name, parameter in way.other.named_parameters():
            if "lora_B" in name and ".task-1." in name:
                parameter.normal_()
        assert (way.forward(batch) - before).abs().max() > 1e-3
    model.set_stage(speed_ways.TASK, "expansion")
    trained = [name for name, p in speed_ways.Way(model, "lora").other.named_parameters() if p.requires_grad]
    assert len(trained) == 4 and all(f".{speed_ways.TASK}." in name for name in trained)


def test_xlora_weights_frozen_adapters_and_trains_its_classifier(monkeypatch):
    model, trained = speed_ways.build("bert", 3, width=4, dropout=0.0).train(), []
    model.set_stage(speed_ways.TASK, "experience")
    way, batch = speed_ways.Way(model, "xlora"), inputs()

    def gradients():
        trained.extend(name for name, p in way.other.named_parameters() if p.grad is not None and p.grad.abs().sum())

    monkeypatch.setattr(way.other, "zero_grad", gradients)
    way.step(batch, torch.zeros(4, dtype=int))
    assert len(trained) == 2 and all("internal_xlora_classifier" in name for name in trained)
    assert {name for name, p in way.other.named_parameters() if p.requires_grad} == set(trained)
    assert way.other.get_latest_scalings().shape == (4, 7, 2, 3), "examples, tokens, sites, adapters"
    way.other.eval()
    with torch.no_grad():
        before = way.forward(batch)
        for index in range(3):
            for name, parameter in way.other.named_parameters():
                parameter.mul_(3 if f"lora_B.{index}." in name else 1)
            after = way.forward(batch)
            assert (after - before).abs().max() > 1e-4, f"adapter {index} takes part"
            before = after


def test_xlora_says_that_it_takes_no_images(monkeypatch, capsys):
    config = partial(transformers.ViTConfig, image_size=224, patch_size=112, **SMALL)
    monkeypatch.setitem(speed_ways.BACKBONES, "vit", (config, speed_ways.IMAGE))
    options = ["--backbones", "vit", "--adapters", "1", "--batch", "1", "--repeats", "1", "--measures", "forward"]
    speed.main([*options, "--ways", "xlora"])
    text = capsys.readouterr().out
    assert "xlora on vit: not measured (X-LoRA weights its adapters per text token, and takes no images)" in text
    assert "| floor |" in text and "| xlora |" not in text


def test_full_fine_tuning_trains_every_weight_and_no_adapter(monkeypatch):
    model, trained = speed_ways.build("bert", 1, width=4, dropout=0.0).train(), []
    way = speed_ways.Way(model, "full")
    grads = (parameter.grad is not None for parameter in way.other.parameters())
    monkeypatch.setattr(way.other, "zero_grad", lambda: trained.extend(grads))
    way.step(inputs(), torch.zeros(4, dtype=int))
    assert len(trained) == len(list(model.get_base_model().parameters())) - len(_adapters(model)) and all(trained)


def _adapters(model):
    return [name for name, _ in model.get_base_model().named_parameters() if ".atlas_" in name]


def test_start_up_is_measured_in_turns_and_compared_with_peft(tmp_path, monkeypatch, capsys):
    clock, order = iter(range(1, 1000)), []

    def seconds(start):
        order.append(start)
        wall = 2.0 if start == startup.BASE else float(next(clock))
        return wall, wall / 2

    monkeypatch.setattr(startup, "import_seconds", seconds)
    monkeypatch.setattr(startup, "command_seconds", seconds)
    speed.main(["--measures", "startup", "--repeats", "5", "--output", str(tmp_path)])
    starts = [*startup.IMPORTS, *startup.COMMANDS]
    assert order == starts * 6
    report = json.loads((tmp_path / "speed.json").read_text())
    assert report["records"] == [] and [record["start"] for record in report["startup"]] == starts
    second = report["startup"][1]
    assert second["seconds"] == [6, 11, 16, 21, 26], "the first round does not count"
    assert second["cpu_seconds"] == [3, 5.5, 8, 10.5, 13]
    assert second["to_peft"]["median"] == 8 and report["startup"][0]["to_peft"]["median"] == 1
    lines = (tmp_path / "speed.md").read_text().splitlines()
    assert lines[0].startswith("| start | seconds | middle half | / `import peft` | middle half | CPU seconds |")
    ratio = "8.00 | 4.25-11.75"
    assert lines[3] == f"| `import atlas_hf` | 16.00 | 8.50-23.50 | {ratio} | 8.00 | 4.25-11.75 | {ratio} |"
    assert all(line.count("|") == 10 for line in lines)
    assert len(lines) == 2 + len(starts) and lines[3] in capsys.readouterr().out


def test_start_up_is_asked_for_by_name_or_by_the_module(monkeypatch):
    monkeypatch.setattr(startup, "measure", lambda repeats: pytest.fail("start-up was not asked for"))
    speed.main(["--adapters", "1", "--batch", "1", "--tokens", "4", "--repeats", "1", "--backbones", "bert"])
    asked = []
    monkeypatch.setattr(speed, "main", lambda *arguments: asked.append(arguments))
    monkeypatch.setattr(sys, "argv", ["speed", "--repeats", "3"])
    runpy.run_module("atlas_hf.benchmark.speed", run_name="__main__")
    assert asked == [(["--repeats", "3"], ["forward", "experience", "expansion", "startup"])]


def test_the_seconds_of_an_import_are_those_of_a_fresh_interpreter():
    wall, cpu = startup.import_seconds("import this")
    assert 0 < cpu < 5 and wall > 0
    wall, cpu = startup.import_seconds("time.sleep(0.2)")
    assert cpu < 0.1 < 0.2 <= wall
    with pytest.raises(RuntimeError, match="(?s)ended with status 1:.*No module named 'no_such_module'"):
        startup.import_seconds("import no_such_module")


@pytest.mark.slow
def test_every_start_works():
    assert all(record["seconds"][0] > 0 for record in startup.measure(repeats=1))
