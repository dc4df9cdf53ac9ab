"""What an attacker tries, against real servers: each test is one attack, and its name says what must hold."""
