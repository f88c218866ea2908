"""Studies: one recipe with its arms, seeds and twins, from the design to what may be said of its claims."""
