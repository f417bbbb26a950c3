"""LPIPS against torchmetrics', with backbones built here a second time."""

import csv
import json
import os
import pickle
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchmetrics.functional.image.lpips as independent
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.clips import moving_frames, write_clip
from tests.commands import assert_failed, run
from tests.test_metrics import noisy, real_frames
from vae3d_cli.errors import WeightsError
from vae3d_cli.metrics import FidelityMeter, LpipsMeter, lpips_of


def alexnet() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
    )


def vgg16() -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for wide in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        layers += [nn.Conv2d(channels, wide, 3, padding=1), nn.ReLU()] if wide else [nn.MaxPool2d(2, 2)]
        channels = wide or channels
    return nn.Sequential(*layers)


BACKBONES = {"alex": ("alexnet", alexnet), "vgg": ("vgg16", vgg16)}


def state_dict(features: nn.Sequential) -> dict[str, Tensor]:
    """As torchvision has it, with some of the classifier."""
    classifier = {"classifier.1.weight": torch.zeros(4, 9), "classifier.1.bias": torch.zeros(4)}
    return {f"features.{name}": weight.detach() for name, weight in features.state_dict().items()} | classifier


@pytest.fixture(scope="session")
def backbones() -> dict[str, nn.Sequential]:
    torch.manual_seed(0)
    return {name: build() for name, (_, build) in BACKBONES.items()}


@pytest.fixture(scope="session")
def alex_file(backbones: dict[str, nn.Sequential], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save(state_dict(backbones["alex"]), path)
    return path


@pytest.mark.parametrize("name", BACKBONES)
def test_lpips_is_that_of_torchmetrics_on_real_frames(
    backbones: dict[str, nn.Sequential], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torchvision, models = types.ModuleType("torchvision"), types.ModuleType("torchvision.models")
    network = types.SimpleNamespace(features=backbones[name])
    setattr(models, BACKBONES[name][0], lambda weights: network)  # noqa: ARG005 - as torchvision calls it
    torchvision.models = models  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", torchvision)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    monkeypatch.setattr(independent, "_TORCHVISION_AVAILABLE", True)
    expected = independent._LPIPS(net=name, pnet_rand=True)  # type: ignore[arg-type]
    ours = lpips_of(state_dict(backbones[name]), "here")
    for top, frame in zip((0, 100, 200), real_frames(3), strict=True):
        reference = frame[:, top : top + 93, 300:427]
        for other in (noisy(reference), frame[:, top + 1 : top + 94, 301:428], 255 - reference):
            pixels = (each[None].float() / 127.5 - 1 for each in (reference, other))
            value = float(expected(*pixels))
            assert value > 1e-4
            assert float(ours(reference, other)) == pytest.approx(value, rel=1e-4)
        assert float(ours(reference, reference)) == 0


@pytest.mark.parametrize(("name", "side"), [("alex", 31), ("vgg", 16)])
def test_frames_need_the_size_that_reaches_the_last_layer(
    backbones: dict[str, nn.Sequential], name: str, side: int
) -> None:
    with pytest.raises(RuntimeError, match="too small"):
        backbones[name][:-1](torch.zeros(1, 3, side - 1, 64))
    network = lpips_of(state_dict(backbones[name]), "here")
    frame = torch.from_numpy(moving_frames(1, 64, 64)[0])
    for height, is_measured in ((side - 1, False), (side, True)):
        meter = FidelityMeter(extras=[LpipsMeter(network)])
        meter.add(frame[:, :height], noisy(frame[:, :height]))
        result = meter.result()
        assert ("lpips" in result.metrics) == is_measured
        assert result.absent.get("lpips") == (None if is_measured else f"needs frames of at least {side}x{side}")


def test_lower_is_better_and_the_worst_frame_is_the_highest(backbones: dict[str, nn.Sequential]) -> None:
    meter = FidelityMeter(extras=[LpipsMeter(lpips_of(state_dict(backbones["alex"]), "here"))])
    frames = [torch.from_numpy(frame) for frame in moving_frames(3, 64, 48)]
    others = (frames[0], noisy(frames[1]), frames[2] // 8 * 8)
    for pair in zip(frames, others, strict=True):
        meter.add(*pair)
    result = meter.result()
    summary = result.metrics["lpips"]
    first, second, third = summary.per_frame
    assert first == 0 < third < second == summary.worst
    assert summary.worst_frame == 1
    figures = result.by_name()
    assert figures["lpips"] == pytest.approx((second + third) / 3)
    assert figures["lpips.max"] == second
    assert "lpips.min" not in figures


def corrupt(weights: dict[str, Tensor], path: Path) -> None:
    torch.save(weights, path)
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda weights, path: torch.save(dict(list(weights.items())[2:]), path), "not the weights of torchvision's"),
        (lambda weights, path: torch.save(weights | {"features.0.weight": torch.zeros(64, 3, 3, 3)}, path), "alexnet"),
        (lambda weights, path: torch.save(weights | {"features.30.bias": torch.zeros(3)}, path), "alexnet or vgg16"),
        (lambda _weights, path: torch.save([1, 2], path), "not of a dict of tensors"),
        (lambda _weights, path: path.write_bytes(pickle.dumps(Path("/"))), "would run its code"),
        (corrupt, "not a readable checkpoint (damaged or cut short"),
        (lambda _weights, path: path.write_text("{}"), "not a readable checkpoint"),
        (lambda _weights, path: path.mkdir(), "Is a directory"),
        (lambda _weights, path: os.mkfifo(path), "a pipe, where a file is expected"),
        (lambda _weights, _path: None, "No such file"),
    ],
)
def test_what_is_no_backbone_is_one_line_before_any_work(
    clip: Path,
    backbones: dict[str, nn.Sequential],
    write: Callable[[dict[str, Tensor], Path], None],
    reason: str,
) -> None:
    path = clip.with_name("weights.pth")
    write(state_dict(backbones["alex"]), path)
    result = run("roundtrip", clip, "--lpips", path, "-m", "no-such-model")
    assert_failed(result, 1, reason)
    assert str(path) in result.stderr


def test_a_wider_network_of_the_same_kind_is_no_backbone(backbones: dict[str, nn.Sequential]) -> None:
    vgg19 = state_dict(backbones["vgg"]) | {"features.34.weight": torch.zeros(512, 512, 3, 3)}
    with pytest.raises(WeightsError, match=r"^here: not the weights of torchvision's alexnet or vgg16"):
        lpips_of(vgg19, "here")


def test_without_the_package_it_is_said_what_to_install(
    clip: Path, alex_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    result = run("roundtrip", clip, "--lpips", alex_file, "-m", "no-such-model")
    assert_failed(result, 2, 'pip install "vae3d-cli[lpips]"')


def test_safetensors_and_half_precision_are_read_too(
    backbones: dict[str, nn.Sequential], alex_file: Path, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 1, 48, 48)
    weights = state_dict(backbones["alex"])
    paths = {"fp32": tmp_path / "alex.safetensors", "fp16": tmp_path / "half.safetensors"}
    save_file(weights, paths["fp32"])
    save_file({name: weight.half() for name, weight in weights.items()}, paths["fp16"])
    pickled, whole, half = (
        json.loads(run("roundtrip", clip, "--json", "-q", "--lpips", path).stdout)["metrics"]["lpips"]["mean"]
        for path in (alex_file, *paths.values())
    )
    assert pickled == whole
    assert half == pytest.approx(whole, rel=0.01)


def test_lpips_is_in_every_report_with_its_backbone(tmp_path: Path, alex_file: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 6, 64, 48)
    asked = ("--lpips", alex_file)
    result = run("roundtrip", clip, *asked, "--json", "--per-frame", "--csv", tmp_path / "frames.csv")
    report = json.loads(result.stdout)
    summary = report["metrics"]["lpips"]
    assert set(summary) == {"mean", "max", "worst_frame", "backbone", "per_frame"}
    assert summary["backbone"] == "alex"
    assert summary["mean"] == pytest.approx(np.mean(summary["per_frame"]))
    assert summary["max"] == summary["per_frame"][summary["worst_frame"]] == max(summary["per_frame"])
    assert report["metrics"]["vmaf"] is None
    assert report["absent"]["vmaf"] == "not asked for: --vmaf"
    rows = list(csv.DictReader((tmp_path / "frames.csv").read_text().splitlines()))
    assert [float(row["lpips"]) for row in rows] == pytest.approx(summary["per_frame"], abs=1e-6)
    assert "vmaf" not in rows[0]
    table = run("roundtrip", clip, *asked).stdout
    found = re.search(r"LPIPS \(alex\) +(0\.[0-9]{4}), worst (0\.[0-9]{4}) at frame", table)
    assert found
    # Random backbones have features near zero, whose directions rounding turns: two runs differ in the fourth digit.
    assert [float(text) for text in found.groups()] == pytest.approx([summary["mean"], summary["max"]], abs=1e-3)
    assert "VMAF" not in table
    other = write_clip(tmp_path / "b.mp4", 6, 64, 48)
    header, *lines = run("roundtrip", clip, other, *asked).stdout.splitlines()
    assert header.split()[-3:] == ["LPIPS", "alex", "frames/s"]
    assert [float(line.split()[-2]) for line in lines] == pytest.approx([summary["mean"]] * 3, abs=1e-3)


def test_lpips_can_be_a_gate_from_above(tmp_path: Path, alex_file: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 3, 64, 48)
    asked = ("--lpips", alex_file)
    assert run("roundtrip", clip, *asked, "--fail-over", "lpips=9", "--fail-over", "lpips.max=9").exit_code == 0
    gates = ("--fail-over", "lpips=9", "--fail-over", "lpips.max=0", "--fail-under", "psnr=99")
    missed = run("roundtrip", clip, *asked, *gates, "--json")
    assert missed.exit_code == 3
    gate = json.loads(missed.stdout)["gate"]
    assert (gate["passed"], gate["missed"]) == (False, ["psnr", "lpips.max"])
    assert re.search(rf"lpips\.max 0\.\d+ > 0 \(tiny, {re.escape(str(clip))}\)\n$", missed.stderr)
    small = write_clip(tmp_path / "small.mp4", 1, 30, 64)
    absent = run("roundtrip", small, *asked, "--fail-over", "lpips=9")
    assert absent.exit_code == 3
    assert "absent: needs frames of at least 31x31" in absent.stdout
    assert f"lpips is absent: needs frames of at least 31x31 (tiny, {small})" in absent.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--lpips", "w", "--fail-under", "lpips=1"), "of lpips lower is better; use --fail-over"),
        (("--lpips", "w", "--fail-under", "lpips.min=1"), "use --fail-over"),
        (("--lpips", "w", "--fail-over", "lpips.min=1"), "there is no metric lpips.min; use lpips, lpips.max"),
        (("--fail-over", "psnr=1"), "of psnr higher is better; use --fail-under"),
        (("--fail-over", "vmaf=1"), "use --fail-under"),
        (("--fail-over", "lpips"), "give NAME=VALUE, such as lpips=0.2"),
        (("--fail-over", "lpips.max=1"), "give --lpips too"),
    ],
)
def test_a_gate_that_makes_no_sense_is_status_2_before_any_work(
    clip: Path, arguments: tuple[str, ...], reason: str
) -> None:
    assert_failed(run("roundtrip", clip, *arguments, "-m", "no-such-model"), 2, reason)


def test_frames_without_features_are_the_same(backbones: dict[str, nn.Sequential]) -> None:
    weights = {name: torch.zeros_like(weight) for name, weight in state_dict(backbones["alex"]).items()}
    frame = torch.zeros(3, 40, 40, dtype=torch.uint8)
    assert float(lpips_of(weights, "here")(frame, 255 - frame)) == 0
