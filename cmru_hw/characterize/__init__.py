"""Testbenches of the charge domain: from transistors to the parameters of the macromodel."""
