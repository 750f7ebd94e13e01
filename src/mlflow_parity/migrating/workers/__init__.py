"""Workers of a Dask cluster that move experiments, and the one journal that all of them write."""
