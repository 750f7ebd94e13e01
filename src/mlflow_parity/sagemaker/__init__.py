"""The control plane of SageMaker: Apps, managed tracking servers, and the end of an old one."""
