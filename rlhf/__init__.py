"""The pipeline: a small decoder, SFT, reward modelling, PPO and direct preference learning, in JAX.

It knows nothing of audits. Whoever wants to know what a stage does hands it hooks (`rlhf.events`).
"""
