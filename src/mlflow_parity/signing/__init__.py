"""Signs what an audit found, as an in-toto Statement in a DSSE envelope; checks it years later, without a network."""
