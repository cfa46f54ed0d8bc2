"""The offline discovery loop."""
