"""The contract on both runtimes; a package, so that one Ray cluster lasts exactly as long as it."""
