"""Did the improvement replicate? METHODS section 1."""

from audit.rerun.audit import audit, methods_in_use
from audit.rerun.plan import RerunSettings

__all__ = ["RerunSettings", "audit", "methods_in_use"]
