DROP TABLE call_signals, call_rings, call_participants, calls;
