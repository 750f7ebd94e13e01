"""Workers of a Dask cluster: what gives them shards, what they do with them, and the place that all of them share."""
