"""Energy models of the charge domain: macromodel, transistors among outside clocks, power-gated chip."""
