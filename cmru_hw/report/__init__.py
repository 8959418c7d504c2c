"""From the folders that commands leave to a page that can be handed on: HTML, LaTeX, CSV and figures.

:mod:`.facts` are numbers that know their file, :mod:`.runs` reads folders into sections of them, :mod:`.published` has
the work of others to stand beside, :mod:`.html` and :mod:`.latex` write them out, and :mod:`.write` does all of it.
Nothing is simulated here and no number is made up: a section is there only if a run left it.
"""
