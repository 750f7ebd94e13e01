"""What the tests share: environments of old MLflow versions, servers, databases and data."""
