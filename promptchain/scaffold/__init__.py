"""A new project: what it begins with. `plan.plan` says what is to be done; nothing of it does it by itself."""
