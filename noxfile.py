"""Front doors. Every session only calls `python -m <package> ...`, which works without nox too."""

import hashlib
from pathlib import Path

import nox

nox.needs_version = ">=2024.3.2"
nox.options.sessions = ["replicate"]
SHARED = {"venv_location": ".venv", "reuse_venv": True}


def prepare(session: nox.Session) -> None:
    """Install the project into the shared environment, once for each state of its requirements."""
    wanted = hashlib.sha256(b"".join(Path(name).read_bytes() for name in ("pyproject.toml", "constraints.txt")))
    stamp = Path(session.virtualenv.location) / "archaudit-requirements.sha256"
    if not stamp.exists() or stamp.read_text() != wanted.hexdigest():
        session.install("--constraint", "constraints.txt", "--editable", ".[dev]")
        stamp.write_text(wanted.hexdigest())


@nox.session(**SHARED)
def replicate(session: nox.Session) -> None:
    """Rerun top candidates and baselines with several seeds at two scales; a verdict for each (8 min)."""
    prepare(session)
    session.run("python", "-m", "replication", *session.posargs)
    session.run("python", "-m", "audit", "replicate", *session.posargs)


@nox.session(**SHARED)
def calibrate(session: nox.Session) -> None:
    """Simulate coverage and error rates of every interval and test in use (an hour)."""
    prepare(session)
    session.run("python", "-m", "audit", "calibrate", *session.posargs)


@nox.session(**SHARED)
def tests(session: nox.Session) -> None:
    """Run the test suite (10 min)."""
    prepare(session)
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(**SHARED)
def lint(session: nox.Session) -> None:
    """Check style (ruff) and types (mypy)."""
    prepare(session)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
