"""Whole clips through a model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.clips import NTSC, moving_frames, read_back, write_clip
from vae3d_cli.codec import DecodeOptions, EncodeOptions, decode_video, describe, encode_video, roundtrip_video
from vae3d_cli.codec.decode import decode_clip
from vae3d_cli.codec.pixels import pixel_chunks, to_frames, to_pixels
from vae3d_cli.codec.timer import Stopwatch
from vae3d_cli.errors import LatentsError, OutputError, UsageError, VideoError
from vae3d_cli.execution import StrategyOptions
from vae3d_cli.geometry import FrameRange
from vae3d_cli.latents import LatentsReader
from vae3d_cli.model.cache import TemporalCache
from vae3d_cli.model.tiny import TinyVae
from vae3d_cli.video import EncoderOptions
from vae3d_cli.weights import Model, load_model

CPU = torch.device("cpu")
GOLDEN_PSNR, GOLDEN_SSIM = 29.335, 0.8896


def test_pixels_are_minus_one_to_one_and_padded_with_the_edges(small: Model) -> None:
    frames = moving_frames(1, 13, 10)
    pixels = to_pixels(frames, small.config, CPU)
    assert pixels.shape == (1, 3, 1, 16, 16)
    assert torch.allclose(pixels[0, :, 0, :10, :13], torch.from_numpy(frames[0]) / 127.5 - 1)
    assert torch.equal(pixels[..., :, 13:], pixels[..., :, 12:13].expand(-1, -1, -1, -1, 3))
    assert torch.equal(pixels[..., 10:, :], pixels[..., 9:10, :].expand(-1, -1, -1, 6, -1))
    assert torch.equal(to_frames(pixels, 10, 13)[0], torch.from_numpy(frames[0]))


@pytest.mark.parametrize("num_frames", [1, 2, 5, 6, 9, 11])
@pytest.mark.parametrize("chunk_latents", [1, 2, 5])
def test_chunks_hold_the_clip_and_its_last_frame_repeated(small: Model, num_frames: int, chunk_latents: int) -> None:
    frames = moving_frames(num_frames, 16, 8)
    pixels = torch.cat(list(pixel_chunks(frames, small.config, chunk_latents, CPU)), dim=2)
    padded = num_frames + (1 - num_frames) % 4
    assert torch.equal(pixels, to_pixels(frames + [frames[-1]] * (padded - num_frames), small.config, CPU))


def encode(clip: Path, output: Path, model: Model, **options: object) -> dict[str, torch.Tensor]:
    encode_video(clip, output, model, EncodeOptions(**options))  # type: ignore[arg-type]
    return load_file(output)


def test_stream_and_whole_give_the_same_bits(tmp_path: Path, small: Model) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 14)
    latents = [
        encode(clip, tmp_path / f"{name}.safetensors", small, strategy=StrategyOptions(name=name))["latents"]
        for name in ("stream", "whole")
    ]
    assert latents[0].shape == (16, 5, 3, 4)
    assert torch.equal(*latents)
    # Before the video codec: x264's fastest code does not give the same bytes in every run.
    with LatentsReader(tmp_path / "stream.safetensors") as reader:
        frames = [
            torch.stack(
                list(
                    decode_clip(reader, reader.header, small, range(14), StrategyOptions(name=name), Stopwatch()).frames
                )
            )
            for name in ("stream", "whole")
        ]
    assert frames[0].shape == (14, 3, 24, 32)
    assert torch.equal(*frames)


def test_two_runs_give_the_same_bytes(tmp_path: Path, clip: Path, small: Model) -> None:
    for posterior in ("mode", "sample", "moments"):
        seed = 3 if posterior == "sample" else None
        for name in ("a", "b"):
            encode(clip, tmp_path / name, small, posterior=posterior, seed=seed)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_mode_is_the_mean_of_the_moments_and_samples_spread_around_it(tmp_path: Path, clip: Path, small: Model) -> None:
    moments = encode(clip, tmp_path / "moments", small, posterior="moments")["moments"]
    mode = encode(clip, tmp_path / "mode", small)["latents"]
    sample = encode(clip, tmp_path / "sample", small, posterior="sample", seed=1)["latents"]
    mean, logvar = moments.chunk(2)
    assert torch.equal(mode, mean)
    deviation = (sample - mean) / torch.exp(0.5 * logvar)
    assert abs(float(deviation.mean())) < 0.2
    assert 0.8 < float(deviation.std()) < 1.2
    other = encode(clip, tmp_path / "other", small, posterior="sample", seed=2)["latents"]
    assert not torch.equal(sample, other)


def test_a_seed_is_drawn_and_recorded(tmp_path: Path, clip: Path, small: Model) -> None:
    results = [
        encode_video(clip, tmp_path / name, small, EncodeOptions(posterior="sample")) for name in ("first", "second")
    ]
    assert results[0].header.seed != results[1].header.seed
    again = encode(clip, tmp_path / "again", small, posterior="sample", seed=results[0].header.seed)["latents"]
    assert torch.equal(again, load_file(tmp_path / "first")["latents"])


@pytest.mark.parametrize("posterior", ["mode", "moments"])
def test_a_clip_comes_back_with_its_frames_size_and_rate(tmp_path: Path, tiny: Model, posterior: str) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 83, 270, 182)
    encode(clip, tmp_path / "clip.safetensors", tiny, posterior=posterior)
    result = decode_video(tmp_path / "clip.safetensors", tmp_path / "out.mp4", load=lambda _: tiny)
    assert (result.num_frames, result.header.width, result.header.height) == (83, 270, 182)
    frames, times = read_back(tmp_path / "out.mp4")
    assert [frame.shape for frame in frames] == [(182, 270, 3)] * 83
    assert times == [n / NTSC for n in range(83)]
    error = np.mean([(a - b.astype(float)) ** 2 for a, b in zip(frames, read_back(clip)[0], strict=True)])
    assert 10 * np.log10(255**2 / error) > 25


def test_frame_times_that_vary_come_back(tmp_path: Path, small: Model) -> None:
    base, stamps = 1 / NTSC / 1001, [0, 1001, 1500, 4004, 4100, 9009]
    clip = write_clip(tmp_path / "clip.mp4", stamps=(base, stamps))
    encode(clip, tmp_path / "a.safetensors", small)
    decode_video(tmp_path / "a.safetensors", tmp_path / "out.mp4", "small", load=lambda _: small)
    assert read_back(tmp_path / "out.mp4")[1] == [stamp * base for stamp in stamps]


def test_a_still_image_comes_back_as_one(tmp_path: Path, tiny: Model) -> None:
    image = write_clip(tmp_path / "a.png", 1, 50, 40, codec="png", pix_fmt="rgb24", container="rawvideo")
    encode(image, tmp_path / "a.safetensors", tiny)
    decode_video(tmp_path / "a.safetensors", tmp_path / "out.png", load=lambda _: tiny)
    assert [frame.shape for frame in read_back(tmp_path / "out.png")[0]] == [(40, 50, 3)]


def test_an_image_goes_there_and_back_as_an_image(tmp_path: Path, tiny: Model) -> None:
    image = write_clip(tmp_path / "a.png", 1, 50, 40, codec="png", pix_fmt="rgb24", container="rawvideo")
    roundtrip_video(image, tiny, outputs={"recon": tmp_path / "out.png"})
    assert [frame.shape for frame in read_back(tmp_path / "out.png")[0]] == [(40, 50, 3)]


def test_nothing_is_left_when_one_output_of_two_fails(tmp_path: Path, clip: Path, tiny: Model) -> None:
    with pytest.raises(OutputError, match="/dev/full: No space left"):
        roundtrip_video(clip, tiny, outputs={"recon": tmp_path / "out.mp4", "latents": Path("/dev/full")})
    assert list(tmp_path.iterdir()) == [clip]


def test_the_sample_clip_has_the_quality_of_the_embedded_weights(tiny: Model) -> None:
    """A golden figure: renew it together with the embedded weights."""
    clip = Path(__file__).parent.parent / "examples" / "cups.mp4"
    result = roundtrip_video(clip, tiny, EncodeOptions(frames=FrameRange(0, 9)))
    metrics = result.fidelity.metrics
    assert metrics["psnr"].mean == pytest.approx(GOLDEN_PSNR, abs=0.01)
    assert metrics["ssim"].mean == pytest.approx(GOLDEN_SSIM, abs=0.001)


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_less_precision_is_close_and_recorded(
    tmp_path: Path, clip: Path, small: Model, small_checkpoint: Path, dtype: str
) -> None:
    full = encode(clip, tmp_path / "full", small)["latents"]
    less = load_model(str(small_checkpoint), device="cpu", dtype=dtype)
    result = encode_video(clip, tmp_path / "less", less)
    latents = load_file(tmp_path / "less")["latents"]
    assert result.to_json()["dtype"] == dtype
    assert latents.dtype == less.dtype
    assert float((latents.float() - full).norm() / full.norm()) < 0.02


def test_a_clip_does_not_fit_into_an_image(tmp_path: Path, clip: Path, small: Model) -> None:
    encode(clip, tmp_path / "a.safetensors", small)
    with pytest.raises(VideoError, match="an image holds one frame and the clip has 6"):
        decode_video(tmp_path / "a.safetensors", tmp_path / "out.png", "small", load=lambda _: small)
    assert not (tmp_path / "out.png").exists()


def test_only_the_frames_asked_for_are_encoded(tmp_path: Path, small: Model, small_network: TinyVae) -> None:
    clip = write_clip(tmp_path / "clip.mkv", 12, codec="libx264rgb", pix_fmt="rgb24", options={"qp": "0"})
    part = encode(clip, tmp_path / "part", small, frames=FrameRange(3, 9))["latents"]
    pixels = to_pixels(moving_frames(12, 32, 24)[3:9] + [moving_frames(9, 32, 24)[8]] * 3, small.config, CPU)
    assert torch.equal(part, small_network.encode(pixels, TemporalCache())[0, :16])
    for name in ("stream", "whole"):
        with pytest.raises(VideoError, match="has only 12 frames; --frames starts at 20"):
            encode(clip, tmp_path / "none", small, frames=FrameRange(20, 30), strategy=StrategyOptions(name=name))


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (3, 9), (17, 30), (29, 99)])
def test_decoded_frames_are_those_of_the_whole_clip(tmp_path: Path, small: Model, start: int, stop: int) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 30)
    encode(clip, tmp_path / "a.safetensors", small)
    # Before the video codec, whose losses depend on the frames before.
    with LatentsReader(tmp_path / "a.safetensors") as latents:
        whole, part = (
            torch.stack(
                list(decode_clip(latents, latents.header, small, selected, StrategyOptions(), Stopwatch()).frames)
            )
            for selected in (range(30), FrameRange(start, stop).within(30))
        )
    assert torch.equal(part, whole[start:stop])


def test_roundtrip_measures_what_encode_and_decode_do(tmp_path: Path, clip: Path, tiny: Model) -> None:
    outputs = {"recon": tmp_path / "recon.mp4", "latents": tmp_path / "latents.safetensors"}
    lossless = EncoderOptions(lossless=True)  # x264 is not the same in every run
    result = roundtrip_video(clip, tiny, outputs=outputs, encoder=lossless)
    encode(clip, tmp_path / "encoded.safetensors", tiny)
    options = DecodeOptions(encoder=lossless)
    decode_video(tmp_path / "encoded.safetensors", tmp_path / "decoded.mp4", None, options, load=lambda _: tiny)
    assert outputs["latents"].read_bytes() == (tmp_path / "encoded.safetensors").read_bytes()
    for recon, decoded in zip(
        *(read_back(path)[0] for path in (outputs["recon"], tmp_path / "decoded.mp4")), strict=True
    ):
        assert np.array_equal(recon, decoded)
    report = result.to_json(per_frame=True)
    assert len(report["metrics"]["psnr"]["per_frame"]) == result.num_frames == 6  # type: ignore[index]
    assert report["outputs"]["recon"] == str(outputs["recon"])  # type: ignore[index]


def test_a_clip_too_small_for_ssim_has_none(tmp_path: Path, tiny: Model) -> None:
    clip = write_clip(tmp_path / "clip.mkv", 2, 8, 8, codec="libx264rgb", pix_fmt="rgb24")
    result = roundtrip_video(clip, tiny)
    assert result.fidelity.absent["ssim"] == "needs frames of at least 11x11"
    assert result.to_json()["metrics"]["ssim"] is None  # type: ignore[index]


def test_latents_of_another_space_are_refused_unless_asked_for(
    tmp_path: Path, clip: Path, small: Model, tiny: Model
) -> None:
    encode(clip, tmp_path / "a.safetensors", small)
    with pytest.raises(LatentsError, match=r"cannot find the checkpoint small\.safetensors, which encoded it"):
        decode_video(tmp_path / "a.safetensors", tmp_path / "out.mp4", load=lambda _: tiny)
    with pytest.raises(LatentsError, match="its latent space is 'small/1' and that of tiny is 'tiny/1'"):
        decode_video(tmp_path / "a.safetensors", tmp_path / "out.mp4", "tiny", load=lambda _: tiny)
    assert not (tmp_path / "out.mp4").exists()
    options = DecodeOptions(any_model=True)
    decode_video(tmp_path / "a.safetensors", tmp_path / "out.mp4", "tiny", options, load=lambda _: tiny)
    assert len(read_back(tmp_path / "out.mp4")[0]) == 6


def test_latents_are_stored_in_the_type_asked_for(tmp_path: Path, clip: Path, small: Model) -> None:
    full = encode(clip, tmp_path / "a", small)["latents"]
    half = encode(clip, tmp_path / "b", small, latents_dtype=torch.float16)["latents"]
    assert half.dtype == torch.float16
    assert torch.equal(half, full.half())


def test_unknown_strategies_are_called_wrong(tmp_path: Path, clip: Path, small: Model) -> None:
    with pytest.raises(UsageError, match="--strategy layerwise"):
        encode_video(clip, tmp_path / "a", small, EncodeOptions(strategy=StrategyOptions(name="layerwise")))


def test_info_tells_a_video_from_latents(tmp_path: Path, clip: Path, small: Model) -> None:
    video = describe(clip).to_json()
    assert (video["type"], video["num_frames"], video["rate"]) == ("video", 6, "30000/1001")
    assert video["padded"] == {"num_frames": 9, "height": 24, "width": 32}
    encode(clip, tmp_path / "a.safetensors", small)
    latents = describe(tmp_path / "a.safetensors").to_json()
    assert (latents["type"], latents["latents_shape"], latents["model"]) == (
        "latents",
        [16, 3, 3, 4],
        "small.safetensors",
    )
    assert video["latents_shape"] == latents["latents_shape"]


def test_a_device_without_half_precision_is_called_wrong(
    clip: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("\"slow_conv3d_cpu\" not implemented for 'Half'")

    monkeypatch.setattr(tiny.network, "encode", refuse)
    with pytest.raises(UsageError, match="--dtype fp16: this version of torch has no fp16 here"):
        roundtrip_video(clip, tiny)
