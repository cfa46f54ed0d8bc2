"""Where the components of designs are said to come from, and which components there are: audited."""
