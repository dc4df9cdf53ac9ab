"""One revision's processes on this machine: a box, in it a zygote, forked from it workers that run calls."""
