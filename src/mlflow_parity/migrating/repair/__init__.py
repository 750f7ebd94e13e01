"""What a red audit names is moved again."""
