"""The HTTP edge: routes, guard, error table. No rules here."""
