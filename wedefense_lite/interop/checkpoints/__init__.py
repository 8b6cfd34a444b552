"""Official checkpoints, one a file: the tables of their names. Found by walking this folder."""
