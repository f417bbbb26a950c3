"""The commands as a library: a clip into latents and back, what was lost, and latents for training.

python examples/library.py
"""

import tempfile
from pathlib import Path

from torch.utils.data import DataLoader

from vae3d_cli import (
    EncodeOptions,
    FrameRange,
    LatentsDataset,
    decode_video,
    encode_video,
    load_model,
    roundtrip_video,
)

CLIP = Path(__file__).parent / "cups.mp4"


def main() -> None:
    """Print what each step gives."""
    model = load_model("tiny")  # or "hunyuanvideo", a checkpoint, a hub id: what `-m` takes
    first_frames = EncodeOptions(frames=FrameRange(0, 9))
    with tempfile.TemporaryDirectory() as folder:
        encoded = encode_video(CLIP, f"{folder}/cups.safetensors", model, first_frames)
        print(f"{encoded.num_frames} frames are {list(encoded.latents_shape)}")

        decoded = decode_video(f"{folder}/cups.safetensors", f"{folder}/cups.mp4", model)
        print(f"{decoded.num_frames} frames came back")

        result = roundtrip_video(CLIP, model, first_frames)
        print(f"PSNR {result.fidelity.metrics['psnr'].mean:.2f} dB")

        for batch in DataLoader(LatentsDataset(folder, scaled=True)):
            print(f"a batch of {list(batch['latents'].shape)}, {batch['fps'].item():.2f} frames per second")


if __name__ == "__main__":
    main()
