"""Monte-Carlo: rows of dies and their :mod:`.statistics`, the :mod:`.workers` that compute them, :mod:`.shards` that
store them across interruptions, the :mod:`.scheduler` that combines both, and the :mod:`.api`."""
