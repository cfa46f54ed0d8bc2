"""Which kept improvements of a loop that ran everything once are real? METHODS section 5."""

from audit.single_seed.audit import audit, methods_in_use
from audit.single_seed.plan import SingleSeedSettings

__all__ = ["SingleSeedSettings", "audit", "methods_in_use"]
