"""An HTTP service that scores recordings; nothing of a recording is kept."""
