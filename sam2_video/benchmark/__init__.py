"""How fast is tracking here? What `sam2-video benchmark` and the scripts in benchmarks/ share."""
