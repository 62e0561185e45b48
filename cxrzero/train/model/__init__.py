"""The model in training: where it starts, what is trained at which rate, how it is kept and made a bundle."""
