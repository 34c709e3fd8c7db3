"""The laws L1 to L10, held against what happened: one module for each group of laws."""
