"""Result folders → one page: HTML, LaTeX, CSV and figures.

:mod:`.facts` has numbers with their source file, :mod:`.runs` turns folders into sections, :mod:`.published` has
statements of published work, :mod:`.html` and :mod:`.latex` write the page, and :mod:`.write` runs all steps. Nothing
is simulated here: a section exists only if a run produced its numbers.
"""
