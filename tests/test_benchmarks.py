"""The benchmarks run; what they measure is not tested."""

import json

import torch

from benchmarks import models, scaling, scan, timing
from recbole_echomamba.ops import dispatch


def test_models_are_measured_with_their_ratio_to_sasrec_and_kept_as_json():
    parser = models.make_parser("", shapes=["2x8"], repetitions=2)
    flags = ["--models", "SASRec", "EchoMamba4Rec (full scan)", "--device=cpu", "--json=figures.json"]
    threads = torch.get_num_threads()
    figures = models.measure("training step", "train_step", parser.parse_args([*flags, f"--threads={threads}"]))
    assert [(entry["model"], entry["batch"], entry["length"], len(entry["seconds"])) for entry in figures] == [
        ("SASRec", 2, 8, 2),
        ("EchoMamba4Rec (full scan)", 2, 8, 2),
    ]
    assert figures[0]["ratio"] == 1
    with open("figures.json") as file:
        kept = json.load(file)
    assert kept["figures"] == figures
    assert kept["options"]["threads"] == threads


def test_the_scan_is_measured_with_every_backend_that_can_run_here():
    calls = scan.make_calls(2, 4, 4, 2, "cpu")
    able = [name for name in dispatch.BACKENDS if dispatch.why_not(name, "cpu") is None]
    assert "reference" in able
    assert list(calls) == [f"{name}, {form}" for name in able for form in ("last position", "all positions")]
    for call in calls.values():
        call()


def test_scaling_is_plotted(tmp_path):
    figures = [{"model": "SASRec", "length": length, "median": length / 100} for length in (50, 100)]
    timing.write_plot(str(tmp_path / "plot.svg"), lambda path: scaling.plot(figures, path))
    assert "<svg" in (tmp_path / "plot.svg").read_text()


def test_preparation_benchmark_writes_the_layouts_that_dataset_prep_reads(tmp_path):
    from benchmarks.preparation import WRITERS
    from dataset_prep.__main__ import main

    for name, write in WRITERS.items():
        (tmp_path / name).mkdir()
        write(tmp_path / name, 100)
        assert main([name, "--raw", str(tmp_path / name), "--out", "out"]) == 0
