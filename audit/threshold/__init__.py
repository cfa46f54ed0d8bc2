"""What does the leak-discard rule do? METHODS section 2."""

from audit.threshold.audit import audit, methods_in_use
from audit.threshold.plan import ThresholdSettings

__all__ = ["ThresholdSettings", "audit", "methods_in_use"]
