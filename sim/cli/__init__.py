"""Floor 8: arguments in, text out, exit code; nothing is computed here."""
