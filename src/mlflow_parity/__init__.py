"""Prove that an MLflow tracking server was migrated without loss."""

__version__ = "0.1.0"
