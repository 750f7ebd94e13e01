"""The page: ``report.html``, and what a notebook shows of it."""
