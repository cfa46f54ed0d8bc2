"""From a format to evidence, one file a format."""
