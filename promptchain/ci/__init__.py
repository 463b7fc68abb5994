"""What happens around a pull request: where it begins, what came of it, and how that is told."""
