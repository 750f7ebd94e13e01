"""The loopback SageMaker and real tracking servers beside it, for the demo and the tests."""
