#!/usr/bin/env bash
# Latents through a pipe: no file between the clip and its reconstruction.
#   examples/pipeline.sh [CLIP [OUTPUT.mkv]]
set -euo pipefail

clip=${1:-$(dirname "$0")/cups.mp4}
output=${2:-reconstruction.mkv}

vae3d encode "$clip" --frames 17 --latents-dtype fp16 -o - | vae3d decode - -o "$output" --force

# --json is for the next program: one object per line.
vae3d roundtrip "$clip" --frames 17 --json --quiet |
    python3 -c 'import json, sys; print("PSNR of 17 frames: %.2f dB" % json.load(sys.stdin)["metrics"]["psnr"]["mean"])'
