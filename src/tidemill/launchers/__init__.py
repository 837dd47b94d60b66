"""Launchers: start workers somewhere and notice when they end. They know processes, not runs."""
