"""Training: runs that learn, stop and go on, and the checkpoints that come of them."""

import copy
import hashlib
import json
import os
import pickle
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.clips import moving_frames, write_clip
from tests.commands import PATIENCE_SECONDS, assert_failed, json_lines, run, start
from tests.conftest import SMALL_CONFIG
from tests.hunyuanvideo import SMALL as SMALL_HUNYUANVIDEO
from vae3d_cli.config import TinyConfig
from vae3d_cli.errors import OutputError, TrainingError
from vae3d_cli.model.cache import TemporalCache
from vae3d_cli.model.tiny import TinyVae
from vae3d_cli.training.batches import Batches, BatchShape
from vae3d_cli.training.data import FrameCache, to_pixels
from vae3d_cli.training.folding import decode_clips, encode_clips
from vae3d_cli.training.material import Material
from vae3d_cli.training.motion import crop_clip, moving_photo
from vae3d_cli.training.objective import Objective, reconstruct
from vae3d_cli.training.optimizer import Optimizer, orthogonalized
from vae3d_cli.training.options import TrainOptions
from vae3d_cli.training.run import Run
from vae3d_cli.training.schedule import rate_factor
from vae3d_cli.training.state import read_state
from vae3d_cli.weights import Model, load_model, read_checkpoint

# The number of threads decides how sums are rounded.
SMALL_RUN = ("--crop", 32, "--batch-size", 2, "--save-every", 2, "--threads", 1)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("material")
    for seed, (name, size) in enumerate((("a_0", 64), ("a_1", 48), ("b_0", 96))):
        frames = [np.ascontiguousarray(rgb.transpose(1, 2, 0)) for rgb in moving_frames(39, size, 48, seed)[::3]]
        made = (av.VideoFrame.from_ndarray(rgb, format="rgb24") for rgb in frames)
        write_clip(folder / f"{name}.mp4", 13, size, 48, frames=made)
    write_clip(folder / "photo.png", 1, 64, 64, codec="png", pix_fmt="rgb24", container="rawvideo")
    return folder


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "config.json"
    path.write_text(json.dumps({"architecture": "tiny", **asdict(SMALL_CONFIG)}))
    return path


def log_of(folder: Path) -> list[dict[str, float]]:
    """What a run logged, without the time it took."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.mark.parametrize("num_frames", [1, 5, 13])
def test_clips_at_once_are_the_clips_in_a_stream(small_network: TinyVae, num_frames: int) -> None:
    pixels = torch.rand(2, 3, num_frames, 24, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    moments = encode_clips(small_network, pixels)
    assert torch.allclose(moments, small_network.encode(pixels, TemporalCache()), atol=1e-5)
    decoded = decode_clips(small_network, moments[:, :16])
    assert torch.allclose(decoded, small_network.decode(moments[:, :16], TemporalCache()), atol=1e-5)


def test_the_embedded_model_costs_what_it_may() -> None:
    with torch.device("meta"):
        network = TinyVae(TinyConfig())
        pixels = torch.empty(1, 3, 17, 256, 256)
    assert sum(weight.numel() for weight in network.parameters()) <= 8e6
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        network.decode(network.encode(pixels, TemporalCache())[:, :16], TemporalCache())
    # Of the later groups: the first frame alone costs as much as four.
    assert counter.get_total_flops() / 5 / (4 * 256 * 256) <= 150e3


def test_a_run_learns(material: Path, config: Path, tmp_path: Path) -> None:
    common = ("train", material, "--config", config, "--hold-out", "b", "--crop", 32, "--learning-rate", "1e-3")
    result = run(*common, "-o", tmp_path / "run", "--steps", 100)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path / 'run' / 'model.safetensors'}\n"
    assert run(*common, "-o", tmp_path / "start", "--steps", 0).exit_code == 0
    models = [load_model(str(tmp_path / name / "model.safetensors"), device="cpu") for name in ("start", "run")]
    shape = BatchShape(batch_size=20, num_frames=9, size_px=32)
    clips, cache = [material / "a_0.mp4", material / "a_1.mp4"], FrameCache(tmp_path / "frames")
    pixels = Batches(clips, [material / "photo.png"], cache, shape, seed=9)[0]
    before, after = ((reconstruct(each.network, pixels, None)[0] - pixels).square().mean() for each in models)
    assert after < 0.9 * before
    assert [line["step"] for line in log_of(tmp_path / "run") if "mse" in line] == [20, 40, 60, 80, 100]
    assert log_of(tmp_path / "run")[-1]["validation"]
    notes = read_checkpoint(tmp_path / "run" / "model.safetensors").notes
    assert notes["data"] == "2 clips of a; 1 photos"
    assert notes["held_out_scenes"] == "b"
    digest = hashlib.sha256((tmp_path / "run" / "log.jsonl").read_bytes()).hexdigest()
    assert notes["training_log_sha256"] == digest
    assert not any(str(tmp_path.parent) in note for note in notes.values())  # where one's files lie is one's own


def test_a_resumed_run_is_the_same_run(material: Path, config: Path, tmp_path: Path) -> None:
    settings = ("--latent-space", "mine/1", "--hold-out", "b", "--steps", 40, "--cache", tmp_path / "cache")
    common = ("train", material, "--config", config, *settings, *SMALL_RUN)
    assert run(*common, "-o", tmp_path / "whole").exit_code == 0
    process = start(*common, "-o", tmp_path / "killed")
    while not (tmp_path / "killed" / "training.state").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert read_state(tmp_path / "killed" / "training.state").step < 40
    with (tmp_path / "killed" / "log.jsonl").open("a") as log:
        log.write('{"step": 5, "lo')
    result = run("train", "-o", tmp_path / "killed", "--resume", "--threads", 1)
    assert result.exit_code == 0, result.output
    whole, killed = (read_checkpoint(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(whole.weights[name], killed.weights[name]) for name in whole.weights)
    assert whole.notes["training_step"] == killed.notes["training_step"] == "40"
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "killed")


def test_a_start_that_was_written_goes_on_as_a_run(material: Path, config: Path, tmp_path: Path) -> None:
    common = ("train", material, "--config", config, "--latent-space", "mine/1", *SMALL_RUN)
    assert run(*common, "-o", tmp_path / "straight", "--steps", 3).exit_code == 0
    assert run(*common, "-o", tmp_path / "start", "--steps", 0).exit_code == 0
    assert run("train", "-o", tmp_path / "start", "--resume", "--steps", 3, "--threads", 1).exit_code == 0
    straight, resumed = (read_checkpoint(tmp_path / name / "model.safetensors") for name in ("straight", "start"))
    assert all(torch.equal(straight.weights[name], resumed.weights[name]) for name in straight.weights)


def test_a_run_does_not_go_on_with_other_clips(material: Path, config: Path, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "a_0.mp4").write_bytes((material / "a_0.mp4").read_bytes())
    common = ("-o", tmp_path / "run", *("--config", config, "--steps", 0, *SMALL_RUN))
    assert run("train", clips, *common).exit_code == 0
    (clips / "c_0.mp4").write_bytes((material / "a_1.mp4").read_bytes())
    result = run("train", "-o", tmp_path / "run", "--resume", "--steps", 2)
    assert_failed(result, 1, "1 clips of a; 0 photos, and now there are 2 clips of a, c")


def test_the_linear_codec_stays_fp32_under_autocast(small_network: TinyVae) -> None:
    pixels = torch.rand(1, 3, 5, 24, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    untrained = TinyVae(SMALL_CONFIG)  # whose networks add nothing
    with torch.autocast("cpu", torch.bfloat16):
        moments = encode_clips(untrained, pixels)
        decoded = decode_clips(untrained, moments[:, :16])
        assert encode_clips(small_network, pixels).dtype == torch.float32
    assert torch.allclose(moments, encode_clips(untrained, pixels), atol=1e-6)
    assert torch.allclose(decoded, decode_clips(untrained, moments[:, :16]), atol=1e-6)


def test_a_run_in_bf16_learns_in_fp32_weights(material: Path, config: Path, tmp_path: Path) -> None:
    common = ("train", material, "-o", tmp_path / "run", "--config", config, "--dtype", "bf16", *SMALL_RUN)
    assert run(*common, "--steps", 2).exit_code == 0
    tensors = read_state(tmp_path / "run" / "training.state").tensors
    assert {tensor.dtype for name, tensor in tensors.items() if name.startswith("network.")} == {torch.float32}


def test_ctrl_c_leaves_a_run_that_can_go_on(material: Path, config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start("train", material, "-o", folder, "--config", config, *SMALL_RUN)
    while not (folder / "training.state").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == -signal.SIGINT
    assert {path.name for path in folder.iterdir()} <= {"frames", "log.jsonl", "model.safetensors", "training.state"}
    assert load_model(str(folder / "model.safetensors"), device="cpu").config.latent_space.startswith("small/")
    step = read_state(folder / "training.state").step
    assert run("train", "-o", folder, "--resume", "--steps", step + 2).exit_code == 0
    assert read_state(folder / "training.state").step == step + 2
    assert_failed(run("train", "-o", folder, "--resume", "--steps", step), 2, f"has taken {step + 2} already")


def test_a_frozen_encoder_keeps_its_latents(
    material: Path, small: Model, small_checkpoint: Path, tmp_path: Path
) -> None:
    result = run(
        *("train", material, "-o", tmp_path / "run", "--init", small_checkpoint, "--freeze-encoder"),
        *("--steps", 2, "--json", *SMALL_RUN),
    )
    assert result.exit_code == 0, result.output
    assert json_lines(result)[0]["latent_space"] == "small/1"
    tuned = load_model(str(tmp_path / "run" / "model.safetensors"), device="cpu").network.state_dict()
    for name, weight in small.network.state_dict().items():
        assert torch.equal(tuned[name], weight.half().float()) == name.startswith("encoder."), name


def test_new_latents_have_a_name_of_their_own(material: Path, small_checkpoint: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        common = ("train", material, "--init", small_checkpoint, "--steps", 0, *SMALL_RUN)
        assert run(*common, "-o", tmp_path / name).exit_code == 0
    spaces = [load_model(str(tmp_path / name / "model.safetensors"), device="cpu").config for name in ("one", "two")]
    assert len({"small/1", *(config.latent_space for config in spaces)}) == 3


def test_a_hunyuanvideo_network_of_any_width_is_trained(material: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(asdict(SMALL_HUNYUANVIDEO)))
    common = ("train", material, "--config", config, "--frames", 5, "--kl-weight", "1e-6", *SMALL_RUN)
    for name, steps in (("start", 0), ("run", 40)):
        result = run(*common, "-o", tmp_path / name, "--steps", steps, "--save-every", 40, "--learning-rate", "5e-3")
        assert result.exit_code == 0, result.output
    start, trained = (load_model(str(tmp_path / name / "model.safetensors"), device="cpu") for name in ("start", "run"))
    weights = trained.network.state_dict()
    assert not any(torch.equal(weight, weights[name]) for name, weight in start.network.state_dict().items())
    pixels = to_pixels(np.stack(moving_frames(5, 64, 48)))
    before, after = ((reconstruct(each.network, pixels, None)[0] - pixels).square().mean() for each in (start, trained))
    assert after < 0.5 * before


def test_what_a_step_sees_depends_on_seed_and_step_alone(material: Path, tmp_path: Path) -> None:
    shape = BatchShape(batch_size=3, num_frames=9, size_px=40)
    clips, photos, cache = [material / "a_0.mp4", material / "b_0.mp4"], [material / "photo.png"], FrameCache(tmp_path)
    batches = Batches(clips, photos, cache, shape, seed=1)
    batch = batches[7]
    assert batch.shape == (3, 3, 9, 40, 40)
    assert float(batch.abs().max()) <= 1
    batches[8]
    assert torch.equal(batches[7], batch)
    assert torch.equal(Batches(clips, photos, cache, shape, seed=1)[7], batch)
    assert not torch.equal(Batches(clips, photos, cache, shape, seed=2)[7], batch)


def test_a_photo_moves_smoothly_and_a_crop_is_of_the_clip() -> None:
    random = np.random.default_rng(0)
    first, second = (np.stack(moving_frames(1, 120, 100, seed=seed)) for seed in range(2))
    for _ in range(20):
        moving = moving_photo(first, second, 9, 32, random)
        assert moving.shape == (9, 3, 32, 32)
        assert torch.isfinite(moving).all()
    clip = np.broadcast_to(np.arange(13, dtype=np.uint8)[:, None, None, None] * 10, (13, 3, 40, 50))
    for _ in range(20):
        crop = crop_clip(clip, 5, 32, random)
        steps = (crop[1:, 0, 0, 0] - crop[:-1, 0, 0, 0]).round()
        assert set(steps.tolist()) <= {10, 20, 30} or set(steps.tolist()) <= {-10, -20, -30}


def test_a_direction_has_singular_values_near_one() -> None:
    for shape in ((20, 30), (30, 20), (24, 24)):
        matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
        values = torch.linalg.svdvals(orthogonalized(matrix))
        assert float(values.min()) > 0.5
        assert float(values.max()) < 1.4
        # The same directions: it never turns against U V^T.
        assert float((orthogonalized(matrix) * (u @ vh)).sum()) > 0.8 * min(shape)


def test_weights_do_not_grow_as_long_as_a_run_goes_on() -> None:
    conv = nn.Conv2d(4, 4, 3)
    weight = conv.weight
    optimizer = Optimizer(nn.ModuleDict({"block": conv}), 0.1)
    gradient = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    norms = []
    for _ in range(100):
        weight.grad = gradient.clone()
        optimizer.step(1.0)
        norms.append(float(torch.linalg.matrix_norm(weight.detach().flatten(1), 2)))
    assert norms[-1] < 1.05 * norms[-50]


def test_an_optimiser_goes_on_from_its_state() -> None:
    def network() -> nn.Module:
        torch.manual_seed(0)
        parts = nn.ModuleDict({"conv_in": nn.Conv2d(3, 4, 3), "block": nn.Conv2d(4, 4, 3)})
        return parts.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def step(each: nn.Module, optimizer: Optimizer, x: Tensor) -> None:
        each.zero_grad()
        each["block"](each["conv_in"](x)).square().mean().backward()  # type: ignore[index]
        optimizer.step(1.0)

    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    straight, resumed = network(), network()
    first, second = Optimizer(straight, 1e-3), Optimizer(resumed, 1e-3)
    for _ in range(2):
        step(straight, first, x)
    step(resumed, second, x)
    third = Optimizer(resumed, 1e-3)
    third.load({name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in second.state().items()})
    step(resumed, third, x)
    assert all(map(torch.equal, straight.parameters(), resumed.parameters()))


def test_the_rate_rises_stays_and_falls_to_nothing() -> None:
    rates = [rate_factor(step, 1000) for step in range(1000)]
    assert rates[0] == 0.01
    assert set(rates[100:600]) == {1.0}
    assert rates[-1] == pytest.approx(1 / 400)


def test_the_logarithm_weighs_clips_alike() -> None:
    error = torch.tensor([1e-2, 1e-4], requires_grad=True)
    for of_logarithm, ratio in ((False, 1.0), (True, 91.0)):
        loss = Objective(error, torch.zeros(2)).loss(0.0, of_logarithm=of_logarithm)
        (gradient,) = torch.autograd.grad(loss, error)
        assert float(gradient[1] / gradient[0]) == pytest.approx(ratio, rel=0.01)


def test_what_cannot_be_read_is_left_out_with_a_note(material: Path, config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "material"
    shutil.copytree(material, folder)
    (folder / "cut.mp4").write_bytes((material / "a_0.mp4").read_bytes()[:2000])
    (folder / "empty.png").touch()
    os.mkfifo(folder / "pipe.mp4")  # would never end
    arguments = ("-o", tmp_path / "run", "--config", config, "--steps", 0, "--hold-out", "b", *SMALL_RUN)
    result = run("train", folder, *arguments)
    assert result.exit_code == 0, result.output
    for name in ("cut.mp4", "empty.png"):
        assert f"{folder / name}: " in result.stderr
    assert result.stderr.count("it is left out") == 2
    assert "--" not in result.stderr
    assert "2 clips of a; 1 photos" in read_checkpoint(tmp_path / "run" / "model.safetensors").notes["data"]


def test_a_run_needs_a_clip_that_can_be_read(material: Path, tmp_path: Path) -> None:
    (tmp_path / "c.mp4").touch()
    run_folder = tmp_path / "run"
    result = run("train", tmp_path / "c.mp4", "-o", run_folder, "--steps", 0)
    assert result.exit_code == 1
    assert "no clip is left to train on" in result.stderr
    result = run("train", material, tmp_path / "c.mp4", "-o", run_folder, "--steps", 0, "--hold-out", "c", *SMALL_RUN)
    assert result.exit_code == 1
    assert "none of the clips that are held out can be read" in result.stderr


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda data: data[:50],
        lambda data: data[:-10],
        lambda data: b"PK\x03\x04" + data[4:],
        lambda data: data.replace(b"|u1", b"<f4"),
        lambda _: pickle.dumps([1, 2]),
    ],
)
def test_damaged_frames_in_the_cache_are_made_again(
    material: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    cache = FrameCache(tmp_path)
    frames = np.array(cache.frames(material / "a_1.mp4"))
    (entry,) = tmp_path.iterdir()
    entry.write_bytes(damage(entry.read_bytes()))
    assert np.array_equal(cache.frames(material / "a_1.mp4"), frames)
    assert [path.name for path in tmp_path.iterdir()] == [entry.name]


def test_a_pipe_in_the_place_of_cached_frames_is_an_error(material: Path, tmp_path: Path) -> None:
    cache = FrameCache(tmp_path)
    cache.frames(material / "a_1.mp4")
    (entry,) = tmp_path.iterdir()
    entry.unlink()
    os.mkfifo(entry)
    with pytest.raises(OutputError, match="a pipe, where a file is expected; name another folder with --cache"):
        cache.frames(material / "a_1.mp4")


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (("--frames", 8), 2, "--frames 8: give 1 + 4k"),
        (("--crop", 36), 2, "--crop 36: give a multiple of 8"),
        (("--dtype", "fp16"), 2, "gradients vanish"),
        (("--freeze-encoder",), 2, "--freeze-encoder"),
        (("--init", "tiny", "--config", "CONFIG"), 2, "--config"),
        (("--hold-out", "tree"), 1, "tree: there is no clip of this scene"),
        (("--crop", 512), 1, "no clip is left to train on"),
        (("--init", "nowhere"), 1, "nowhere: no such model"),
        (("--config", "missing.json"), 1, "missing.json"),
        (("--config", "BAD"), 1, "bad.json: block_out_channels is (8, 4.5, 2), not 3 widths"),
        (("--config", "HUGE"), 1, "--config: describes a network of"),
        (("--learning-rate", "inf"), 2, "--learning-rate inf"),
        (("--kl-weight", "inf"), 2, "--kl-weight inf"),
        (("--latent-space", ""), 2, "--latent-space ''"),
        (("--cache", "CONFIG"), 1, "name another folder with --cache"),
        (("-o", "CONFIG"), 1, "config.json"),
        (("NOTES",), 1, "notes.txt: neither a clip nor a photo"),
    ],
)
def test_a_run_that_cannot_be_is_refused(
    material: Path, config: Path, tmp_path: Path, arguments: tuple[object, ...], status: int, reason: str
) -> None:
    files = {
        "CONFIG": config,
        "BAD": tmp_path / "bad.json",
        "NOTES": tmp_path / "notes.txt",
        "HUGE": tmp_path / "huge.json",
    }
    files["BAD"].write_text(json.dumps({"architecture": "tiny", "block_out_channels": [8, 4.5, 2]}))
    files["HUGE"].write_text(json.dumps({"architecture": "tiny", "block_out_channels": [65536] * 3}))
    files["NOTES"].touch()
    given = [files.get(str(argument), argument) for argument in arguments]
    assert_failed(run("train", material, "-o", tmp_path / "run", "-q", "--steps", 0, *given), status, reason)


def test_a_pipe_is_never_opened_as_a_config_or_a_state(material: Path, tmp_path: Path) -> None:
    reason = "a pipe, where a file is expected"
    os.mkfifo(tmp_path / "config.json")
    assert_failed(run("train", material, "-o", tmp_path / "run", "--config", tmp_path / "config.json"), 1, reason)
    os.mkfifo(tmp_path / "training.state")
    assert_failed(run("train", "-o", tmp_path, "--resume"), 1, reason)


def test_a_new_run_does_not_replace_a_model_of_no_run(material: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"precious")
    assert_failed(run("train", material, "-o", tmp_path), 1, f"{model}: exists already")
    assert model.read_bytes() == b"precious"


def test_a_run_is_not_started_over_nor_resumed_where_there_is_none(material: Path, tmp_path: Path) -> None:
    assert_failed(run("train", "-o", tmp_path, "--resume"), 1, "there is no run to resume")
    assert_failed(run("train", "-o", tmp_path), 2, "DATA: give clips")
    assert_failed(run("train", material, "-o", tmp_path, "--resume"), 2, "--resume: goes on")
    (tmp_path / "training.state").touch()
    assert_failed(run("train", material, "-o", tmp_path), 1, "holds a run")
    assert_failed(run("train", "-o", tmp_path, "--resume"), 1, "damaged")
    assert_failed(run("train", tmp_path / "nowhere", "-o", tmp_path / "new"), 1, "nowhere: there is no such file")
    assert not (tmp_path / "new").exists()


def test_weights_that_are_not_finite_are_not_worth_saving(small_network: TinyVae) -> None:
    network = copy.deepcopy(small_network)
    material = Material(clips=[], photos=[], batches=None, validation=[])  # type: ignore[arg-type]
    trained = Run(network, TrainOptions(sources=()), material, {})
    trained.check()
    with torch.no_grad():
        network.decoder.conv_out.weight[0] = float("nan")
    with pytest.raises(TrainingError, match="not finite"):
        trained.check()


def test_a_run_that_diverges_stops_and_says_so(material: Path, config: Path, tmp_path: Path) -> None:
    diverging = ("--steps", 9, "--save-every", 1, "--learning-rate", "1e30", "-q")
    result = run("train", material, "-o", tmp_path / "run", "--config", config, *SMALL_RUN, *diverging)
    assert_failed(result, 1, "start it anew at a lower --learning-rate")
    state = tmp_path / "run" / "training.state"
    assert not state.exists() or all(bool(tensor.isfinite().all()) for tensor in read_state(state).tensors.values())
