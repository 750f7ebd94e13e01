"""Reports that are read again: the one before, parts of one audit, drafts of waivers, evidence."""
