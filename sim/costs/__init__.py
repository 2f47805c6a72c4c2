"""Floor 2: how long things take, as laws with sourced parameters."""
