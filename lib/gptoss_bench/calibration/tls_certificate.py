"""Make a certificate for the reference server with the openssl program, and let this process trust it."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from gptoss_client import CA_FILE_VARIABLE, RunFailed

NO_OPENSSL = "there is no openssl program, which makes the certificate"


def can_make_certificate() -> bool:
    """Return whether this machine has the openssl program."""
    return shutil.which("openssl") is not None


def make_certificate(folder: Path) -> Path:
    """Write a PEM file with a key and a certificate for 127.0.0.1 of two days. Raises RunFailed if openssl fails."""
    file = folder / "certificate.pem"
    key = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", *key, *names, "-keyout", str(file), "-out", str(folder / "public.pem")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise RunFailed(f"openssl made no certificate: {' '.join(done.stderr.split())[-300:]}")
    with file.open("a") as both:
        both.write((folder / "public.pem").read_text())
    return file


@contextlib.contextmanager
def trusting(certificate: Path) -> Iterator[None]:
    """Let connections that are opened in this block trust a certificate."""
    before = os.environ.get(CA_FILE_VARIABLE)
    os.environ[CA_FILE_VARIABLE] = str(certificate)
    try:
        yield
    finally:
        os.environ.pop(CA_FILE_VARIABLE)
        if before is not None:
            os.environ[CA_FILE_VARIABLE] = before
