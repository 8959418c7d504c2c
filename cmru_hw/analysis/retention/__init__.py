"""Retention: timesteps until a held state is lost, over temperature."""
