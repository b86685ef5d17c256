"""Small complete sites that stand behind the gate; `ropeline up` runs the ticket shop."""
