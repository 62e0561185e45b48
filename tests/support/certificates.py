"""Certificates that a test makes, by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.needs import program


def make_certificates(folder: Path) -> Path:
    """ca.pem, and of node and modality a certificate for 127.0.0.1 that it signed and its key; locked.key."""
    openssl = program("openssl", "openssl")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)

    run("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
    for name in ("node", "modality"):
        run("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "2", "-extfile", "names", "-out", f"{name}.pem")  # fmt: skip
    run("ec", "-in", "node.key", "-aes128", "-passout", "pass:secret", "-out", "locked.key")
    return folder
