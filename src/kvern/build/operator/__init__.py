"""What the operator of this machine has set for installing packages: for pip, for uv, for all programs."""
