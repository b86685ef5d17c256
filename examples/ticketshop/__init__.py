"""A small ticket shop: a catalogue, a cart, a checkout and a payment page on another origin. It knows nothing of a gate."""
