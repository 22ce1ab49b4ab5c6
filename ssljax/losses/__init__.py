"""Losses, named as in the literature: arrays and scalars in, f32[] out, only jax.

Every loss normalises what comes from a network; what comes from a memory already is.
"""
