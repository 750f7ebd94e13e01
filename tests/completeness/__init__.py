"""What a release of MLflow can hold, taken from MLflow itself, and who compares it."""
