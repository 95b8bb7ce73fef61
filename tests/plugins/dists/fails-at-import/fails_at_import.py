raise RuntimeError("No accelerator\nwas found.")
