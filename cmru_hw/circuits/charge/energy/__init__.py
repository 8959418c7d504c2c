"""Energy models of the charge domain: macromodel, transistor level with external clocks, power-gated chip."""
