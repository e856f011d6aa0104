"""One module for each kind of file, from bytes to `Document`."""
