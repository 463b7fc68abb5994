"""A new project: what it begins with. `plan.plan` says what is to be done, and `plan.Plan` does it."""
