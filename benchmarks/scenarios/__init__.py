"""What is measured, one scenario a module, each with a function `run(rig, plan, say) -> Section`."""
