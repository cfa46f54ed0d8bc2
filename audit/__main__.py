"""`python -m audit SESSION [overrides]`: replicate, audit_threshold, verify_claims or calibrate."""

from __future__ import annotations

from collections.abc import Sequence

from audit.calibrate import CalibrateSettings, calibrate
from audit.claims.session import run_verify_claims
from audit.rerun.session import run_replicate
from audit.threshold.session import run_audit_threshold
from replication.configure import compose, main
from replication.settings import InputError, typed


def run_calibrate(overrides: Sequence[str]) -> None:
    """Simulate every method in use where the truth is known; conf/calibrate.yaml says where the table goes."""
    table = calibrate(typed(CalibrateSettings, compose("calibrate", overrides), ""))
    print(f"{len(table)} rows, {int((~table['passed']).sum())} of them failed")


def run(arguments: Sequence[str]) -> None:
    """Dispatch to the session that the first argument names."""
    sessions = {
        "replicate": run_replicate,
        "audit_threshold": run_audit_threshold,
        "verify_claims": run_verify_claims,
        "calibrate": run_calibrate,
    }
    name = arguments[0] if arguments else ""
    if name not in sessions:
        raise InputError(f"{name or 'no session'}: expected one of {', '.join(sessions)}, then overrides")
    sessions[name](arguments[1:])


if __name__ == "__main__":
    main("audit", run)
