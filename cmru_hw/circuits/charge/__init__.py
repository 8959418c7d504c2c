"""The charge domain (``sc``): comparators and capacitive integrators."""
