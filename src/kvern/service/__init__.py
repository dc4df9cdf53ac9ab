"""The rules: functions, calls, schedules, sessions, files, quotas. No HTTP, no SQL, no processes."""
