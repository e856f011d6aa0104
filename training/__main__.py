"""`python -m training`; see `training.cli`. Nothing else is here."""

from training.cli import main

main()
