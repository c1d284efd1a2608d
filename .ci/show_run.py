"""Print the figures of a run folder; exit status 1 where a file of it is missing."""

import json
import sys
from pathlib import Path

run = Path(sys.argv[1])
missing = [name for name in ("config.yaml", "radiance.safetensors", "metrics.json") if not (run / name).is_file()]
pictures = sorted((run / "renders").rglob("*.png"))
if missing or not pictures:
    sys.exit(f"{run}: missing: {', '.join(missing) or 'pictures in renders/'}")
figures = json.loads((run / "metrics.json").read_text())
seconds = figures["train_seconds"]["radiance"]
quality = f"PSNR {figures['psnr']:.2f} dB, SSIM {figures['ssim']:.3f}"
print(f"{run}: {quality}, trained {seconds:.0f} s, {len(pictures)} pictures")
