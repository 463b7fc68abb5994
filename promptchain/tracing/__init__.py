"""Recorded runs as OpenTelemetry spans. Nothing here imports opentelemetry before it is wanted."""
