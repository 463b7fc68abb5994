"""The store: versions, labels and runs as git objects, in the user's own repository or in a bare one beside it."""
