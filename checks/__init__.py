"""What is promised: one module per MLflow object, one ``test_*`` function per promise."""
