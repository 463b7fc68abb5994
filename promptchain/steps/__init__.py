"""How each kind of step runs: one file per kind."""
