"""Explanations: which parts of a recording made a detector say spoof, and are they the right ones?

``attribution`` gives each cell of a spectrogram its share in the evidence, ``mask`` says from a
pair of real and vocoded speech where the vocoder changed it, and ``measures`` compares the two.
"""
