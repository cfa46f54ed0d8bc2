"""`python -m audit SESSION [overrides]`: the sessions of the noxfile, and scaling_fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from replication.configure import compose, main
from replication.settings import InputError, typed

SESSIONS = (
    "replicate",
    "audit_threshold",
    "audit_scaling",
    "audit_origins",
    "verify_claims",
    "discover",
    "report",
    "bench",
    "scaling_fit",
    "calibrate",
)


def run_calibrate(overrides: Sequence[str]) -> None:
    """Simulate every method in use where the truth is known; conf/calibrate.yaml says where the table goes."""
    from audit.calibrate import CalibrateSettings, calibrate

    table = calibrate(typed(CalibrateSettings, compose("calibrate", overrides), ""))
    print(f"{len(table)} rows, {int((~table['passed']).sum())} of them failed")


def session(name: str) -> Callable[[Sequence[str]], None]:
    """The session of that name. Imported only now, so that Ctrl-C while it loads ends in one line too."""
    if name == "replicate":
        from audit.rerun.session import run_replicate as run_session
    elif name == "audit_threshold":
        from audit.threshold.session import run_audit_threshold as run_session
    elif name == "audit_scaling":
        from audit.scaling_law.session import run_audit_scaling as run_session
    elif name == "audit_origins":
        from audit.origins.session import run_audit_origins as run_session
    elif name == "verify_claims":
        from audit.claims.session import run_verify_claims as run_session
    elif name == "discover":
        from audit.search.session import run_discover as run_session
    elif name == "report":
        from audit.site.session import run_report as run_session
    elif name == "bench":
        from audit.bench.session import run_bench as run_session
    elif name == "scaling_fit":
        from audit.scaling_law.command import run_scaling_fit as run_session
    elif name == "calibrate":
        return run_calibrate
    else:
        raise InputError(f"{name or 'no session'}: expected one of {', '.join(SESSIONS)}, then overrides")
    return run_session


def run(arguments: Sequence[str]) -> None:
    """Dispatch to the session that the first argument names."""
    session(arguments[0] if arguments else "")(arguments[1:])


if __name__ == "__main__":
    main("audit", run)
