"""How long a capacitor remembers: timesteps until a held level is lost, over temperature."""
