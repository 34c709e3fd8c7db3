"""Raw evidence, immutable and lossless, and readers and writers of every format that it comes in."""
