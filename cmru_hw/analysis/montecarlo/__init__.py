"""Monte-Carlo: :mod:`.scores` of dies and their statistics, :mod:`.workers` who compute them, the :mod:`.store`
where their rows survive any interruption, and :mod:`.run`, which gets rows from the one or the other."""
