"""What several tests share: small bundles, pictures, files and checkpoints, and where things lie."""

from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
