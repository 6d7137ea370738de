"""`siyu tags`: the operator's tools for tags."""
