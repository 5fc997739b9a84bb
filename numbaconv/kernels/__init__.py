"""The compiled code: module-level ``@njit`` functions that take arrays and integers and return nothing."""
