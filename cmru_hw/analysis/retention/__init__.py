"""Retention of a capacitor: timesteps until a held level is lost, over temperature."""
