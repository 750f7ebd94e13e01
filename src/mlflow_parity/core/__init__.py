"""Ground that everything stands on: errors, records, states, digests, redaction, locations."""
