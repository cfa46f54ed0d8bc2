"""Front doors. Every session only calls `python -m <package> ...`, which works without nox too.

All sessions share one environment, .venv, which is made on first use and again when its requirements change.
"""

import hashlib
import sys
from pathlib import Path

import nox

nox.options.sessions = ["replicate"]
VENV = Path(".venv")
REQUIREMENTS = ("pyproject.toml", "constraints.txt")


def environment(session: nox.Session, extras: str = "dev") -> str:
    """Path of the shared environment's Python; installs the project there, once for each state of REQUIREMENTS."""
    python = VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    stamp = VENV / f"archaudit-{extras}.sha256"
    wanted = hashlib.sha256(b"".join(Path(name).read_bytes() for name in REQUIREMENTS)).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        session.log(f"building .venv ({extras}): a few minutes, on the first call only")
        session.run(sys.executable, "-m", "venv", str(VENV), external=True)
        install = ["-m", "pip", "install", "--quiet", "--constraint", "constraints.txt", "--editable", f".[{extras}]"]
        session.run(str(python), *install, external=True)
        stamp.write_text(wanted)
    return str(python)


def run(session: nox.Session, *arguments: str) -> None:
    """Run the environment's Python."""
    session.run(environment(session), *arguments, external=True)


@nox.session(venv_backend="none")
def replicate(session: nox.Session) -> None:
    """Rerun top candidates and baselines with several seeds at two scales; a verdict for each (8 min)."""
    run(session, "-m", "audit", "replicate", *session.posargs)


@nox.session(venv_backend="none")
def audit_threshold(session: nox.Session) -> None:
    """What the rule "much lower loss means leak" catches and throws away; which programs leak (5 min)."""
    run(session, "-m", "audit", "audit_threshold", *session.posargs)


@nox.session(venv_backend="none")
def audit_scaling(session: nox.Session) -> None:
    """Does compute bring discoveries, by what law; what the loop's modules and rules do (1 min)."""
    run(session, "-m", "audit", "audit_scaling", *session.posargs)


@nox.session(venv_backend="none")
def audit_origins(session: nox.Session) -> None:
    """Where components and ideas come from, with intervals (1 min)."""
    run(session, "-m", "audit", "audit_origins", *session.posargs)


@nox.session(venv_backend="none")
def verify_claims(session: nox.Session) -> None:
    """A paper's published claims and tables, one verdict each; which kept improvements of a log are real (2 min)."""
    run(session, "-m", "audit", "verify_claims", *session.posargs)


@nox.session(venv_backend="none")
def discover(session: nox.Session) -> None:
    """Search for better mixers: propose, check, train, judge, explain; and the search's report (5 min)."""
    run(session, "-m", "audit", "discover", *session.posargs)


@nox.session(venv_backend="none")
def report(session: nox.Session) -> None:
    """One site from the last run of every session: verdicts, audits, candidates, methods, provenance (1 min)."""
    run(session, "-m", "audit", "report", *session.posargs)


@nox.session(venv_backend="none")
def bench(session: nox.Session) -> None:
    """Time operators and whole training steps side by side, each checked first (8 min)."""
    run(session, "-m", "audit", "bench", *session.posargs)


@nox.session(venv_backend="none")
def calibrate(session: nox.Session) -> None:
    """Simulate coverage and error rates of every interval and test in use (an hour)."""
    run(session, "-m", "audit", "calibrate", *session.posargs)


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """Run the test suite in two processes (20 min); GPU kernels are proved by Triton's interpreter."""
    pytest = ["-m", "pytest", "--numprocesses=2", "--dist=worksteal"]
    session.run(environment(session, "dev,triton"), *pytest, *session.posargs, external=True)


@nox.session(venv_backend="none")
def lint(session: nox.Session) -> None:
    """Check style (ruff) and types (mypy)."""
    run(session, "-m", "ruff", "check", ".")
    run(session, "-m", "ruff", "format", "--check", ".")
    run(session, "-m", "mypy")
