"""Print the figures of a run folder; exit status 1 where a file of it is missing."""

import json
import sys
from pathlib import Path

run = Path(sys.argv[1])
expected = ("config.yaml", "radiance.safetensors", "features.safetensors", "metrics.json")
missing = [name for name in expected if not (run / name).is_file()]
pictures = sorted((run / "renders").rglob("*.png"))
if missing or not pictures:
    sys.exit(f"{run}: missing: {', '.join(missing) or 'pictures in renders/'}")
figures = json.loads((run / "metrics.json").read_text())
seconds = " + ".join(f"{value:.0f}" for value in figures["train_seconds"].values())
quality = f"PSNR {figures['psnr']:.2f} dB, SSIM {figures['ssim']:.3f}"
clicks = ", ".join(f"{name} {level['click_miou']:.3f}" for name, level in figures["levels"].items())
print(f"{run}: {quality}, click mIoU {clicks}, trained {seconds} s, {len(pictures)} pictures")
