"""Tasks, a module each: read a file, ask a system, give back a `Result`."""
