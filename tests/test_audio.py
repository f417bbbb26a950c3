"""Sound is copied packet by packet, at the same distance from the frames."""

import os
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from tests.clips import NTSC, moving_frames
from tests.commands import assert_failed, run
from vae3d_cli.codec import DecodeOptions, EncodeOptions, decode_video, encode_video, roundtrip_video
from vae3d_cli.errors import VideoError
from vae3d_cli.geometry import FrameRange
from vae3d_cli.video import EncoderOptions, check_audio
from vae3d_cli.weights import Model

RATE = Fraction(25)
Sound = list[tuple[Fraction, bytes]]


def write_sounding(
    path: Path,
    codec: str = "aac",
    num_frames: int = 25,
    *,
    video_delay: int = 0,
    tracks: int = 1,
    sample_rate: int = 48000,
    rate: Fraction = RATE,
) -> Path:
    """A clip with a second of noise on each track; its frames come `video_delay` frames late."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=rate)
        assert isinstance(video, VideoStream)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        sounds = [output.add_stream(codec, rate=sample_rate, layout="mono") for _ in range(tracks)]
        for n, rgb in enumerate(moving_frames(num_frames, 32, 32)):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb.transpose(1, 2, 0)), format="rgb24")
            frame.pts, frame.time_base = n + video_delay, 1 / rate
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        for sound in sounds:
            assert isinstance(sound, AudioStream)
            samples = rng.integers(-3000, 3000, (1, sample_rate * num_frames // 25), np.int16)
            noise = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            noise.sample_rate, noise.pts, noise.time_base = sample_rate, 0, Fraction(1, sample_rate)
            resampled = av.AudioResampler(
                sound.format.name, "mono", sample_rate, sound.codec_context.frame_size or 1024
            )
            for part in [*resampled.resample(noise), *resampled.resample(None)]:
                output.mux(sound.encode(part))
            output.mux(sound.encode(None))
    return path


def sound_of(path: Path, track: int = 0) -> Sound:
    """The packets of a track, each with its time after the first frame, by PyAV alone."""
    with av.open(str(path)) as container:
        start = next(container.decode(video=0))
        assert start.pts is not None
        assert start.time_base is not None
        first = start.pts * start.time_base
    with av.open(str(path)) as container:
        packets = container.demux(container.streams.audio[track])
        sizable = [packet for packet in packets if packet.size]
        return [((packet.pts or 0) * Fraction(packet.time_base or 0) - first, bytes(packet)) for packet in sizable]


def assert_same(found: Sound, expected: Sound, tolerance: Fraction) -> None:
    assert [data for _, data in found] == [data for _, data in expected]
    assert max(abs(a - b) for (a, _), (b, _) in zip(found, expected, strict=True)) <= tolerance


def through(source: Path, output: Path, model: Model, **options: object) -> tuple[str, ...]:
    return roundtrip_video(source, model, outputs={"recon": output}, **options).notes  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        *((".mp4", codec) for codec in ("aac", "libmp3lame", "ac3", "alac", "flac", "libopus")),
        *((".mov", codec) for codec in ("aac", "pcm_s16le")),
        *((".mkv", codec) for codec in ("aac", "libmp3lame", "ac3", "flac", "libopus", "pcm_s16le")),
        *((".webm", codec) for codec in ("libopus",)),
        *((".nut", codec) for codec in ("aac", "pcm_s16le", "libmp3lame")),
    ],
)
def test_sound_is_the_same_packets_in_sync(tmp_path: Path, tiny: Model, suffix: str, codec: str) -> None:
    source = write_sounding(tmp_path / "a.mkv", codec)
    notes = through(source, tmp_path / f"out{suffix}", tiny)
    assert notes == ()
    assert_same(sound_of(tmp_path / f"out{suffix}"), sound_of(source), Fraction(1, 500))  # Matroska counts milliseconds


def test_the_comparison_sounds_too(tmp_path: Path, tiny: Model) -> None:
    source = write_sounding(tmp_path / "a.mkv")
    outputs = {name: tmp_path / f"{name}.mp4" for name in ("recon", "compare")}
    assert roundtrip_video(source, tiny, outputs=outputs).notes == ()
    for path in outputs.values():
        assert_same(sound_of(path), sound_of(source), Fraction(1, 500))


@pytest.mark.parametrize("delay", [0, 7])
@pytest.mark.parametrize("rate", [RATE, NTSC])
def test_priming_and_late_frames_keep_their_distance_in_mp4(
    tmp_path: Path, tiny: Model, delay: int, rate: Fraction
) -> None:
    source = write_sounding(tmp_path / "a.mp4", video_delay=delay, rate=rate)
    assert through(source, tmp_path / "out.mp4", tiny) == ()
    assert_same(sound_of(tmp_path / "out.mp4"), sound_of(source), Fraction(1, 48000))


@pytest.mark.parametrize(("suffix", "tolerance"), [(".mp4", Fraction(1, 48000)), (".mkv", Fraction(1, 500))])
def test_a_transport_stream_that_starts_late_stays_in_sync(
    tmp_path: Path, tiny: Model, suffix: str, tolerance: Fraction
) -> None:
    source = write_sounding(tmp_path / "a.ts")  # its times begin above a second
    assert through(source, tmp_path / f"out{suffix}", tiny) == ()
    expected, found = sound_of(source), sound_of(tmp_path / f"out{suffix}")
    for (time, data), (expected_time, expected_data) in zip(found, expected, strict=True):
        assert abs(time - expected_time) <= tolerance
        assert expected_data.endswith(data)  # without the header that only a transport stream has


def test_the_sound_of_a_playlist_is_refused(tmp_path: Path) -> None:
    playlist = tmp_path / "a.m3u8"
    write_sounding(tmp_path / "a.ts")
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path / 'a.ts'}\n#EXT-X-ENDLIST\n")
    with pytest.raises(VideoError, match="this is a playlist"):
        check_audio(playlist, ".mp4")


def test_every_track_is_copied(tmp_path: Path, tiny: Model) -> None:
    source = write_sounding(tmp_path / "a.mkv", tracks=3)
    through(source, tmp_path / "out.mp4", tiny)
    for track in range(3):
        assert_same(sound_of(tmp_path / "out.mp4", track), sound_of(source, track), Fraction(1, 500))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_is_cut_to_the_frames_that_were_asked_for(tmp_path: Path, tiny: Model, suffix: str) -> None:
    source = write_sounding(tmp_path / f"a{suffix}", num_frames=50)
    through(source, tmp_path / f"out{suffix}", tiny, options=EncodeOptions(frames=FrameRange(10, 30)))
    whole, begin, end = sound_of(source), 10 / RATE, 30 / RATE
    packet = Fraction(1024, 48000)
    expected = [(time - begin, data) for time, data in whole if begin - packet < time < end]
    found = sound_of(tmp_path / f"out{suffix}")
    assert abs(len(found) - len(expected)) <= 1  # a packet on the border may round either way
    assert {data for _, data in found} <= {data for _, data in whole}
    times = {data: time for time, data in whole}
    assert max(abs(time - (times[data] - begin)) for time, data in found) <= Fraction(1, 500)


def test_decode_takes_the_sound_of_the_frames_that_were_encoded(tmp_path: Path, tiny: Model) -> None:
    source = write_sounding(tmp_path / "a.mp4", num_frames=50)
    latents, output = tmp_path / "a.safetensors", tmp_path / "out.mp4"
    encode_video(source, latents, tiny, EncodeOptions(frames=FrameRange(20, 40)))
    decode_video(latents, output, None, DecodeOptions(audio=source), load=lambda _: tiny)
    times = {data: time for time, data in sound_of(source)}
    found = sound_of(output)
    assert len(found) > 30
    assert max(abs(time - (times[data] - 20 / RATE)) for time, data in found) <= Fraction(1, 48000)


def test_decode_takes_the_sound_of_a_video_and_of_a_sound_file(tmp_path: Path, tiny: Model) -> None:
    source = write_sounding(tmp_path / "a.mp4")
    encode_video(source, tmp_path / "a.safetensors", tiny)
    alone = tmp_path / "alone.wav"
    with av.open(str(alone), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=8000, layout="mono")
        noise = av.AudioFrame.from_ndarray(np.arange(8000, dtype=np.int16)[None], format="s16", layout="mono")
        noise.sample_rate, noise.pts, noise.time_base = 8000, 0, Fraction(1, 8000)
        output.mux([*stream.encode(noise), *stream.encode(None)])
    for audio, suffix in ((source, ".mp4"), (source, ".mkv"), (alone, ".mkv"), (alone, ".mov")):
        path = tmp_path / f"out_{audio.stem}{suffix}"
        decode_video(tmp_path / "a.safetensors", path, options=DecodeOptions(audio=audio), load=lambda _: tiny)
        found = sound_of(path)
        if audio is source:
            assert_same(found, sound_of(source), Fraction(1, 500))
        else:
            assert found[0][0] == 0
            assert b"".join(data for _, data in found) == np.arange(8000, dtype="<i2").tobytes()


def test_decoded_frames_bring_their_own_part_of_the_sound(tmp_path: Path, tiny: Model) -> None:
    source = write_sounding(tmp_path / "a.mp4", num_frames=50)
    encode_video(source, tmp_path / "a.safetensors", tiny)
    options = DecodeOptions(audio=source, frames=FrameRange(25, 40))
    decode_video(tmp_path / "a.safetensors", tmp_path / "out.mp4", options=options, load=lambda _: tiny)
    times = {data: time for time, data in sound_of(source)}
    found = sound_of(tmp_path / "out.mp4")
    assert 27 <= len(found) <= 31  # 0.6 s of packets of 21.3 ms
    assert max(abs(time - (times[data] - 1)) for time, data in found) <= Fraction(1, 48000)


def test_sound_that_a_container_cannot_hold_is_left_out_with_a_note_or_refused(tmp_path: Path, tiny: Model) -> None:
    source = write_sounding(tmp_path / "a.mp4", num_frames=5)
    (note,) = through(source, tmp_path / "out.webm", tiny)
    assert "a .webm file cannot hold its aac audio; write .mkv" in note
    with av.open(str(tmp_path / "out.webm")) as container:
        assert len(container.streams.audio) == 0
    for suffix in (".y4m", ".avi"):
        with pytest.raises(VideoError, match=rf"a {suffix} file cannot hold its aac audio"):
            check_audio(source, suffix)
    latents = tmp_path / "a.safetensors"
    encode_video(source, latents, tiny)
    assert_failed(run("decode", latents, "--audio", source, "-o", tmp_path / "b.webm"), 1, "cannot hold its aac audio")
    assert_failed(run("decode", latents, "--audio", tmp_path / "none.mp4"), 1, "none.mp4: No such file")
    assert_failed(run("decode", latents, "--audio", latents), 1, "a.safetensors: ")
    assert_failed(run("decode", latents, latents, "--audio", source, "-o", tmp_path / "x"), 2, "")
    assert not (tmp_path / "b.webm").exists()


def test_silent_videos_get_no_sound_and_an_error_where_it_was_asked_for(
    tmp_path: Path, tiny: Model, clip: Path
) -> None:
    assert through(clip, tmp_path / "out.mp4", tiny) == ()
    latents = tmp_path / "a.safetensors"
    encode_video(clip, latents, tiny)
    assert_failed(run("decode", latents, "--audio", clip), 1, "has no audio")


def test_sound_goes_through_a_pipe_in_every_container_that_can_hold_it(tmp_path: Path, tiny: Model) -> None:
    source = write_sounding(tmp_path / "a.mkv")
    for container in ("matroska", "nut", "mp4"):
        fifo = tmp_path / f"{container}.device"
        os.mkfifo(fifo)
        received: list[bytes] = []
        thread = threading.Thread(target=lambda fifo=fifo, received=received: received.append(fifo.read_bytes()))
        thread.start()
        assert through(source, fifo, tiny, encoder=EncoderOptions(container=container)) == ()
        thread.join()
        assert fifo.is_fifo()
        (tmp_path / "copy").write_bytes(received[0])
        assert_same(sound_of(tmp_path / "copy"), sound_of(source), Fraction(1, 500))
